"""The surface is drawn to the field's level set, within bounds, and only where it is free to move."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.wrap import wrap_offsets

RADIUS, LIMIT = 0.1, 0.006
SPHERE = trimesh.creation.icosphere(3, RADIUS)
VERTICES, FACES = np.asarray(SPHERE.vertices), np.asarray(SPHERE.faces)
FREE = np.ones(len(VERTICES))


def soft_ball(radius):
    """Occupancy with a step over some millimetres, like that of a field."""
    return lambda points: 1 / (1 + np.exp((np.linalg.norm(points, axis=1) - radius) / 0.001))


def grown(offsets):
    return np.linalg.norm(VERTICES + offsets, axis=1) - RADIUS


@given(growth=st.floats(-0.005, 0.005))
@settings(max_examples=15, deadline=None)
def test_a_sphere_becomes_the_sphere_of_the_field(growth):
    offsets = wrap_offsets(soft_ball(RADIUS + growth), VERTICES, FACES, FREE)
    np.testing.assert_allclose(grown(offsets), growth, atol=2e-4)


@given(growth=st.floats(-0.02, 0.02), limit=st.floats(0.002, 0.008))
@settings(max_examples=15, deadline=None)
def test_no_vertex_moves_further_than_the_limit(growth, limit):
    offsets = wrap_offsets(soft_ball(RADIUS + growth), VERTICES, FACES, FREE, limit)
    assert np.linalg.norm(offsets, axis=1).max() <= limit + 1e-9


def test_a_surface_out_of_reach_moves_nothing():
    np.testing.assert_array_equal(wrap_offsets(soft_ball(0.15), VERTICES, FACES, FREE), 0)
    np.testing.assert_array_equal(wrap_offsets(lambda p: np.zeros(len(p)), VERTICES, FACES, FREE), 0)


def test_what_has_no_freedom_stays():
    freedom = (VERTICES[:, 2] < 0).astype(float)
    offsets = wrap_offsets(soft_ball(RADIUS + 0.004), VERTICES, FACES, freedom)
    np.testing.assert_array_equal(offsets[freedom == 0], 0)
    assert grown(offsets)[VERTICES[:, 2] < -0.07].min() > 0.0035
    assert grown(offsets).min() > -1e-9


def test_of_two_crossings_the_nearer_one_counts():
    """A thin second layer 5 mm further out."""

    def layered(points):
        r = np.linalg.norm(points, axis=1)
        return np.where((r < RADIUS + 0.0005) | ((r > RADIUS + 0.0035) & (r < RADIUS + 0.005)), 1.0, 0.0)

    assert grown(wrap_offsets(layered, VERTICES, FACES, FREE)).max() < 0.0015


def test_a_hole_in_the_field_is_bridged():
    """Where no crossing is in reach, vertices follow their neighbours."""

    def torn(points):
        in_hole = points[:, 2] > 0.95 * np.linalg.norm(points, axis=1)
        return np.where(in_hole, 0.0, soft_ball(RADIUS + 0.004)(points))

    found = grown(wrap_offsets(torn, VERTICES, FACES, FREE))
    assert found[VERTICES[:, 2] > 0.095] == pytest.approx(0.004, abs=0.0005)


def test_vertices_of_no_face_stay():
    stray = np.concatenate([VERTICES, [[0.0, 0.0, 0.0]]])
    offsets = wrap_offsets(soft_ball(RADIUS + 0.002), stray, FACES, np.ones(len(stray)))
    np.testing.assert_array_equal(offsets[-1], 0)
