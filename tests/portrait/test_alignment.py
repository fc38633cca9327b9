"""The crop and the picture are tied by a similarity that is exact both ways."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backend.portrait.alignment import (
    HALF_SIZE,
    LEFT_IRIS,
    RIGHT_IRIS,
    inside_mask,
    scale_of,
    similarity,
    source_to_crop,
    transform_points,
    warp,
)

coordinates = st.floats(-500, 2500)
angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)


def landmarks_with_eyes(centre: np.ndarray, angle: float, distance: float) -> np.ndarray:
    landmarks = np.tile(centre, (478, 1)).astype(float)
    half = distance / 2 * np.array([np.cos(angle), np.sin(angle)])
    landmarks[RIGHT_IRIS] -= half
    landmarks[LEFT_IRIS] += half
    return landmarks


@given(x=coordinates, y=coordinates, angle=angles, distance=st.floats(5, 500), yaw=st.floats(-60, 60))
def test_eyes_come_out_level_and_at_the_known_distance(x, y, angle, distance, yaw):
    landmarks = landmarks_with_eyes(np.array([x, y]), angle, distance)
    matrix = source_to_crop(landmarks, np.zeros(478), yaw, 1024)
    right, left = transform_points(matrix, landmarks[[RIGHT_IRIS, LEFT_IRIS]])
    assert np.allclose(left - right, [1024 / (2 * HALF_SIZE), 0], atol=1e-6 * (1024 + abs(x) + abs(y)))


@given(x=coordinates, y=coordinates, angle=angles, distance=st.floats(5, 500))
def test_a_head_turned_left_lies_to_the_right_of_its_middle(x, y, angle, distance):
    """The person's left is the picture's right; there the face goes, and the head's middle stays in the middle."""
    landmarks = landmarks_with_eyes(np.array([x, y]), angle, distance)
    middles = []
    for yaw in (-30, 0, 30):
        matrix = source_to_crop(landmarks, np.zeros(478), yaw, 1024)
        middles.append(transform_points(matrix, landmarks[[RIGHT_IRIS, LEFT_IRIS]]).mean(0)[0])
    assert middles[0] < middles[1] < middles[2]
    assert np.isclose(middles[1], 512)


@given(x=coordinates, y=coordinates, angle=angles, scale=scales)
def test_similarity_keeps_angles_and_maps_its_centre_to_the_middle(x, y, angle, scale):
    matrix = similarity(np.array([x, y]), angle, scale, 256)
    assert np.allclose(transform_points(matrix, np.array([x, y])), 128)
    assert np.allclose(matrix[:2, :2] @ matrix[:2, :2].T, scale**2 * np.eye(2))
    assert np.isclose(scale_of(matrix), scale)
    assert np.linalg.det(matrix) > 0


@given(x=coordinates, y=coordinates, angle=angles, scale=scales, u=coordinates, v=coordinates)
def test_points_return_through_the_inverse(x, y, angle, scale, u, v):
    matrix = similarity(np.array([x, y]), angle, scale, 256)
    there = transform_points(matrix, np.array([[u, v]]))
    assert np.allclose(transform_points(np.linalg.inv(matrix), there), [[u, v]], atol=1e-6)


@given(angle=angles, scale=st.floats(0.4, 4), x=st.floats(45, 75), y=st.floats(45, 75))
def test_warped_pixels_follow_the_points(angle, scale, x, y):
    """A blob lands where its centre is mapped to, in coordinates whose pixel centres lie at +0.5."""
    rows, columns = np.mgrid[:120, :120] + 0.5
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 32).astype(np.float32)
    matrix = similarity(np.array([60.0, 60.0]), angle, scale, 240)
    warped = warp(blob, matrix, 240)
    rows, columns = np.mgrid[:240, :240] + 0.5
    found = np.array([(warped * columns).sum(), (warped * rows).sum()]) / warped.sum()
    assert np.allclose(found, transform_points(matrix, np.array([x, y])), atol=0.1)


def test_whole_pixels_move_unchanged():
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    matrix = np.array([[1.0, 0, -7], [0, 1, -3], [0, 0, 1]])
    assert np.array_equal(warp(image, matrix, 32), image[3:35, 7:39])


def test_border_pixels_continue_outside_and_the_mask_tells():
    image = np.full((40, 40, 3), 0.25, np.float32)
    matrix = similarity(np.array([0.0, 0.0]), 0.0, 1.0, 60)
    assert np.allclose(warp(image, matrix, 60), 0.25)
    inside = inside_mask(40, 40, matrix, 60)
    assert not inside[:30].any()
    assert not inside[:, :30].any()
    assert inside[30:, 30:].all()


def test_shrinking_averages_instead_of_skipping():
    checker = (np.indices((400, 400)).sum(0) % 2).astype(np.float32)
    small = warp(checker, similarity(np.array([200.0, 200.0]), 0.1, 0.1, 32), 32)
    assert np.abs(small - 0.5).max() < 0.02
    assert cv2.Laplacian(small, cv2.CV_32F).std() < 0.02
