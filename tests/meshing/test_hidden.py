"""What is hidden from everywhere: the inside of a surface, and surfaces inside of others."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.hidden import DepthMaps, visible_faces

RADIUS = 0.1
CENTRE = np.array([0.02, -0.03, 0.01])


def ball(radius=RADIUS):
    mesh = trimesh.creation.icosphere(4, radius)
    return np.asarray(mesh.vertices) + CENTRE, np.asarray(mesh.faces)


@pytest.fixture(scope="module")
def maps():
    return DepthMaps.of(*ball())


@given(direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1), r=st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_a_point_in_a_ball_lies_as_deep_as_its_distance_to_the_surface(maps, direction, r):
    point = CENTRE + r * np.array(direction) / np.linalg.norm(direction)
    (behind,) = maps.behind(point[None])
    if r > RADIUS:
        assert behind < 0.003
    else:
        # The nearest of 26 directions is not the nearest of all, and pixels are 2 mm wide.
        assert RADIUS - r - 0.004 < behind < 1.35 * (RADIUS - r) + 0.006


def test_beside_the_surface_nothing_is_hidden(maps):
    assert (maps.behind(np.array([[1.0, 0, 0], [0, -1.0, 0], [0.3, 0.3, 0.3]])) < 0).all()


def test_a_ball_in_a_ball_does_not_show():
    vertices, faces = ball()
    inner, inner_faces = ball(RADIUS / 2)
    visible = visible_faces(np.concatenate([vertices, inner]), np.concatenate([faces, inner_faces + len(vertices)]))
    assert visible[: len(faces)].all()
    assert not visible[len(faces) :].any()
