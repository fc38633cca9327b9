"""Hair and garment as separate closed meshes, found where the field holds matter beyond the body."""

import dataclasses

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from backend.body_model.anny import load_anny
from backend.meshing.bust import bust_inside
from backend.meshing.distance import SurfaceSamples
from backend.meshing.observation import Observation
from backend.meshing.rasterizer import interpolate, rasterize, rasterize_uv
from backend.meshing.shell_texture import bake_shell, strands, stubble, weave
from backend.meshing.shells import decimate, extract_shells, standing_off, taper_edges, unwrap
from backend.meshing.texture import View, facing, sample_nearest, visibility
from backend.radiance.cameras import Camera
from backend.template.engine import outer_faces

HALF, GRID, BUDGET = 0.25, 64, 4000
THICKNESS = 0.02
CAMERA = Camera.orbit(0, 0, distance=1.0, fov_degrees=28, size=192)


@pytest.fixture(scope="module")
def anny():
    return load_anny()


@pytest.fixture(scope="module")
def faces(anny):
    return outer_faces(anny)


@pytest.fixture(scope="module")
def body(anny, faces):
    return SurfaceSamples.spread(anny.template, faces, 0.005)


def occupancy_of(anny, body, thickness):
    """A field of the body with a layer as thick as `thickness` says, per body vertex."""
    height = body.at_samples(thickness)

    def occupancy(points):
        distance, nearest = body.query(points)
        return 1 / (1 + np.exp(np.clip((distance - height[nearest]) / 0.001, -30, 30)))

    return occupancy


@pytest.fixture(scope="module")
def hair_field(anny, body):
    return occupancy_of(anny, body, THICKNESS * anny.topology.regions["scalp"])


@pytest.fixture(scope="module")
def observation(anny, faces):
    """A portrait with hair on top of the head and a garment below the chin."""
    vertices = anny.template
    screen = np.c_[CAMERA.project(vertices), CAMERA.to_camera(vertices)[:, 2]]
    depth = rasterize(screen, faces, CAMERA.height, CAMERA.width).depth
    person = np.isfinite(depth).astype(np.float32)
    above, below = (CAMERA.project(np.array([0, -0.09, z]))[1] for z in (0.06, -0.13))
    rows = np.arange(CAMERA.height)[:, None] * np.ones((1, CAMERA.width))
    image = np.full((*person.shape, 3), 0.6, np.float32)
    view = View(image, person * (rows > above) * (rows < below), CAMERA, vertices)
    everywhere, nothing = np.ones(person.shape, bool), np.zeros_like(person)
    hair, garment = (np.asarray(mask, np.float32) for mask in (rows <= above, rows >= below))
    return Observation(view, hair, garment, person, (nothing, nothing), nothing, everywhere, everywhere)


@pytest.fixture(scope="module")
def shells(anny, faces, hair_field, observation):
    return extract_shells(hair_field, observation, faces, anny.topology.regions["face"], HALF, GRID, BUDGET)


def test_a_bald_body_has_no_shell(anny, faces, body, observation):
    bare = occupancy_of(anny, body, np.zeros(len(anny.template)))
    assert extract_shells(bare, observation, faces, anny.topology.regions["face"], HALF, GRID, BUDGET) == []


def test_standing_off_measures_the_layer(anny, faces, hair_field):
    off = standing_off(hair_field, anny.template, faces)
    regions = anny.topology.regions
    used = np.isin(np.arange(len(off)), faces)
    scalp = regions["scalp"] > 0.99
    # In folds the normal soon meets the body again.
    plain = (regions["face"] > 0.99) & (sum(regions[name] for name in ("scalp", "eyelids", "lips")) == 0)
    assert np.median(off[scalp & used]) == pytest.approx(THICKNESS, abs=0.003)
    assert np.quantile(off[plain & used], 0.9) == 0
    assert (off[~used] == 0).all()


def test_what_covers_the_top_of_the_head_is_hair(shells):
    assert [shell.name for shell in shells] == ["hair"]


def test_what_covers_the_chest_is_garment(anny, faces, body, observation):
    cloth = 0.015 * (anny.template[:, 2] < -0.15)
    field = occupancy_of(anny, body, cloth)
    found = extract_shells(field, observation, faces, anny.topology.regions["face"], HALF, GRID, BUDGET)
    assert [shell.name for shell in found] == ["garment"]
    assert np.quantile(found[0].vertices[:, 2], 0.9) < -0.13


def test_a_tuft_of_hair_that_a_field_imagines_on_the_back_is_garment(anny, faces, body, observation):
    region = anny.topology.regions
    layers = np.maximum(0.015 * (anny.template[:, 2] < -0.13), THICKNESS * region["scalp"])
    tuft = lambda points: (np.abs(points[:, 0]) < 0.04) & (points[:, 1] > 0) & (points[:, 2] < -0.13)  # noqa: E731
    told = lambda points: 1.0 * ((points[:, 2] < -0.1) & ~tuft(points))  # noqa: E731
    field = occupancy_of(anny, body, layers)
    found = extract_shells(field, observation, faces, region["face"], HALF, GRID, 2 * BUDGET, told)
    hair, garment = found
    assert (hair.name, garment.name) == ("hair", "garment")
    assert hair.vertices[:, 2].min() > -0.1 and tuft(garment.vertices).sum() > 20


def test_a_shell_is_closed_faces_outwards_and_keeps_to_its_budget(shells):
    (hair,) = shells
    mesh = trimesh.Trimesh(hair.vertices, hair.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert len(hair.faces) <= 1.02 * BUDGET
    assert np.isfinite(hair.vertices).all()


def test_the_outside_of_the_hair_lies_where_the_field_ends(shells, hair_field):
    (hair,) = shells
    top = hair.vertices[hair.vertices[:, 2] > 0.1]
    normals = trimesh.Trimesh(hair.vertices, hair.faces, process=False).vertex_normals[hair.vertices[:, 2] > 0.1]
    outside = (normals * top).sum(1) > 0
    distance = 0.004
    assert (hair_field(top[outside] - distance * normals[outside]) > 0.5).mean() > 0.98
    assert (hair_field(top[outside] + distance * normals[outside]) < 0.5).mean() > 0.98


def test_hair_roots_lie_below_the_skin_so_that_nothing_shines_through(anny, shells, body):
    (hair,) = shells
    depth, _ = body.query(hair.vertices[(hair.vertices[:, 2] > 0.1)])
    assert (depth < 0).mean() > 0.25  # the inside of the shell
    assert depth.min() > -0.012


def test_a_shell_goes_on_as_a_skirt_beyond_its_border_and_says_where_that_is(anny, shells, body):
    """The scalp's soft rim is the border; the skirt lies on the skin beside it, below the least height of hair."""
    (hair,) = shells
    distance, nearest = body.query(hair.vertices)
    layer = body.at_samples(THICKNESS * anny.topology.regions["scalp"])[nearest]
    assert (hair.inside[layer > 0.008] > 0.5).mean() > 0.97
    beyond = layer < 0.001
    away = KDTree(hair.vertices[layer > 0.003]).query(hair.vertices)[0]
    rim = beyond & (away > 0.008) & (distance < 0.003)
    assert rim.sum() > 20
    assert (hair.inside[rim] < 0.5).mean() > 0.8
    assert np.median(distance[beyond]) < 0.004


def test_the_skirt_ends_where_the_bust_is_cut(anny, faces, body, observation):
    """And what is cut there is whole down to the cut."""
    field = occupancy_of(anny, body, 0.015 * (anny.template[:, 2] < -0.15))
    cut = lambda points: np.minimum(field(points), bust_inside(points, HALF) > 0)  # noqa: E731
    (garment,) = extract_shells(cut, observation, faces, anny.topology.regions["face"], HALF, GRID, BUDGET)
    above = bust_inside(garment.vertices, HALF)
    assert above.min() > -0.006
    assert (garment.inside[above < 0.003] > 0.9).all()


def test_a_small_bare_patch_in_a_layer_is_covered_and_a_large_one_is_not(anny, faces, body, observation):
    """Where a garment comes out thinner than it is, nobody meant a hole."""
    shoulder = anny.template[np.unique(faces)]
    shoulder = shoulder[np.argmin(np.linalg.norm(shoulder - [0.1, 0.06, -0.14], axis=1))]
    away = np.linalg.norm(anny.template - shoulder, axis=1)
    covered = []
    for radius in (0.012, 0.05):
        cloth = 0.012 * (anny.template[:, 2] < -0.1) * (away > radius)
        field = occupancy_of(anny, body, cloth)
        found = extract_shells(field, observation, faces, anny.topology.regions["face"], HALF, 96, 4 * BUDGET)
        distance, nearest = KDTree(found[0].vertices).query(shoulder)
        covered.append(distance < 0.006 and found[0].inside[nearest] > 0.5)
    assert covered == [True, False]


def test_shells_run_out_flat_towards_bare_skin():
    """A plate 10 mm over a plane that is bare for x > 0 comes down to the plane at that border, and only there."""
    x, y = np.meshgrid(np.linspace(-0.1, 0.1, 41), np.linspace(-0.05, 0.05, 21))
    plane = np.c_[x.ravel(), y.ravel(), np.zeros(x.size)]
    grid = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    samples = SurfaceSamples.spread(plane, faces, 0.004)
    plate = plane[np.abs(plane[:, 1]) < 0.03] + [0, 0, 0.008]
    tapered = taper_edges(plate, samples, samples.points[:, 0] > 0)
    near, far = np.abs(plate[:, 0] - 0) < 0.001, plate[:, 0] < -0.03
    np.testing.assert_allclose(tapered[far], plate[far], atol=1e-9)
    assert (tapered[near, 2] < 0.005).all()
    assert tapered[:, 2].min() >= 0
    np.testing.assert_array_equal(taper_edges(plate, samples, np.zeros(len(samples.points), bool)), plate)


@pytest.mark.parametrize("target", [300, 1000])
def test_decimation_reaches_its_target_and_keeps_the_shape(target):
    sphere = trimesh.creation.icosphere(4, 0.1)
    vertices, faces = decimate(np.asarray(sphere.vertices), np.asarray(sphere.faces), target)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert len(faces) <= target * 1.02
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(sphere.volume, rel=0.03)
    np.testing.assert_array_equal(np.unique(faces), np.arange(len(vertices)))


def test_few_triangles_are_left_as_they_are():
    sphere = trimesh.creation.icosphere(1, 0.1)
    vertices, faces = decimate(np.asarray(sphere.vertices), np.asarray(sphere.faces), 1000)
    np.testing.assert_array_equal(vertices, sphere.vertices)
    np.testing.assert_array_equal(faces, sphere.faces)


def test_unwrapping_keeps_the_surface_and_uses_each_texel_once(shells):
    (hair,) = shells
    mesh = unwrap(hair.vertices, hair.faces)
    np.testing.assert_array_equal(mesh.vertices, hair.vertices)
    np.testing.assert_array_equal(mesh.faces, hair.faces)
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    a, b, c = (mesh.uvs[mesh.uv_faces[:, k]] for k in range(3))
    area = 0.5 * np.abs(np.cross(b - a, c - a)).sum()
    covered = (rasterize_uv(mesh.uvs, mesh.uv_faces, 1024).face_index >= 0).mean()
    assert covered == pytest.approx(area, rel=0.03)
    assert covered > 0.35  # of the square


def test_patterns_have_mean_zero_and_unit_deviation_and_come_from_the_generator():
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (4000, 3))
    for pattern in (strands, stubble, weave):
        values = pattern(points, np.random.default_rng(1))
        assert abs(values.mean()) < 0.15
        assert 0.4 < values.std() < 1.5
        np.testing.assert_array_equal(values, pattern(points, np.random.default_rng(1)))
        assert (values != pattern(points, np.random.default_rng(2))).any()


def test_strands_run_down_the_head():
    """Along a strand the pattern changes slowly, across it fast."""
    around, down = np.meshgrid(np.linspace(-1.5, 1.5, 600), np.linspace(0.6, 1.4, 600), indexing="ij")
    direction = np.stack([np.sin(down) * np.sin(around), -np.sin(down) * np.cos(around), np.cos(down)], -1)
    points = 0.1 * direction + [0, 0.02, 0.03]
    values = strands(points.reshape(-1, 3), np.random.default_rng(0)).reshape(600, 600)
    across, along = np.abs(np.diff(values, axis=0)).mean() / 0.005, np.abs(np.diff(values, axis=1)).mean() / 0.00133
    assert across > 3 * along


@pytest.mark.parametrize("name", ["hair", "garment"])
def test_the_texture_of_a_shell_is_the_picture_where_it_shows_it_and_its_tone_elsewhere(
    anny, faces, shells, observation, name
):
    (hair,) = shells
    unwrapped = unwrap(hair.vertices, hair.faces)
    vertices = np.concatenate([anny.template, hair.vertices])
    tone = np.array([0.4, 0.25, 0.15])
    image = np.ones_like(observation.view.image)
    image[observation.hair > 0] = tone
    view = dataclasses.replace(observation.view, image=image, vertices=vertices)
    mesh = dataclasses.replace(unwrapped, vertices=vertices, faces=hair.faces + len(anny.template))
    occluders, inside = np.concatenate([faces, mesh.faces]), np.ones(len(vertices))
    nowhere_bare = np.zeros_like(observation.hair)
    given = mesh, view, observation.hair, nowhere_bare, faces, occluders, name, 256
    texture = bake_shell(*given, np.random.default_rng(0), 0.02, inside) / 255
    assert texture.shape == (256, 256, 4)
    assert (texture[..., 3] == 1).all()
    texture = texture[..., :3]
    covered = rasterize_uv(mesh.uvs, mesh.uv_faces, 256).face_index
    normals = np.cross(*(vertices[mesh.faces[:, k]] - vertices[mesh.faces[:, 0]] for k in (1, 2)))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    middle = vertices[mesh.faces].mean(1)
    seen = visibility(view, occluders, middle) & (facing(view, middle, normals) > 0.7) & (middle[:, 2] > 0.08)
    shown, other = seen[covered] & (covered >= 0), ~seen[covered] & (covered >= 0)
    np.testing.assert_allclose(np.median(texture[shown], 0), tone, atol=0.02)
    np.testing.assert_allclose(np.median(texture[other], 0), tone, atol=0.06)
    # The picture is plain; where it shows nothing, strands or a weave make up for what is missing.
    assert texture[other].mean(1).std() > 2 * texture[shown].mean(1).std()


def test_hair_that_nobody_sees_has_the_hue_of_the_picture_and_the_relief_of_the_field(anny, faces, shells, observation):
    (hair,) = shells
    unwrapped = unwrap(hair.vertices, hair.faces)
    vertices = np.concatenate([anny.template, hair.vertices])
    tone = np.array([0.6, 0.45, 0.2])
    image = np.ones_like(observation.view.image)
    image[observation.hair > 0] = tone
    view = dataclasses.replace(observation.view, image=image, vertices=vertices)
    mesh = dataclasses.replace(unwrapped, vertices=vertices, faces=hair.faces + len(anny.template))
    expected = np.where(vertices[:, :1] > 0, 0.9, 1.1) * np.array([0.1, 0.02, 0.02])
    given = mesh, view, observation.hair, np.zeros_like(observation.hair), faces, np.concatenate([faces, mesh.faces])
    inside = np.ones(len(vertices))
    texture = bake_shell(*given, "hair", 256, np.random.default_rng(0), 0.02, inside, expected)[..., :3] / 255
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, 256)
    points = interpolate(buffers, mesh.faces, vertices.astype(np.float32))
    behind = (buffers.face_index >= 0) & (points[..., 1] > 0.06)
    left, right = (np.median(texture[behind & (side * points[..., 0] > 0.02)], 0) for side in (1, -1))
    np.testing.assert_allclose(left / left.sum(), tone / tone.sum(), atol=0.02)
    np.testing.assert_allclose(right / right.sum(), tone / tone.sum(), atol=0.02)
    assert 0.7 < (left / right).mean() < 0.9


def laid_over(anny, shells, observation):
    """The unwrapped shell and the view, both over the vertices of the body and of the shell."""
    (hair,) = shells
    vertices = np.concatenate([anny.template, hair.vertices])
    mesh = unwrap(hair.vertices, hair.faces)
    mesh = dataclasses.replace(mesh, vertices=vertices, faces=hair.faces + len(anny.template))
    return mesh, dataclasses.replace(observation.view, vertices=vertices)


@pytest.mark.parametrize("name", ["hair", "garment"])
def test_beyond_a_border_that_nobody_sees_a_shell_is_cut_out_too(anny, faces, shells, observation, name):
    """Straight through cloth; hair ends in single hairs, some longer and some shorter."""
    mesh, view = laid_over(anny, shells, observation)
    vertices, occluders = mesh.vertices, np.concatenate([faces, mesh.faces])
    inside = np.clip(0.5 + vertices[:, 0] / 0.04, 0, 1)
    given = mesh, view, observation.hair, np.zeros_like(observation.hair), faces, occluders, name, 256
    alpha = bake_shell(*given, np.random.default_rng(0), 0.02, inside)[..., 3] > 127
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, 256)
    points = interpolate(buffers, mesh.faces, vertices.astype(np.float32))
    behind = (buffers.face_index >= 0) & (points[..., 1] > 0.06)  # far from what the picture shows
    assert alpha[behind & (points[..., 0] > 0.012)].mean() > 0.99
    assert alpha[behind & (points[..., 0] < -0.02)].mean() < 0.03
    border = behind & (np.abs(points[..., 0]) < 0.008)
    ends = alpha[border] == (points[border, 0] > 0)
    assert ends.mean() > 0.9 if name == "garment" else 0.6 < ends.mean() < 0.95


def test_a_shell_is_cut_out_where_the_picture_shows_bare_skin_below_it(anny, faces, shells, observation):
    """Inner side and outer side together, so that nothing of it stays before the face; the back is left alone."""
    mesh, view = laid_over(anny, shells, observation)
    vertices, occluders = mesh.vertices, np.concatenate([faces, mesh.faces])
    bare = np.zeros_like(observation.hair)
    bare[:, : bare.shape[1] // 2] = 1
    given = mesh, view, observation.hair, bare, faces, occluders, "hair", 256, np.random.default_rng(0)
    texture = bake_shell(*given, 0.02, np.ones(len(vertices)))
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, 256)
    covered = buffers.face_index >= 0
    points = interpolate(buffers, mesh.faces, vertices.astype(np.float32))[covered]
    alpha = texture[..., 3][covered]
    left = CAMERA.project(points)[:, 0] < bare.shape[1] / 2 - 2
    right = CAMERA.project(points)[:, 0] > bare.shape[1] / 2 + 2
    screen = np.c_[CAMERA.project(anny.template), CAMERA.to_camera(anny.template)[:, 2]]
    drawn = rasterize(screen, faces, CAMERA.height, CAMERA.width)
    a, b, c = (anny.template[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    towards = facing(view, (a + b + c) / 3, normals) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    below = sample_nearest(np.where(drawn.face_index >= 0, drawn.depth, -1), CAMERA.project(points), -1.0)
    turned = sample_nearest(np.where(drawn.face_index >= 0, towards[drawn.face_index], 0), CAMERA.project(points), 0.0)
    before = (CAMERA.to_camera(points)[:, 2] < below) & (turned > 0.35)
    assert (left & before).sum() > 200
    assert (alpha[left & before] == 0).all()
    assert (alpha[right & before] == 255).all()
    behind = CAMERA.to_camera(points)[:, 2] > below + 0.05
    # Beside what the picture tells, its border is carried on, but not far.
    away = KDTree(points[left & before]).query(points)[0] > 0.03
    assert (alpha[(right | behind) & away] == 255).all()
