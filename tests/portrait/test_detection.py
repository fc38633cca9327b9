"""The right face is found, wherever and however it lies in the picture, with landmarks that stay put."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.portrait.detection import detect_face, head_yaw


def shift(a: np.ndarray, b: np.ndarray) -> float:
    """Mean landmark distance in pixels."""
    return float(np.linalg.norm(a - b, axis=1).mean())


def scaled(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def test_landmarks_lie_on_the_face(astronaut_face):
    face = astronaut_face
    assert face.landmarks.shape == (478, 2)
    assert 40 < face.pupil_distance < 46
    assert abs(face.yaw) < 5
    right_iris, left_iris, nose, chin = face.landmarks[[468, 473, 4, 152]]
    assert right_iris[0] < nose[0] < left_iris[0]
    assert right_iris[1] < nose[1] < chin[1]
    assert np.allclose((right_iris + left_iris) / 2, [225, 103], atol=3)


def test_same_picture_same_landmarks(astronaut, astronaut_face, models):
    assert np.array_equal(detect_face(astronaut, models).landmarks, astronaut_face.landmarks)


@pytest.mark.parametrize("size", [340, 1024])
def test_landmarks_scale_with_the_picture(astronaut, astronaut_face, models, size):
    face = detect_face(scaled(astronaut, size), models)
    assert shift(face.landmarks * 512 / size, astronaut_face.landmarks) < 0.6


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_pictures_on_their_side_and_upside_down_are_understood(astronaut, astronaut_face, models, turns):
    landmarks = detect_face(np.ascontiguousarray(np.rot90(astronaut, turns)), models).landmarks
    for _ in range(turns):
        landmarks = np.column_stack([512 - landmarks[:, 1], landmarks[:, 0]])
    assert shift(landmarks, astronaut_face.landmarks) < 0.6


@pytest.mark.parametrize("angle", [-120, -50, 30, 145])
def test_leaning_heads_are_understood(astronaut, astronaut_face, models, angle):
    leaning = np.asarray(Image.fromarray(astronaut).rotate(angle, expand=True, resample=Image.Resampling.BICUBIC))
    face = detect_face(leaning, models)
    assert abs((face.roll + angle - astronaut_face.roll + 180) % 360 - 180) < 2
    assert abs(face.pupil_distance - astronaut_face.pupil_distance) < 1


def test_the_largest_of_several_faces_is_taken(astronaut, astronaut_face, models):
    small = np.pad(scaled(astronaut, 340), ((0, 172), (0, 0), (0, 0)))
    for image, offset in ((np.hstack([astronaut, small]), 0), (np.hstack([small, astronaut]), 340)):
        face = detect_face(np.ascontiguousarray(image), models)
        assert len(face.others) == 1
        assert shift(face.landmarks - [offset, 0], astronaut_face.landmarks) < 0.6


def test_a_whole_face_comes_before_a_larger_one_that_the_border_cuts(astronaut, astronaut_face, models):
    cut = np.ascontiguousarray(scaled(astronaut, 768)[:512, 340:])
    face = detect_face(np.ascontiguousarray(np.hstack([cut, astronaut])), models)
    assert shift(face.landmarks - [cut.shape[1], 0], astronaut_face.landmarks) < 0.6


def test_a_small_face_in_a_large_picture_is_found(astronaut, astronaut_face, models):
    large = np.full((2048, 2048, 3), 90, np.uint8)
    large[1300:1640, 200:540] = scaled(astronaut, 340)
    face = detect_face(large, models)
    assert shift((face.landmarks - [200, 1300]) * 512 / 340, astronaut_face.landmarks) < 1


def test_a_face_that_fills_the_picture_is_found(astronaut, astronaut_face, models):
    face = detect_face(np.ascontiguousarray(astronaut[60:200, 170:280]), models)
    assert shift(face.landmarks + np.array([170, 60]), astronaut_face.landmarks) < 1


def test_mirrored_faces_turn_the_other_way(astronaut, models):
    sheared = np.asarray(Image.fromarray(astronaut).resize((400, 512)))
    yaw = detect_face(np.ascontiguousarray(sheared), models).yaw
    mirrored = detect_face(np.ascontiguousarray(sheared[:, ::-1]), models).yaw
    assert abs(yaw + mirrored) < 2


@pytest.mark.parametrize("angle", [-50, -20, 0, 35])
def test_yaw_is_the_turn_of_the_landmarks(astronaut_face, angle):
    points = np.column_stack([astronaut_face.landmarks, astronaut_face.depth])
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]).T
    # Turning to the person's left takes the left side of the face away from the viewer.
    assert abs(head_yaw(turned[:, :2], turned[:, 2]) - astronaut_face.yaw - angle) < 2


def refusal(image: np.ndarray, models) -> MaquetteError:
    with pytest.raises(MaquetteError) as caught:
        detect_face(image, models, name="holiday.jpg")
    assert "holiday.jpg" in caught.value.message
    assert caught.value.stage == "portrait"
    return caught.value


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "hubble_deep_field"])
def test_pictures_without_a_face_are_refused(models, name):
    assert refusal(getattr(skimage.data, name)(), models).code is ErrorCode.NO_FACE


def test_noise_is_no_face(models):
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    assert refusal(noise, models).code is ErrorCode.NO_FACE


def test_faces_too_small_for_a_likeness_are_refused(astronaut, models):
    error = refusal(scaled(astronaut, 200), models)
    assert error.code is ErrorCode.FACE_TOO_SMALL
    assert "17 pixels" in error.message
