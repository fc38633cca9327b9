"""Signed distance to a surface by its samples."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.distance import SurfaceSamples

RADIUS, SPACING = 0.1, 0.004
CENTRE = np.array([0.01, -0.02, 0.03])
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1)


@pytest.fixture(scope="module")
def sphere():
    mesh = trimesh.creation.icosphere(3, RADIUS)
    return np.asarray(mesh.vertices) + CENTRE, np.asarray(mesh.faces)


@pytest.fixture(scope="module")
def samples(sphere):
    return SurfaceSamples.spread(*sphere, SPACING)


@given(direction=directions, radius=st.floats(0.0, 0.2))
@settings(max_examples=80, deadline=None)
def test_the_distance_to_a_sphere_is_the_radius_less_its_own(samples, direction, radius):
    point = CENTRE + radius * np.array(direction) / np.linalg.norm(direction)
    (distance,), _ = samples.query(point[None])
    gap = abs(radius - RADIUS)
    # A flat triangle of this sphere lies at most 0.4 mm inside it, and the nearest sample up to a spacing to the side.
    assert gap - 0.0005 <= abs(distance) <= np.hypot(gap, SPACING) + 0.0005
    if gap > 0.001:
        assert np.sign(distance) == np.sign(radius - RADIUS)


def test_beyond_the_limit_nothing_is_found(samples):
    points = CENTRE + np.array([[0, 0, RADIUS + 0.01], [0, 0, RADIUS + 0.05]])
    distance, nearest = samples.query(points, limit=0.02)
    assert distance[0] == pytest.approx(0.01, abs=0.001)
    assert nearest[0] >= 0
    assert np.isinf(distance[1])
    assert nearest[1] == -1


@given(spacing=st.floats(0.002, 0.03))
@settings(max_examples=10, deadline=None)
def test_no_place_on_the_surface_is_far_from_a_sample(sphere, spacing):
    vertices, faces = sphere
    points = trimesh.Trimesh(vertices, faces).sample(500, seed=0)
    distance, _ = SurfaceSamples.spread(vertices, faces, spacing).tree.query(points)
    assert distance.max() < spacing


def test_samples_know_their_place(sphere, samples):
    vertices, _ = sphere
    np.testing.assert_allclose(samples.at_samples(vertices), samples.points, atol=1e-12)
    np.testing.assert_allclose(samples.barycentric.sum(1), 1)
    assert samples.barycentric.min() > 0
    outwards = (samples.points - CENTRE) / np.linalg.norm(samples.points - CENTRE, axis=1, keepdims=True)
    assert ((samples.normals * outwards).sum(1) > 0.99).all()


def test_values_may_be_scalars_or_vectors(sphere, samples):
    height = sphere[0][:, 2]
    np.testing.assert_allclose(samples.at_samples(height), samples.points[:, 2], atol=1e-12)


def test_large_triangles_get_more_samples_than_small_ones():
    vertices = np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [1, 1, 1], [1.001, 1, 1], [1, 1.001, 1]])
    samples = SurfaceSamples.spread(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 0.02)
    on_small = (samples.faces[:, 0] == 3).sum()
    assert on_small == 1
    assert len(samples.points) - on_small == 64  # the longest edge is cut in eight
