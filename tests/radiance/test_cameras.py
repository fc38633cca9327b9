"""Cameras: known points land on known pixels, and every conversion can be undone."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.radiance.cameras import Camera

angles = st.floats(-180, 180)
elevations = st.floats(-80, 80)
coordinates = st.floats(-0.25, 0.25)
points = st.tuples(coordinates, coordinates, coordinates).map(np.array)


@st.composite
def cameras(draw):
    """Orbit cameras whose principal point, aspect and pixel shape are not special."""
    camera = Camera.orbit(
        draw(angles),
        draw(elevations),
        distance=draw(st.floats(0.8, 3)),
        fov_degrees=draw(st.floats(10, 60)),
        size=draw(st.integers(16, 512)),
    )
    intrinsics = camera.intrinsics.copy()
    intrinsics[0, 0] *= draw(st.floats(0.8, 1.25))
    intrinsics[:2, 2] += draw(st.floats(-20, 20)), draw(st.floats(-20, 20))
    return Camera(camera.world_to_camera, intrinsics, camera.width, draw(st.integers(16, 512)))


@given(cameras(), points)
def test_unprojecting_a_projection_gives_the_point_back(camera, point):
    depth = camera.to_camera(point)[2]
    assume(depth > 0.05)
    np.testing.assert_allclose(camera.unproject(camera.project(point), depth), point, atol=1e-9)


@given(cameras(), points)
def test_blender_matrix_round_trip(camera, point):
    matrix = camera.to_blender_matrix()
    again = Camera.from_blender_matrix(matrix, camera.intrinsics, camera.width, camera.height)
    np.testing.assert_allclose(again.world_to_camera, camera.world_to_camera, atol=1e-9)
    # Blender's camera looks along its own -Z and has +Y up.
    in_blender = np.linalg.inv(matrix) @ [*point, 1]
    np.testing.assert_allclose(in_blender[:3] * [1, -1, -1], camera.to_camera(point), atol=1e-9)


@given(cameras())
def test_a_pose_is_a_rotation_and_the_centre_is_its_origin(camera):
    rotation = camera.world_to_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(camera.to_camera(camera.centre), 0, atol=1e-9)
    np.testing.assert_allclose(camera.to_blender_matrix()[:3, 3], camera.centre, atol=1e-9)


@given(cameras(), st.floats(0.1, 3), st.data())
def test_rays_pass_through_pixel_centres_with_depth_as_parameter(camera, depth, data):
    row, column = data.draw(st.integers(0, camera.height - 1)), data.draw(st.integers(0, camera.width - 1))
    origin, directions = camera.rays()
    assert directions.shape == (camera.height, camera.width, 3)
    point = origin + depth * directions[row, column]
    np.testing.assert_allclose(camera.project(point), [column + 0.5, row + 0.5], atol=1e-6)
    assert camera.to_camera(point)[2] == pytest.approx(depth)


@given(cameras(), points, st.integers(8, 400), st.integers(8, 400))
def test_resizing_scales_pixels_and_nothing_else(camera, point, width, height):
    assume(camera.to_camera(point)[2] > 0.05)
    resized = camera.resized(width, height)
    scale = np.array([width / camera.width, height / camera.height])
    np.testing.assert_allclose(resized.project(point), camera.project(point) * scale, atol=1e-6)
    assert (resized.width, resized.height) == (width, height)


@given(angles, elevations, st.floats(0.5, 3))
def test_an_orbit_camera_looks_at_its_target_upright(azimuth, elevation, distance):
    target = np.array([0.01, -0.02, 0.03])
    camera = Camera.orbit(azimuth, elevation, distance=distance, fov_degrees=30, size=100, target=tuple(target))
    np.testing.assert_allclose(camera.project(target), [50, 50], atol=1e-6)
    assert camera.to_camera(target)[2] == pytest.approx(distance)
    above = camera.project(target + np.array([0, 0, 0.01]))
    assert above[0] == pytest.approx(50, abs=1e-6)
    assert above[1] < 50


@pytest.mark.parametrize(
    ("azimuth", "direction"), [(0, (0, -1, 0)), (90, (1, 0, 0)), (-90, (-1, 0, 0)), (180, (0, 1, 0))]
)
def test_azimuth_zero_sees_the_face_and_ninety_the_left_side(azimuth, direction):
    """The face looks along -Y and +X is the character's left."""
    camera = Camera.orbit(azimuth, 0, distance=1.5, fov_degrees=20, size=64, target=(0, 0, 0))
    np.testing.assert_allclose(camera.centre, 1.5 * np.array(direction), atol=1e-12)


def test_positive_elevation_is_above():
    assert Camera.orbit(30, 40, distance=1, fov_degrees=20, size=64, target=(0, 0, 0)).centre[2] > 0.5


def test_known_points_of_a_frontal_camera():
    """Two metres before the face, 90 degrees wide, 200 pixels: one metre at the target's depth is 50 pixels."""
    camera = Camera.orbit(0, 0, distance=2, fov_degrees=90, size=200, target=(0, 0, 0))
    known = {
        (0, 0, 0): (100, 100),
        (1, 0, 0): (150, 100),  # the character's left is on the right of the picture
        (0, 0, 1): (100, 50),
        (0, -1, 0.5): (100, 50),  # nearer points lie further out
        (1, 2, 0): (125, 100),
    }
    for point, pixel in known.items():
        np.testing.assert_allclose(camera.project(np.array(point, float)), pixel, atol=1e-9)
    np.testing.assert_allclose(camera.to_camera(np.array([0.3, -0.5, 0.2])), [0.3, -0.2, 1.5], atol=1e-12)


def test_the_identity_matrix_of_blender_looks_down():
    """A new Blender camera without rotation looks along -Z with +Y up in the picture."""
    camera = Camera.from_blender_matrix(np.eye(4), np.array([[100, 0, 50], [0, 100, 50], [0, 0, 1.0]]), 100, 100)
    np.testing.assert_allclose(camera.project(np.array([0.1, 0.2, -1])), [60, 30], atol=1e-12)
