"""Refinement, clipping and rays."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from backend.radiance.cameras import Camera
from synthetic_data.appearance.clipping import clip
from synthetic_data.raycast import closest_on_triangles, facing, first_hits, geometric_median
from synthetic_data.surface import Patch, Split, vertex_normals

seeds = st.integers(0, 2**31)


def sphere(count=60, seed=0):
    """A triangulated unit sphere, triangles facing outwards."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    faces = ConvexHull(points).simplices.copy()
    normals = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    inwards = (normals * points[faces].mean(1)).sum(1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return points, faces


def as_patch(points, faces):
    return Patch(points, faces, points[faces][..., :2], {"place": points})


def test_refinement_keeps_the_vertices_and_rounds_the_surface():
    points, faces = sphere(300)
    refined = as_patch(points, faces).refined(2)
    np.testing.assert_array_equal(refined.vertices[: len(points)], points)
    assert len(refined.faces) == 16 * len(faces)
    flat = np.linalg.norm(refined.attributes["place"], axis=1)
    curved = np.linalg.norm(refined.vertices, axis=1)
    assert np.abs(curved - 1).mean() < 0.5 * np.abs(flat - 1).mean()
    assert facing(10 * np.array([0, 0, 1.0]), refined.vertices, refined.faces).max() > 0.9


def test_refined_texture_coordinates_follow_their_corners():
    points, faces = sphere()
    refined = as_patch(points, faces).refined(2)
    np.testing.assert_allclose(refined.corner_uvs, refined.attributes["place"][refined.faces][..., :2], atol=1e-12)


def test_midpoints_are_shared_between_neighbours():
    points, faces = sphere()
    split = Split.of(faces, len(points))
    sides = np.sort(np.concatenate([split.faces[:, [0, 1]], split.faces[:, [1, 2]], split.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(sides, axis=0, return_counts=True)[1] == 2).all()


def test_normals_of_a_sphere_point_outwards():
    points, faces = sphere(400)
    assert (vertex_normals(points, faces) * points).sum(1).min() > 0.95


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_clipping_keeps_what_is_positive_and_cuts_on_the_line(seed):
    points, faces = sphere(seed=seed)
    height = points @ np.random.default_rng(seed).normal(size=3) + 0.2
    if not (height > 0).any():
        return
    cut = clip(Patch(points, faces, points[faces][..., :2], {"value": height[:, None]}), height)
    values = cut.attributes["value"][cut.faces][..., 0]
    assert values.min() > -1e-9
    whole = (height[faces] > 0).all(1).sum()
    assert len(cut.faces) >= whole
    assert len(cut.vertices) == len(np.unique(cut.faces))


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_a_ray_through_a_projected_point_finds_it(seed):
    rng = np.random.default_rng(seed)
    points, faces = sphere(80)
    camera = Camera.orbit(rng.uniform(-180, 180), rng.uniform(-60, 60), distance=4, fov_degrees=40, size=64)
    visible = np.flatnonzero(facing(camera.centre, points, faces) > 0.1)
    face = rng.choice(visible)
    weights = rng.dirichlet([2, 2, 2])
    target = weights @ points[faces[face]]
    hits = first_hits(camera, camera.project(target)[None], points, faces)
    assert hits.face[0] == face  # a sphere is convex: what faces the camera is seen
    np.testing.assert_allclose(hits.barycentric[0], weights, atol=1e-6)
    np.testing.assert_allclose(hits.distance[0], camera.to_camera(target)[2], atol=1e-9)


def test_a_ray_past_the_mesh_hits_nothing():
    points, faces = sphere()
    camera = Camera.orbit(0, 0, distance=4, fov_degrees=60, size=64, target=(0, 0, 0))
    hits = first_hits(camera, np.array([[0.5, 0.5]]), points, faces)
    assert hits.face[0] == -1 and np.isinf(hits.distance[0])


@settings(max_examples=60, deadline=None)
@given(seed=seeds, dimension=st.sampled_from([2, 3]))
def test_closest_point_of_a_triangle_beats_any_other(seed, dimension):
    rng = np.random.default_rng(seed)
    corners, point = rng.normal(size=(1, 3, dimension)), rng.normal(size=dimension) * 2
    weights, distance = closest_on_triangles(point, corners)
    assert weights.min() >= 0 and np.isclose(weights.sum(), 1)
    np.testing.assert_allclose(np.linalg.norm(weights[0] @ corners[0] - point), distance[0])
    others = rng.dirichlet([0.7, 0.7, 0.7], 500) @ corners[0]
    assert distance[0] <= np.linalg.norm(others - point, axis=1).min() + 1e-9


def test_geometric_median_ignores_a_wild_minority():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.01, (60, 3)), rng.normal(50, 1, (25, 3))])
    assert np.linalg.norm(geometric_median(points)) < 0.02
