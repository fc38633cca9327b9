"""Marching cubes coarse to fine, and the small tools that clean its meshes."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.meshing.levelset import compact, evaluate_grid, extract, face_components, taubin_smooth

HALF = 0.25
radii = st.floats(0.05, 0.2)
centres = st.tuples(*[st.floats(-0.04, 0.04)] * 3).map(np.array)


def ball(radius, centre=(0, 0, 0)):
    """A field that is positive inside."""
    return lambda points: radius - np.linalg.norm(points - np.asarray(centre), axis=1)


def level_set(field, resolution=48):
    return extract(evaluate_grid(field, HALF, resolution, 0.0), HALF, 0.0)


@given(radius=radii, centre=centres)
@settings(max_examples=15, deadline=None)
def test_the_level_set_of_a_ball_is_a_sphere(radius, centre):
    vertices, faces = level_set(ball(radius, centre))
    np.testing.assert_allclose(np.linalg.norm(vertices - centre, axis=1), radius, atol=0.001)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    # A positive volume means that faces are counter-clockwise from outside.
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)


def test_a_surface_that_leaves_the_cube_is_closed_at_its_border():
    vertices, faces = level_set(lambda points: -points[:, 2])  # the lower half is full
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 * HALF**3, rel=0.1)


@given(radius=radii, centre=centres, resolution=st.integers(33, 50))
@settings(max_examples=10, deadline=None)
def test_coarse_to_fine_gives_the_surface_of_the_full_grid(radius, centre, resolution):
    field = ball(radius, centre)
    axis = np.linspace(-HALF, HALF, resolution)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    full = field(points).reshape(resolution, resolution, resolution)
    vertices, faces = extract(full, HALF, 0.0)
    found_vertices, found_faces = level_set(field, resolution)
    np.testing.assert_allclose(found_vertices, vertices, atol=1e-9)
    np.testing.assert_array_equal(found_faces, faces)


def test_most_of_the_cube_is_not_asked_for_at_full_resolution():
    asked = []

    def field(points):
        asked.append(len(points))
        return ball(0.1)(points)

    evaluate_grid(field, HALF, 96, 0.0)
    assert sum(asked) < 0.3 * 96**3


def test_an_empty_field_has_no_surface():
    vertices, faces = level_set(lambda points: np.full(len(points), -1.0), 16)
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_smoothing_takes_the_noise_and_keeps_the_volume(seed):
    sphere = trimesh.creation.icosphere(4, 0.1)
    faces = np.asarray(sphere.faces)
    normals = np.asarray(sphere.vertices) / 0.1
    noise = np.random.default_rng(seed).normal(0, 0.001, len(normals))
    smooth = taubin_smooth(np.asarray(sphere.vertices) + noise[:, None] * normals, faces)
    assert np.linalg.norm(smooth, axis=1).std() < 0.5 * noise.std()
    assert trimesh.Trimesh(smooth, faces, process=False).volume == pytest.approx(sphere.volume, rel=0.01)


def test_pieces_are_told_apart():
    vertices, faces = level_set(
        lambda points: np.maximum(ball(0.05, (-0.1, 0, 0))(points), ball(0.05, (0.1, 0, 0))(points))
    )
    label = face_components(faces, len(vertices))
    left = vertices[faces].mean(1)[:, 0] < 0
    assert len(np.unique(label)) == 2
    assert len(np.unique(label[left])) == 1
    assert len(np.unique(label[~left])) == 1


def test_compact_leaves_out_what_no_face_uses_and_moves_nothing():
    vertices = np.random.default_rng(0).normal(size=(6, 3))
    faces = np.array([[5, 1, 3], [3, 1, 2]])
    kept, renumbered = compact(vertices, faces)
    assert len(kept) == 4
    np.testing.assert_array_equal(kept[renumbered], vertices[faces])
