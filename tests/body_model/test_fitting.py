"""Fits to landmarks of people, expressions and cameras that are known, seen with half a pixel of noise."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from backend.body_model.anny import load_anny
from backend.body_model.fitting import (
    EYE_CORNERS,
    IRIS_EDGE,
    IRIS_LEFT,
    IRIS_RIGHT,
    BodyFit,
    FitSettings,
    estimate_gaze,
    fit_landmarks,
    gaze_rotation,
)
from backend.body_model.landmarks import LandmarkMap
from backend.radiance.cameras import Camera

ANNY = load_anny()
MARKS = LandmarkMap.load("anny", ANNY.topology.faces)
NAMES = [p.name for p in ANNY.expression_parameters]
FACE = ANNY.topology.regions["face"] > 0.5
SIZE = 1024
NOISE = 0.5  # pixels

# seed of the person, azimuth, elevation and roll of the camera in degrees, expression
HEADS = {
    "frontal": (0, 0, 0, 0, {}),
    "turned": (1, 25, 10, 8, {}),
    "mouth open": (2, -35, 0, 0, {"jawOpen": 0.5}),
    "eyes shut": (4, 10, -10, 0, {"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9}),
    "one-sided smile": (5, 0, 5, -5, {"mouthSmileLeft": 0.8}),
}


@dataclasses.dataclass
class Known:
    camera: Camera
    vertices: np.ndarray
    landmarks: np.ndarray
    expression: dict


@functools.cache
def known(name):
    seed, azimuth, elevation, roll, expression = HEADS[name]
    random = np.random.default_rng(seed)
    identity = [np.clip(random.normal(p.mean, 0.7 * p.sd), p.low, p.high) for p in ANNY.identity_parameters]
    vertices = ANNY.neutral(np.array(identity))
    for key, value in expression.items():
        vertices = vertices + value * ANNY.arkit_offsets(np.array(identity))[key]
    camera = Camera.orbit(azimuth, elevation, distance=1.1, fov_degrees=28, size=SIZE)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", roll, degrees=True).as_matrix()
    camera = dataclasses.replace(camera, world_to_camera=turn @ camera.world_to_camera)
    landmarks = camera.project(MARKS.positions(vertices)) + random.normal(0, NOISE, (478, 2))
    return Known(camera, vertices, landmarks, expression)


@functools.cache
def fitted(name):
    return fit_landmarks(ANNY, MARKS, known(name).landmarks, (SIZE, SIZE))


def weight(fit, name):
    return fit.expression[NAMES.index(name)]


def pose_error(fit, camera):
    """Degrees between two cameras."""
    between = fit.camera.world_to_camera[:3, :3] @ camera.world_to_camera[:3, :3].T
    return np.degrees(Rotation.from_matrix(between).magnitude())


@pytest.mark.parametrize("name", HEADS)
def test_landmarks_lie_where_they_were_seen(name):
    """The median is the noise: half a pixel each way is 0.003 of the distance between the outer eye corners."""
    fit = fitted(name)
    assert fit.median_landmark_error < 0.004
    unit = np.linalg.norm(np.diff(known(name).landmarks[list(EYE_CORNERS)], axis=0))
    skin = ~MARKS.contour & ~np.isin(np.arange(478), np.r_[IRIS_LEFT, IRIS_RIGHT])
    found = fit.camera.project(MARKS.positions(fit.posed()))
    error = np.linalg.norm(found - known(name).landmarks, axis=1)[skin] / unit
    np.testing.assert_allclose(fit.landmark_error[skin], error)
    assert np.quantile(error, 0.95) < 0.02


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_turned_as_it_was(name):
    # An open mouth and a raised chin look alike to some degree.
    assert pose_error(fitted(name), known(name).camera) < (2.5 if known(name).expression else 1.5)


@pytest.mark.parametrize("name", HEADS)
def test_the_face_has_the_shape_it_had(name):
    """To within 2 mm (typical) once the size, which one picture does not show, is made equal."""
    a, b = (v[FACE] - v[FACE].mean(0) for v in (fitted(name).posed(), known(name).vertices))
    u, s, vt = np.linalg.svd(a.T @ b)
    moved = a @ (u @ vt) * s.sum() / (a**2).sum()
    assert np.median(np.linalg.norm(moved - b, axis=1)) < 0.002


@pytest.mark.parametrize("name", [name for name in HEADS if HEADS[name][4]])
def test_an_expression_is_recognised(name):
    """Priors take up to six tenths of it away, but no other key is stronger."""
    fit, expression = fitted(name), known(name).expression
    for key, value in expression.items():
        assert 0.4 * value < weight(fit, key) < 1.2 * value
    others = [weight(fit, key) for key in NAMES if key not in expression]
    assert max(others) < min(weight(fit, key) for key in expression)


def test_a_neutral_face_stays_neutral():
    for name in ("frontal", "turned"):
        assert fitted(name).expression.max() < 0.12


def test_one_side_is_not_taken_for_the_other():
    assert weight(fitted("one-sided smile"), "mouthSmileLeft") > 3 * weight(
        fitted("one-sided smile"), "mouthSmileRight"
    )


def test_every_parameter_stays_in_its_range():
    for name in HEADS:
        fit = fitted(name)
        for values, parameters in (
            (fit.identity, ANNY.identity_parameters),
            (fit.expression, ANNY.expression_parameters),
        ):
            assert all(p.low <= value <= p.high for value, p in zip(values, parameters, strict=True))
        assert np.linalg.norm(fit.offsets, axis=1).max() <= FitSettings().offset_limit


@pytest.mark.parametrize("landmark", [4, 300])  # tip of the nose, brow
def test_one_wrong_landmark_does_not_bend_the_face(landmark):
    """Sixty pixels off, a third of the distance between the eyes."""
    wrong = known("frontal").landmarks.copy()
    wrong[landmark] += [50, -35]
    fit = fit_landmarks(ANNY, MARKS, wrong, (SIZE, SIZE))
    moved = np.linalg.norm(fit.posed() - fitted("frontal").posed(), axis=1)[FACE]
    assert np.median(moved) < 0.0002
    assert moved.max() < 0.0005


def test_the_same_landmarks_give_the_same_fit():
    quick = FitSettings(iterations=3)
    first, second = (fit_landmarks(ANNY, MARKS, known("turned").landmarks, (SIZE, SIZE), quick) for _ in range(2))
    for field in ("identity", "expression", "offsets", "gaze", "landmark_error"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    np.testing.assert_array_equal(first.camera.world_to_camera, second.camera.world_to_camera)


def eye_distance(fit):
    left, right = ANNY.eye_spheres(fit.neutral())
    return np.linalg.norm(left.centre - right.centre)


def iris_pixels(fit):
    corners = MARKS.positions(fit.posed())[[33, 133, 362, 263]]
    return fit.camera.intrinsics[0, 0] * IRIS_EDGE / fit.camera.to_camera(corners).mean(0)[2]


def test_a_large_iris_means_a_small_head():
    """All irises are of one size, so what the iris measures in pixels tells how long a pixel is."""
    seen = iris_pixels(fitted("frontal"))
    small, large = (
        fit_landmarks(ANNY, MARKS, known("frontal").landmarks, (SIZE, SIZE), iris_radius=seen * factor)
        for factor in (0.92, 1.08)
    )
    assert eye_distance(large) < 0.95 * eye_distance(small)
    for fit, factor in ((small, 0.92), (large, 1.08)):
        assert iris_pixels(fit) == pytest.approx(seen * factor, rel=0.06)
        assert fit.median_landmark_error < 0.004


# Gaze: no fit is needed, the truth is taken for it.


def looking(gaze, camera):
    """A head whose eyeballs have the gaze (2, 2), and the landmarks of its irises."""
    zeros = np.zeros_like(ANNY.template)
    identity = np.array([p.mean for p in ANNY.identity_parameters])
    fit = BodyFit(ANNY, identity, np.zeros(len(NAMES)), camera, np.zeros((2, 2)), zeros, np.zeros(478))
    landmarks = np.zeros((478, 2))
    for sphere, iris, turn in zip(ANNY.eye_spheres(fit.neutral()), (IRIS_LEFT, IRIS_RIGHT), gaze, strict=True):
        middle = sphere.centre + gaze_rotation(np.asarray(turn)) @ [0, -sphere.radius, 0]
        landmarks[iris] = camera.project(middle)
    return fit, landmarks


@given(
    yaw=st.floats(-0.4, 0.4),
    pitch=st.floats(-0.3, 0.3),
    converge=st.floats(-0.08, 0.08),
    azimuth=st.floats(-35, 35),
    elevation=st.floats(-15, 15),
)
@settings(max_examples=25, deadline=None)
def test_the_gaze_is_read_from_the_irises(yaw, pitch, converge, azimuth, elevation):
    """Wherever the camera stands; eyes may converge, but not look up one by one."""
    camera = Camera.orbit(azimuth, elevation, distance=1.1, fov_degrees=28, size=SIZE)
    gaze = np.array([[yaw - converge, pitch], [yaw + converge, pitch]])
    fit, landmarks = looking(gaze, camera)
    np.testing.assert_allclose(estimate_gaze(fit, landmarks), gaze, atol=1e-3)


def test_both_eyes_look_up_together_and_hardly_apart():
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=28, size=SIZE)
    found = estimate_gaze(*looking(np.array([[0.3, 0.2], [-0.3, 0.0]]), camera))
    assert found[0, 1] == found[1, 1] == pytest.approx(0.1, abs=1e-3)
    assert found[0, 0] - found[1, 0] == pytest.approx(0.18, abs=1e-3)


def test_an_iris_beside_the_eye_gives_a_gaze_all_the_same():
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=28, size=SIZE)
    fit, landmarks = looking(np.zeros((2, 2)), camera)
    landmarks[IRIS_LEFT] += 60
    found = estimate_gaze(fit, landmarks)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 0.6
