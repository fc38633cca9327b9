"""Labels are exact: cameras, depth, classes. Runs in Blender's Python module."""

import dataclasses
import hashlib

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", exc_type=ImportError)

from backend.body_model.anny import load_anny  # noqa: E402
from backend.radiance.cameras import Camera  # noqa: E402
from synthetic_data import materials, scene  # noqa: E402
from synthetic_data.cameras import held_out_rig, orbit_rig, portrait_camera  # noqa: E402
from synthetic_data.identity import sample_identity  # noqa: E402
from synthetic_data.raycast import facing  # noqa: E402
from synthetic_data.render import encode_srgb, render_identity, render_scene, soft_shoulder  # noqa: E402
from synthetic_data.surface import Patch  # noqa: E402

SIZE = 96


def off_centre(camera):
    """The same camera with its principal point moved, as a crop of a larger picture has it."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += [7.25, -4.5]
    return dataclasses.replace(camera, intrinsics=intrinsics)


CAMERAS = [
    Camera.orbit(20, 10, distance=1.2, fov_degrees=22, size=SIZE),
    off_centre(Camera.orbit(-130, -15, distance=1.0, fov_degrees=28, size=SIZE)),
    dataclasses.replace(Camera.orbit(75, 35, distance=1.4, fov_degrees=20, size=SIZE), height=72),
]


def emission(colour):
    nodes = materials.Nodes("emission")
    return nodes.finish(nodes.add("ShaderNodeEmission", inputs={"Color": (*colour, 1.0)}))


def triangle(corners):
    return Patch(np.array(corners), np.array([[0, 1, 2]]), np.zeros((1, 3, 2)), {})


def test_known_points_appear_where_the_camera_projects_them():
    """The centre of gravity of a small glowing ball, against the projection of its centre."""
    polar, around = np.meshgrid(np.linspace(0.01, np.pi - 0.01, 24), np.linspace(0, 2 * np.pi, 33)[:-1], indexing="ij")
    ball = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(23), np.arange(32), indexing="ij")
    a, b = row * 32 + column, row * 32 + (column + 1) % 32
    faces = np.concatenate(
        [np.stack([a, a + 32, b], -1).reshape(-1, 3), np.stack([b, a + 32, b + 32], -1).reshape(-1, 3)]
    )
    for place in ([0.0, -0.1, 0.0], [0.09, 0.03, 0.05], [-0.06, 0.0, -0.1]):
        scene.purge()
        bpy.context.scene.world = None
        patch = Patch(0.008 * ball + place, faces, np.zeros((len(faces), 3, 2)), {})
        scene.add_mesh("ball", patch, emission((1, 1, 1)), "eye")
        for camera, view in zip(CAMERAS, render_scene(CAMERAS, samples=256, passes=("rgba",)), strict=True):
            weight = view["rgba"][..., 3].astype(float)
            v, u = np.indices(weight.shape) + 0.5
            centroid = np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()
            assert np.abs(centroid - camera.project(np.array(place))).max() < 0.05


def test_depth_is_planar_and_unprojects_onto_the_surface():
    corners = [[-0.2, -0.1, -0.2], [0.25, 0.02, -0.15], [0.0, 0.1, 0.3]]
    normal = np.cross(np.subtract(corners[1], corners[0]), np.subtract(corners[2], corners[0]))
    normal /= np.linalg.norm(normal)
    scene.purge()
    scene.add_mesh("triangle", triangle(corners), emission((1, 1, 1)), "skin")
    views = render_scene(CAMERAS, samples=1, passes=("depth", "normal", "segmentation"))
    for camera, view in zip(CAMERAS, views, strict=True):
        v, u = np.nonzero(view["depth"])
        assert len(v) > 500
        points = camera.unproject(np.stack([u, v], -1) + 0.5, view["depth"][v, u].astype(float))
        assert np.abs((points - corners[0]) @ normal).max() < 1e-4
        seen = view["normal"][v, u]
        assert np.abs(np.abs(seen @ normal) - 1).max() < 1e-3
        assert (view["segmentation"][v, u] == scene.SEGMENTS["skin"]).mean() > 0.99
        assert view["depth"].shape == (camera.height, camera.width)


@pytest.fixture(scope="module")
def bald():
    return sample_identity(load_anny(), 11, 0, expression_gain=0.5, hair_families=("bald",)).bare()


@pytest.fixture(scope="module")
def portrait(bald):
    camera = portrait_camera(160)
    return camera, render_identity(bald, [camera], model=load_anny(), samples=2)[0]


def test_body_model_vertices_lie_on_the_rendered_surface(bald, portrait):
    camera, view = portrait
    model = load_anny()
    vertices = bald.vertices(model)
    skin = model.topology.faces[model.topology.parts["skin"]]
    frontal = np.unique(skin[facing(camera.centre, vertices, skin) > 0.9])
    frontal = frontal[vertices[frontal, 2] > -0.1]
    pixels = np.floor(camera.project(vertices[frontal])).astype(int)
    depth = view["depth"][pixels[:, 1], pixels[:, 0]]
    seen = np.abs(depth - camera.to_camera(vertices[frontal])[:, 2]) < 0.01
    assert seen.sum() > 200
    error = np.abs(depth - camera.to_camera(vertices[frontal])[:, 2])[seen]
    assert np.median(error) < 0.0007  # half a pixel of slope is part of this


def test_classes_are_where_the_body_model_has_them(bald, portrait):
    camera, view = portrait
    classes = view["segmentation"]
    assert set(np.unique(classes)) <= set(scene.SEGMENTS.values())
    assert classes[0, 0] == scene.SEGMENTS["background"] and view["rgba"][0, 0, 3] == 0
    for sphere in load_anny().eye_spheres(bald.vertices(load_anny())):
        u, v = camera.project(sphere.centre - np.array([0, sphere.radius, 0])).astype(int)
        assert scene.SEGMENTS["eye"] in classes[v - 2 : v + 3, u - 2 : u + 3]
    forehead = camera.project(np.array([0.0, -0.09, 0.07])).astype(int)
    assert classes[forehead[1], forehead[0]] == scene.SEGMENTS["skin"]
    assert classes[-1, 80] == scene.SEGMENTS["garment"]
    assert ((view["depth"] > 0) == (classes > 0)).mean() > 0.995


def test_colours_are_straight_and_in_range(portrait):
    rgba = portrait[1]["rgba"]
    assert rgba.dtype == np.float32 and rgba.min() >= 0 and rgba.max() <= 1
    edge = (rgba[..., 3] > 0.2) & (rgba[..., 3] < 0.8)
    inside = rgba[..., 3] == 1
    assert edge.any()
    # Premultiplied colours would be about half as bright along the outline.
    assert rgba[edge][:, :3].mean() > 0.6 * rgba[inside][:, :3].mean()


def test_dyed_hair_has_its_colour_in_every_preset():
    """Views and portraits are of one person: their shares of red, green and blue agree."""
    spec = sample_identity(load_anny(), 11, 0, hair_families=("short",)).bare()
    dyed = dataclasses.replace(spec.hair, melanin=0.8, dye=1.0, dye_colour=(0.08, 0.15, 0.45))
    spec = dataclasses.replace(spec, hair=dyed, light=dataclasses.replace(spec.light, kind="studio", warmth=0.0))
    shares = []
    for preset in ("fit", "portrait"):
        view = render_identity(spec, [portrait_camera(64)], model=load_anny(), preset=preset, samples=16)[0]
        colour = view["rgba"][view["segmentation"] == scene.SEGMENTS["hair"]][:, :3].mean(0)
        shares.append(colour / colour.sum())
    assert shares[0].argmax() == shares[1].argmax() == 2
    assert np.abs(shares[0] - shares[1]).max() < 0.12, shares


def test_same_spec_same_bytes_and_nothing_is_left_behind(bald):
    camera = portrait_camera(48)
    hashes, blocks = [], []
    blue = dataclasses.replace(bald, garment=dataclasses.replace(bald.garment, colour=(0.0, 0.0, 0.5)))
    for spec in (bald, blue, bald):
        view = render_identity(spec, [camera], model=load_anny(), samples=1)[0]
        blocks.append({kind: len(getattr(bpy.data, kind)) for kind in ("meshes", "materials", "images", "objects")})
        hashes.append(hashlib.sha256(b"".join(view[k].tobytes() for k in sorted(view))).hexdigest())
    assert hashes[0] == hashes[2] != hashes[1]
    assert blocks[0] == blocks[2]


def test_another_size_of_pixel_is_refused(bald):
    camera = portrait_camera(32)
    stretched = dataclasses.replace(camera, intrinsics=camera.intrinsics * [[2, 1, 1], [1, 1, 1], [1, 1, 1]])
    with pytest.raises(ValueError, match="square"):
        render_scene([stretched], samples=1)
    with pytest.raises(ValueError, match="albedo"):
        render_identity(bald, [camera], model=load_anny(), passes=("albedo",))


def test_rigs_look_at_the_head_from_all_sides():
    cameras, held_out = orbit_rig(64), held_out_rig(64)
    assert (len(cameras), len(held_out)) == (24, 8)
    for camera in cameras + held_out:
        centre = camera.project(np.array([0.0, 0.0, -0.04]))
        np.testing.assert_allclose(centre, [32, 32], atol=1e-6)
    directions = np.array([c.centre for c in cameras])
    assert (directions[:, 1] < 0).sum() > 10 and (directions[:, 1] > 0.3).sum() >= 4
    nearest = [np.linalg.norm(directions - c.centre, axis=1).min() for c in held_out]
    assert min(nearest) > 0.02


def test_tone_curve_is_srgb_below_the_knee_and_never_clips():
    x = np.linspace(0, 20, 2001)
    y = soft_shoulder(x)
    np.testing.assert_array_equal(y[x <= 0.7], x[x <= 0.7])
    assert (np.diff(y) >= 0).all() and y.max() <= 1
    np.testing.assert_allclose(encode_srgb(np.array([0, 0.0031308, 0.2140, 1.0])), [0, 0.04045, 0.5, 1], atol=1e-3)
