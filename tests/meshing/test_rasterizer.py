"""The rasteriser: what covers a pixel, which surface wins, and what is read there."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.rasterizer import interpolate, rasterize, rasterize_uv, sample_texture
from backend.radiance.cameras import Camera

SIZE = 16


def reference(vertices_px, faces, height, width):
    """Per pixel, a loop over all triangles: the largest inverse depth, the lowest index among equals."""
    face_index = np.full((height, width), -1)
    depth = np.full((height, width), np.inf)
    margin = np.full((height, width), np.inf)  # how far the nearest decision was from tipping over
    for row in range(height):
        for column in range(width):
            for index, face in enumerate(faces):
                a, b, c = vertices_px[face]
                matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
                weights = np.linalg.solve(matrix, [column + 0.5, row + 0.5, 1])
                margin[row, column] = min(margin[row, column], np.abs(weights).min())
                z = 1 / (weights @ (1 / vertices_px[face, 2]))
                if weights.min() >= 0:
                    margin[row, column] = min(margin[row, column], abs(z - depth[row, column]))
                    if z < depth[row, column]:
                        face_index[row, column], depth[row, column] = index, z
    return face_index, depth, margin


def sphere(rings):
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings), indexing="ij")
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    uvs = np.stack([phi / (2 * np.pi), 1 - theta / np.pi], -1).reshape(-1, 2)
    grid = np.arange(rings**2).reshape(rings, rings)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]))
    return directions.reshape(-1, 3) * 0.1, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), uvs


def to_pixels(camera, vertices):
    return np.concatenate([camera.project(vertices), camera.to_camera(vertices)[:, 2:]], 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), spread=st.sampled_from([4.0, 20.0, 200.0]))
def test_agrees_with_a_loop_over_pixels_and_triangles(seed, count, spread):
    random = np.random.default_rng(seed)
    vertices = np.column_stack([random.normal(SIZE / 2, spread, (count * 3, 2)), random.uniform(0.2, 5, count * 3)])
    faces = np.arange(count * 3).reshape(-1, 3)
    expected_face, expected_depth, margin = reference(vertices, faces, SIZE, SIZE + 3)
    buffers = rasterize(vertices, faces, SIZE, SIZE + 3)
    sure = margin > 1e-5
    np.testing.assert_array_equal(buffers.face_index[sure], expected_face[sure])
    np.testing.assert_allclose(buffers.depth[sure], expected_depth[sure], rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_attributes_are_perspective_correct(seed):
    """World position, interpolated over the picture, must be the point that the camera's own maths unprojects."""
    random = np.random.default_rng(seed)
    camera = Camera.orbit(random.uniform(-180, 180), 15, distance=0.5, fov_degrees=40, size=32)
    vertices = random.uniform(-0.15, 0.15, (12, 3))
    faces = np.arange(12).reshape(-1, 3)
    buffers = rasterize(to_pixels(camera, vertices), faces, 32, 32)
    covered = buffers.face_index >= 0
    u, v = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    expected = camera.unproject(np.stack([u, v], -1)[covered], buffers.depth[covered].astype(float))
    # A pixel on an edge may lie a millionth of a pixel outside; its weights are clipped to the triangle.
    np.testing.assert_allclose(interpolate(buffers, faces, vertices)[covered], expected, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(2, 7))
def test_a_mesh_without_gaps_has_none_in_the_picture(seed, columns):
    """A jittered grid that covers the picture covers every pixel, slivers, shared corners and all."""
    random = np.random.default_rng(seed)
    step = np.linspace(-1, SIZE + 1, columns)
    x, y = np.meshgrid(step, step)
    inner = np.zeros_like(x)
    inner[1:-1, 1:-1] = 0.45 * (SIZE + 2) / (columns - 1)
    x, y = x + random.uniform(-1, 1, x.shape) * inner, y + random.uniform(-1, 1, x.shape) * inner
    grid = np.arange(columns**2).reshape(columns, columns)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = np.column_stack([x.ravel(), y.ravel(), np.ones(columns**2)])
    assert (rasterize(vertices, faces, SIZE, SIZE).face_index >= 0).all()


def test_pixels_on_an_edge_belong_to_the_triangle_and_to_the_lowest_index():
    vertices = np.array([[0.5, 0.5, 1], [4.5, 0.5, 1], [4.5, 4.5, 1], [0.5, 4.5, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    face_index = rasterize(vertices, faces, 6, 6).face_index
    assert (face_index[:5, :5] >= 0).all()
    assert (face_index[5] == -1).all()
    assert (np.diag(face_index)[:5] == 0).all()
    assert (np.diag(rasterize(vertices, faces[::-1], 6, 6).face_index)[:5] == 0).all()


def test_barycentric_weights_sum_to_one_where_there_is_a_face():
    vertices, faces, _ = sphere(12)
    buffers = rasterize(to_pixels(Camera.orbit(30, 20, distance=0.4, fov_degrees=40, size=64), vertices), faces, 64, 64)
    np.testing.assert_allclose(buffers.barycentric.sum(-1), buffers.face_index >= 0, atol=1e-6)
    assert buffers.barycentric.min() >= 0


def test_nothing_behind_the_camera_or_broken_is_drawn():
    vertices = np.array([[0, 0, -1], [9, 0, 1], [0, 9, 1], [0, 0, np.nan], [0, 0, 0.0]])
    faces = np.array([[0, 1, 2], [3, 1, 2], [4, 1, 2], [1, 1, 2]])
    buffers = rasterize(vertices, faces, 8, 8)
    assert (buffers.face_index == -1).all()
    assert np.isinf(buffers.depth).all()
    assert rasterize(vertices, faces[:0], 8, 8).face_index.max() == -1


def test_culling_keeps_the_side_that_faces_the_camera():
    vertices, faces, _ = sphere(24)
    camera = Camera.orbit(0, 0, distance=0.5, fov_degrees=30, size=48, target=(0, 0, 0))
    pixels = to_pixels(camera, vertices)
    np.testing.assert_array_equal(
        rasterize(pixels, faces, 48, 48, cull="back").face_index, rasterize(pixels, faces, 48, 48).face_index
    )
    assert rasterize(pixels, faces, 48, 48, cull="front").depth.min() > 0.475  # the horizon of the sphere is at 0.48


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_texel_centre_inside_a_chart_gets_its_face_and_weights(seed):
    random = np.random.default_rng(seed)
    uvs = random.uniform(-0.2, 1.2, (3, 2))
    buffers = rasterize_uv(uvs, np.array([[0, 1, 2]]), SIZE)
    u, v = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, 1 - (np.arange(SIZE) + 0.5) / SIZE)
    weights = np.linalg.solve(np.vstack([uvs.T, np.ones(3)]), np.stack([u.ravel(), v.ravel(), np.ones(SIZE**2)]))
    inside = weights.min(0).reshape(SIZE, SIZE)
    assert (buffers.face_index[inside > 1e-9] == 0).all()
    assert (buffers.face_index[inside < -1e-4] == -1).all()
    found = buffers.face_index == 0
    np.testing.assert_allclose(buffers.barycentric[found], weights.T.reshape(SIZE, SIZE, 3)[found], atol=2e-4)


def test_the_first_row_of_a_texture_is_the_top():
    uvs = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.5]])
    face_index = rasterize_uv(uvs, np.array([[0, 1, 2]]), (8, 4)).face_index
    assert face_index.shape == (8, 4)
    assert face_index[0, 0] == 0
    assert (face_index[4:] == -1).all()


def test_a_texture_read_at_its_texel_centres_is_itself():
    texture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    u, v = np.meshgrid((np.arange(7) + 0.5) / 7, 1 - (np.arange(5) + 0.5) / 5)
    np.testing.assert_allclose(sample_texture(texture, np.stack([u, v], -1)), texture / 255, atol=1e-5)
    assert sample_texture(texture, np.array([[-3.0, 9.0]]))[0] == pytest.approx(texture[0, 0] / 255)
    between = sample_texture(texture.astype(np.float32), np.array([[1 / 7, 1 - 1 / 5]]))[0]
    np.testing.assert_allclose(between, texture[:2, :2].mean((0, 1)), rtol=1e-5)


def test_a_baked_texture_shows_the_same_picture_as_the_vertices():
    """The way there and back: bake position into a texture, read it where a camera sees it."""
    vertices, faces, uvs = sphere(40)
    baked = interpolate(rasterize_uv(uvs, faces, 512), faces, vertices)
    buffers = rasterize(to_pixels(Camera.orbit(40, 10, distance=0.5, fov_degrees=30, size=96), vertices), faces, 96, 96)
    covered = buffers.face_index >= 0
    read = sample_texture(baked, interpolate(buffers, faces, uvs)[covered])
    error = np.linalg.norm(read - interpolate(buffers, faces, vertices)[covered], axis=1)
    assert np.median(error) < 1e-4
    assert error.max() < 2e-3


def test_the_same_input_gives_the_same_bytes_at_the_avatars_own_size():
    vertices, faces, uvs = sphere(143)
    pixels = to_pixels(Camera.orbit(20, 10, distance=0.4, fov_degrees=30, size=1024), vertices)
    start = time.perf_counter()
    first = rasterize(pixels, faces, 1024, 1024), rasterize_uv(uvs, faces, 2048)
    seconds = time.perf_counter() - start
    second = rasterize(pixels, faces, 1024, 1024), rasterize_uv(uvs, faces, 2048)
    assert len(faces) > 40_000
    assert [a.tobytes() for b in first for a in b] == [a.tobytes() for b in second for a in b]
    assert (first[1].face_index >= 0).all()
    assert seconds < 20  # about 1 s; a loop over triangles would take minutes
