"""A person as plain arrays: stored, read again, and rendered by another Blender with nothing but numpy."""

import subprocess
import sys

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from synthetic_data.assemble import DETAIL, assemble, dressed, same_geometry
from synthetic_data.cameras import portrait_camera
from synthetic_data.identity import sample_identity
from synthetic_data.installed import blender_command, render_in_blender
from synthetic_data.person import SEGMENTS, Person


@pytest.fixture(scope="module")
def spec():
    return sample_identity(load_anny(), 1, 13)


@pytest.fixture(scope="module")
def person(spec):
    return assemble(spec, load_anny(), "fit")


def test_everything_has_a_class_and_a_shape(person, spec):
    for thing in person.things:
        assert thing.segment in SEGMENTS
        assert (thing.patch is None) != (thing.points is None)
        places = thing.patch.vertices if thing.patch is not None else thing.points
        assert np.isfinite(places).all()
        assert np.abs(places).max() < 0.6
        for texture in thing.textures.values():
            assert texture.ndim == 3 and texture.shape[2] == 4
    names = [thing.name for thing in person.things]
    assert len(set(names)) == len(names)
    assert {"skin", "eye_left", "eye_right", "brows"} <= set(names)
    assert ("lenses" in names or "frame" in names) == (spec.accessories.glasses != "none")


def test_the_same_spec_is_the_same_person(person, spec):
    again = assemble(spec, load_anny(), "fit")
    for one, two in zip(person.things, again.things, strict=True):
        for a, b in ((one.points, two.points), *((one.textures[k], two.textures[k]) for k in one.textures)):
            if a is not None:
                np.testing.assert_array_equal(a, b)


def test_cheap_presets_have_fewer_hairs_and_triangles(person, spec):
    assert sorted(DETAIL) == ["fit", "portrait", "show"]
    dear = {thing.name: thing for thing in assemble(spec, load_anny(), "portrait").things}
    cheap = {thing.name: thing for thing in person.things}
    assert len(cheap["hair"].points) < 0.7 * len(dear["hair"].points)
    assert len(cheap["skin"].patch.faces) < len(dear["skin"].patch.faces)
    with pytest.raises(KeyError):
        assemble(spec, load_anny(), "best")


def test_stored_and_read_again(person, tmp_path):
    person.save(tmp_path / "person.npz")
    found = Person.load(tmp_path / "person.npz")
    np.testing.assert_allclose(found.surroundings, person.surroundings, rtol=1e-6)
    for one, two in zip(person.things, found.things, strict=True):
        assert (one.name, one.segment, one.finish, one.values) == (two.name, two.segment, two.finish, two.values)
        assert one.window == two.window and one.colour == pytest.approx(two.colour)
        if one.patch is not None:
            np.testing.assert_array_equal(one.patch.faces, two.patch.faces)
            np.testing.assert_allclose(one.patch.vertices, two.patch.vertices, atol=1e-7)
            assert sorted(one.patch.attributes) == sorted(two.patch.attributes)
        else:
            np.testing.assert_allclose(one.points, two.points, atol=1e-7)


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "person.npz", surroundings=np.zeros(3))
    with pytest.raises(ValueError, match="holds no person"):
        Person.load(tmp_path / "person.npz")


def test_what_runs_inside_blender_needs_numpy_alone():
    """An installed Blender's Python has neither scipy nor torch; bpy itself is stood aside here."""
    check = (
        "import sys, types; sys.modules['bpy'] = types.ModuleType('bpy'); "
        "sys.modules['mathutils'] = types.ModuleType('mathutils'); sys.modules['mathutils'].Matrix = object; "
        "import synthetic_data.blender_job; "
        "others = {'scipy', 'torch', 'cv2', 'PIL', 'skimage', 'OpenEXR', 'jaxtyping'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(others)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_another_blender_renders_the_same(spec):
    pytest.importorskip("bpy")
    from synthetic_data.render import render_identity

    camera, person = portrait_camera(64), assemble(spec, load_anny(), "fit", pixels=64)
    (theirs,) = render_in_blender(sys.executable, [person], [[camera]], preset="fit", samples=2, threads=1)[0]
    (ours,) = render_identity(spec, [camera], model=load_anny(), preset="fit", samples=2, threads=1)
    for name, values in ours.items():
        np.testing.assert_array_equal(theirs[name], values)


def test_small_pictures_get_small_skin(spec):
    sizes = [
        next(thing for thing in assemble(spec, load_anny(), "portrait", pixels=pixels).things if thing.name == "skin")
        .textures["face"]
        .shape[0]
        for pixels in (16, 256, 1024)
    ]
    assert sizes == [256, 512, 1024]


def same(one, two):
    """Whether two of a person's things are the same, to the bit."""
    plain = ("name", "segment", "finish", "colour", "values", "window")
    arrays = [(one.points, two.points), *((one.textures[k], two.textures[k]) for k in one.textures)]
    return [getattr(one, f) for f in plain] == [getattr(two, f) for f in plain] and all(
        np.array_equal(a, b) for a, b in arrays if a is not None
    )


def test_a_small_portrait_is_the_person_of_the_views_in_another_dress(spec):
    assert same_geometry("fit", "portrait", 128) and not same_geometry("fit", "portrait", 256)
    model = load_anny()
    fit, portrait = (assemble(spec, model, preset, pixels=128) for preset in ("fit", "portrait"))
    redressed = dressed(fit, spec, "portrait", 128)
    assert all(map(same, redressed.things, portrait.things))
    np.testing.assert_array_equal(redressed.surroundings, portrait.surroundings)
    assert not all(map(same, fit.things, portrait.things)), "hair and light differ"


@pytest.mark.slow
def test_a_dressed_scene_renders_like_a_new_one(spec):
    pytest.importorskip("bpy")
    from synthetic_data.render import render_scene
    from synthetic_data.scene import build_scene, dress_scene

    cameras, model = [portrait_camera(48)], load_anny()
    person = assemble(spec, model, "fit", pixels=48)
    build_scene(person)
    render_scene(cameras, preset="fit", samples=1, threads=1)
    dress_scene(dressed(person, spec, "portrait", 48))
    (ours,) = render_scene(cameras, preset="portrait", samples=2, threads=1)
    build_scene(assemble(spec, model, "portrait", pixels=48))
    (anew,) = render_scene(cameras, preset="portrait", samples=2, threads=1)
    for name, values in anew.items():
        np.testing.assert_array_equal(ours[name], values)


def test_a_blender_that_fails_is_named():
    with pytest.raises(RuntimeError, match="could not be started"):
        render_in_blender("/no/such/blender", [], [])
    with pytest.raises(RuntimeError, match="METAL"):
        render_in_blender(
            sys.executable, [Person((), np.zeros((4, 8, 3)))], [[portrait_camera(16)]], device="METAL", preset="fit"
        )
    assert blender_command("/opt/blender/blender")[1] == "--background"
