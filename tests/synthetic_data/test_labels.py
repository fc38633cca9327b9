"""Landmarks are where the surface is, and show where nothing stands before them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.body_model.anny import load_anny
from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import rasterize
from backend.radiance.cameras import Camera
from synthetic_data.labels import landmark_points, see

NOSE_TIP, RIGHT_EAR_SIDE, LEFT_EAR_SIDE = 4, 234, 454


@pytest.fixture(scope="module")
def head():
    model = load_anny()
    skin = model.topology.faces[model.topology.parts["skin"]]
    points = landmark_points(model, model.template)
    every = vertex_normals(model.template, model.topology.faces)
    from backend.body_model.registry import landmark_map

    marks = landmark_map(model)
    normals = np.einsum("lkd,lk->ld", every[marks.faces[marks.face]], marks.barycentric)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return model.template, skin, points, normals


def depth_of(vertices, faces, camera):
    screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
    depth = rasterize(screen, faces, camera.height, camera.width).depth
    return np.where(np.isfinite(depth), depth, 0)


@given(azimuth=st.floats(-80, 80), elevation=st.floats(-20, 40))
@settings(max_examples=15, deadline=None)
def test_what_faces_the_camera_shows_and_what_turns_away_does_not(head, azimuth, elevation):
    vertices, skin, points, normals = head
    camera = Camera.orbit(azimuth, elevation, distance=1.3, fov_degrees=21, size=256)
    found = see(points, normals, camera, depth_of(vertices, skin, camera))
    np.testing.assert_allclose(found.pixels, camera.project(points))
    towards = camera.centre - points
    cosine = (towards / np.linalg.norm(towards, axis=1, keepdims=True) * normals).sum(1)
    assert not found.visible[cosine < 0].any()
    assert found.visible[NOSE_TIP] or abs(azimuth) > 70
    if azimuth > 35:  # the camera stands on the character's left
        assert found.visible[LEFT_EAR_SIDE] and not found.visible[RIGHT_EAR_SIDE]
    if azimuth < -35:
        assert found.visible[RIGHT_EAR_SIDE] and not found.visible[LEFT_EAR_SIDE]


def test_what_stands_before_a_landmark_hides_it(head):
    vertices, skin, points, normals = head
    camera = Camera.orbit(0, 0, distance=1.3, fov_degrees=21, size=256)
    depth = depth_of(vertices, skin, camera)
    free = see(points, normals, camera, depth)
    column, row = camera.project(points[NOSE_TIP]).astype(int)
    covered = depth.copy()
    covered[row - 3 : row + 4, column - 3 : column + 4] -= 0.02
    hidden = see(points, normals, camera, covered)
    assert free.visible[NOSE_TIP] and not hidden.visible[NOSE_TIP]
    assert free.visible.sum() - hidden.visible.sum() < 20


def test_landmarks_outside_the_picture_do_not_show(head):
    vertices, skin, points, normals = head
    camera = Camera.orbit(0, 0, distance=0.3, fov_degrees=12, size=64, target=(0, -0.1, 0.02))
    found = see(points, normals, camera, depth_of(vertices, skin, camera))
    outside = ((found.pixels < 0) | (found.pixels >= 64)).any(1)
    assert outside.any() and not found.visible[outside].any()


def test_irises_follow_the_gaze():
    model = load_anny()
    centres = np.array([[0.04, -0.1, 0.02], [-0.03, -0.1, 0.03]])
    points = landmark_points(model, model.template, centres)
    np.testing.assert_allclose(points[473], centres[0])
    np.testing.assert_allclose(points[468], centres[1])
    np.testing.assert_array_equal(points[:468], landmark_points(model, model.template)[:468])
