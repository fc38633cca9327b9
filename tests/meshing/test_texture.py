"""What a picture says about a surface: the parts it shows, in their own colours, and nothing through what hides it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.mesh import Mesh
from backend.meshing.rasterizer import interpolate, rasterize, rasterize_uv
from backend.meshing.texture import (
    View,
    compose_texture,
    facing,
    fill_outside,
    harmonic,
    mirror_vertices,
    project_view,
    sample_image,
    sample_nearest,
    vertex_tone,
    visibility,
)
from backend.radiance.cameras import Camera

SIZE, TEXTURE = 320, 256
RADIUS = 0.1
SKIN = np.array([0.7, 0.5, 0.4])


def ball(rings=33, segments=48):
    """A sphere with its seam at the back; symmetric in x. Texture: u once around, v from the bottom to the top."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(-np.pi, np.pi, segments + 1), indexing="ij")
    uvs = np.stack([around / (2 * np.pi) + 0.5, 1 - polar / np.pi], -1).reshape(-1, 2)
    grid = np.arange(rings * (segments + 1)).reshape(rings, segments + 1)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]))
    uv_faces = np.concatenate([np.stack([a, b, c], 1)[segments:], np.stack([a, c, d], 1)[:-segments]])
    vertex = grid.copy()
    vertex[:, -1], vertex[0], vertex[-1] = grid[:, 0], grid[0, 0], grid[-1, 0]
    used, faces = np.unique(vertex.ravel()[uv_faces], return_inverse=True)
    direction = np.stack([np.sin(polar) * np.sin(around), -np.sin(polar) * np.cos(around), np.cos(polar)], -1)
    return Mesh(RADIUS * direction.reshape(-1, 3)[used], faces.reshape(-1, 3), uvs, uv_faces)


def paint(points):
    """A colour for every place on the ball, different left and right."""
    return 0.5 + np.stack([3 * points[:, 0], 2 * points[:, 2], points[:, 0] + points[:, 2]], -1)


def photograph(mesh, camera, colour=paint, behind=1.0):
    """An exact picture of the ball, one ray per pixel, and the mask of the ball in it."""
    origin, rays = camera.rays()
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    along = -(rays @ origin)
    closest = np.linalg.norm(origin + along[..., None] * rays, axis=-1)
    hit = closest < RADIUS
    depth = along - np.sqrt(np.maximum(RADIUS**2 - closest**2, 0))
    image = np.full((camera.height, camera.width, 3), behind, np.float32)
    image[hit] = colour((origin + depth[..., None] * rays)[hit])
    return View(image, hit.astype(np.float32), camera, mesh.vertices)


MESH = ball()
FRONT = Camera.orbit(0, 0, distance=0.6, fov_degrees=25, size=SIZE, target=(0, 0, 0))
FROM_LEFT = Camera.orbit(55, 0, distance=0.6, fov_degrees=25, size=SIZE, target=(0, 0, 0))
BUFFERS = rasterize_uv(MESH.uvs, MESH.uv_faces, TEXTURE)
PLACE = interpolate(BUFFERS, MESH.faces, MESH.vertices)


def cosine(camera):
    points = PLACE.reshape(-1, 3).astype(float)
    normals = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    return facing(View(np.zeros((1, 1, 3)), np.zeros((1, 1)), camera, points), points, normals).reshape(TEXTURE, -1)


@given(azimuth=st.floats(-180, 180), elevation=st.floats(-30, 30))
@settings(max_examples=6, deadline=None)
def test_what_the_picture_shows_comes_back_in_its_place(azimuth, elevation):
    camera = Camera.orbit(azimuth, elevation, distance=0.6, fov_degrees=25, size=SIZE, target=(0, 0, 0))
    projection = project_view(MESH, photograph(MESH, camera), MESH.faces, TEXTURE)
    seen = projection.weight > 0.9
    assert seen.mean() > 0.15
    np.testing.assert_allclose(projection.colour[seen], paint(PLACE[seen]), atol=0.02)


def test_some_pixels_count_on_a_part_of_the_mesh_alone():
    """Hair is the surface where it ends on the scalp, and nowhere else."""
    whole = photograph(MESH, FRONT)
    hidden = dataclasses.replace(whole, skin=np.zeros_like(whole.skin))
    upper = (MESH.vertices[:, 2] > 0).astype(float)
    given, wanted = (
        project_view(MESH, view, MESH.faces, TEXTURE, also=also)
        for view, also in ((hidden, (whole.skin, upper)), (whole, None))
    )
    covered = BUFFERS.face_index >= 0
    above, below = (PLACE[..., 2] > 0.01) & covered, (PLACE[..., 2] < -0.01) & covered
    np.testing.assert_allclose(given.weight[above], wanted.weight[above], atol=1e-6)
    assert wanted.weight[above].max() > 0.9
    assert given.weight[below].max() == 0


def test_what_turns_away_is_not_believed():
    projection = project_view(MESH, photograph(MESH, FRONT), MESH.faces, TEXTURE)
    turned = cosine(FRONT)
    assert (projection.weight[turned < 0.15] == 0).all()
    assert projection.weight[turned > 0.5].min() > 0.95
    assert projection.weight.min() >= 0
    assert projection.weight.max() <= 1


def test_nothing_is_read_through_an_occluder():
    """A card before the left half of the ball, red in the picture: no texel of the ball may turn red."""
    corners = np.array([[0.0, -0.15, -0.2], [0.2, -0.15, -0.2], [0.2, -0.15, 0.2], [0.0, -0.15, 0.2]])
    vertices = np.concatenate([MESH.vertices, corners])
    card = np.array([[0, 1, 2], [0, 2, 3]]) + len(MESH.vertices)
    view = photograph(MESH, FRONT)
    screen = np.c_[FRONT.project(vertices), FRONT.to_camera(vertices)[:, 2]]
    view.image[rasterize(screen, card, SIZE, SIZE).face_index >= 0] = [1, 0, 0]
    view = dataclasses.replace(view, vertices=vertices)
    mesh = dataclasses.replace(MESH, vertices=vertices)
    blind = project_view(mesh, view, mesh.faces, TEXTURE)
    assert (blind.colour[blind.weight > 0.5][:, 1] < 0.05).any()  # without the card among the occluders
    projection = project_view(mesh, view, np.concatenate([mesh.faces, card]), TEXTURE)
    hidden = PLACE[..., 0] > 0.01
    assert (projection.weight[hidden] == 0).all()
    seen = projection.weight > 0.5
    assert seen[(PLACE[..., 0] < -0.01) & (cosine(FRONT) > 0.5)].mean() > 0.98
    # Half a pixel beside the edge of the card its colour is felt a little; that is a tenth of what it would be behind.
    near = np.abs(PLACE[..., 0]) < 0.003
    np.testing.assert_allclose(projection.colour[seen & ~near], paint(PLACE[seen & ~near]), atol=0.02)
    np.testing.assert_allclose(projection.colour[seen & near], paint(PLACE[seen & near]), atol=0.1)


def test_pixels_that_show_no_skin_are_not_read():
    view = photograph(MESH, FRONT)
    view.skin[:, : SIZE // 2] = 0
    projection = project_view(MESH, view, MESH.faces, TEXTURE)
    assert (projection.weight[PLACE[..., 0] < -0.003] == 0).all()
    assert projection.weight[(PLACE[..., 0] > 0.003) & (cosine(FRONT) > 0.5)].min() > 0.95


def test_a_strict_place_must_face_the_camera_more():
    view = photograph(MESH, FRONT)
    usual = project_view(MESH, view, MESH.faces, TEXTURE)
    strict = project_view(MESH, view, MESH.faces, TEXTURE, np.ones(len(MESH.vertices)))
    assert (strict.weight <= usual.weight + 1e-6).all()
    assert strict.weight[cosine(FRONT) < 0.35].max() == 0
    assert strict.weight[cosine(FRONT) > 0.75].min() > 0.95


def test_visible_is_what_no_triangle_hides():
    view = photograph(MESH, FRONT)
    front, back = MESH.vertices[:, 1] < -0.03, MESH.vertices[:, 1] > 0.03
    seen = visibility(view, MESH.faces, MESH.vertices)
    assert seen[front].all()
    assert not seen[back].any()
    beside_the_picture = np.array([[0.4, 0, 0], [0, 0, 0.4]])
    assert not visibility(view, MESH.faces, beside_the_picture).any()


def test_the_unseen_side_takes_the_tone_of_its_mirror_image():
    """A ball darker on top, and redder on its left where the camera stands: the right becomes as red as the left."""

    def colour(points):
        return SKIN + np.stack([0.1 * np.abs(points[:, 0]) / RADIUS, 1.5 * points[:, 2], 0 * points[:, 2]], -1)

    view = photograph(MESH, FROM_LEFT, colour, behind=0.0)
    mirror = mirror_vertices(MESH.vertices)
    tone = vertex_tone(MESH, view, MESH.faces, mirror)
    seen = facing(view, MESH.vertices, MESH.vertices / RADIUS) > 0.65
    np.testing.assert_allclose(tone[seen], colour(MESH.vertices)[seen], atol=0.03)
    unseen = seen[mirror] & ~(facing(view, MESH.vertices, MESH.vertices / RADIUS) > 0)
    assert unseen.sum() > 100
    np.testing.assert_allclose(tone[unseen], colour(MESH.vertices)[unseen], atol=0.06)
    assert np.isfinite(tone).all()


def test_what_the_picture_does_not_show_at_all_has_the_tone_of_the_skin():
    """The camera stands in front, the background is black: the back of the ball is not."""
    view = photograph(MESH, FRONT, lambda p: np.tile(SKIN, (len(p), 1)), behind=0.0)
    tone = vertex_tone(MESH, view, MESH.faces, mirror_vertices(MESH.vertices))
    np.testing.assert_allclose(tone, np.tile(SKIN, (len(tone), 1)), atol=0.01)


def test_places_that_are_not_trusted_follow_their_neighbours():
    view = photograph(MESH, FRONT, lambda p: np.tile(SKIN, (len(p), 1)))
    view.image[(np.abs(np.arange(SIZE) - SIZE / 2) < 15)] = [0, 0, 1]
    trust = (np.abs(MESH.vertices[:, 2]) > 0.03).astype(float)
    tone = vertex_tone(MESH, view, MESH.faces, mirror_vertices(MESH.vertices), trust)
    np.testing.assert_allclose(tone, np.tile(SKIN, (len(tone), 1)), atol=0.02)


def test_detail_is_borrowed_from_the_side_that_was_seen_unless_forbidden():
    """Fine stripes on the ball, seen from its left: the right gets the mirrored stripes."""

    def striped(points):
        return SKIN + 0.15 * np.sin(points[:, 2:] * 400)

    view = photograph(MESH, FROM_LEFT, striped, behind=0.0)
    mirror = mirror_vertices(MESH.vertices)
    tone = np.tile(SKIN, (len(MESH.vertices), 1))
    projection = project_view(MESH, view, MESH.faces, TEXTURE)
    nothing = np.zeros(len(MESH.vertices))
    texture = compose_texture(MESH, tone, projection, mirror, nothing, TEXTURE)
    left, right = (side.reshape(TEXTURE, -1) for side in (cosine(FROM_LEFT) > 0.7, cosine(mirrored(FROM_LEFT)) > 0.7))
    unseen = right & (cosine(FROM_LEFT) < 0.1)
    expected = striped(PLACE.reshape(-1, 3)).reshape(texture.shape)
    np.testing.assert_allclose(texture[left], expected[left], atol=0.05)
    assert np.median(np.abs(texture - expected)[unseen]) < 0.04
    plain = compose_texture(MESH, tone, projection, mirror, nothing + 1, TEXTURE)
    np.testing.assert_allclose(plain[unseen], np.tile(SKIN, (unseen.sum(), 1)), atol=1e-3)
    np.testing.assert_allclose(plain[left], texture[left], atol=0.02)


def mirrored(camera):
    flip = np.diag([-1.0, 1, 1, 1])
    return dataclasses.replace(camera, world_to_camera=flip @ camera.world_to_camera @ flip)


constants = st.floats(-5, 5)


@given(seed=st.integers(0, 2**32 - 1), value=constants)
@settings(max_examples=15, deadline=None)
def test_a_membrane_keeps_constants(seed, value):
    strength = np.random.default_rng(seed).uniform(0, 3, len(MESH.vertices))
    found = harmonic(MESH.faces, np.maximum(strength, 1e-6), np.maximum(strength, 1e-6)[:, None] * value, len(strength))
    np.testing.assert_allclose(found, value, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_membrane_stays_between_what_it_is_held_at(seed):
    """The maximum principle: no value is larger or smaller than all that were asked for."""
    random = np.random.default_rng(seed)
    count = len(MESH.vertices)
    strength = random.uniform(0.01, 3, count) * (random.random(count) < 0.05) + 1e-6
    wanted = random.uniform(0.2, 0.8, (count, 3))
    found = harmonic(MESH.faces, strength, strength[:, None] * wanted, count)
    assert found.min() >= 0.2 - 1e-6
    assert found.max() <= 0.8 + 1e-6


def test_a_membrane_follows_where_it_is_held_tightly_and_is_smooth_between():
    top = MESH.vertices[:, 2] > 0.08
    bottom = MESH.vertices[:, 2] < -0.08
    strength = np.where(top | bottom, 1e4, 0.0)
    found = harmonic(MESH.faces, strength, (strength * top)[:, None], len(strength))[:, 0]
    np.testing.assert_allclose(found[top], 1, atol=1e-3)
    np.testing.assert_allclose(found[bottom], 0, atol=1e-3)
    equator = np.abs(MESH.vertices[:, 2]) < 1e-9
    np.testing.assert_allclose(found[equator], 0.5, atol=0.02)


def test_mirror_vertices_is_its_own_inverse_on_a_symmetric_head():
    mirror = mirror_vertices(MESH.vertices)
    np.testing.assert_allclose(MESH.vertices[mirror], MESH.vertices * [-1, 1, 1], atol=1e-9)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))


def test_texels_between_islands_take_the_nearest_value():
    texture = np.zeros((8, 8, 1))
    covered = np.zeros((8, 8), bool)
    covered[2, 2], texture[2, 2] = True, 0.3
    covered[6, 6], texture[6, 6] = True, 0.9
    filled = fill_outside(texture, covered)
    assert filled[0, 0] == 0.3
    assert filled[7, 7] == 0.9
    np.testing.assert_array_equal(fill_outside(texture, np.zeros_like(covered)), texture)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_an_image_read_at_pixel_centres_is_itself(seed):
    image = np.random.default_rng(seed).uniform(0, 1, (7, 9, 3)).astype(np.float32)
    u, v = np.meshgrid(np.arange(9) + 0.5, np.arange(7) + 0.5)
    pixels = np.stack([u.ravel(), v.ravel()], 1)
    np.testing.assert_allclose(sample_image(image, pixels), image.reshape(-1, 3), atol=1e-5)
    np.testing.assert_array_equal(sample_nearest(image[..., 0], pixels, -1.0), image[..., 0].ravel())
    beyond = np.array([[-0.1, 3], [3, -0.1], [9.0, 3], [3, 7.0]])
    assert (sample_nearest(image[..., 0], beyond, -1.0) == -1).all()


def test_no_points_give_no_colours():
    assert sample_image(np.zeros((4, 4, 3), np.float32), np.zeros((0, 2))).shape == (0, 3)


@pytest.mark.parametrize("azimuth", [-60, 0, 60])
def test_facing_is_the_cosine_to_the_camera(azimuth):
    camera = Camera.orbit(azimuth, 0, distance=0.5, fov_degrees=30, size=8, target=(0, 0, 0))
    view = View(np.zeros((8, 8, 3)), np.zeros((8, 8)), camera, MESH.vertices)
    towards = camera.centre / np.linalg.norm(camera.centre)
    aside = np.cross(towards, [0, 0, 1])
    found = facing(view, np.zeros((3, 3)), np.stack([towards, -towards, aside]))
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-9)
