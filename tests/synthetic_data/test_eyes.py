"""Eyeballs look where they should."""

import dataclasses

import numpy as np

from backend.body_model.anny import load_anny
from backend.body_model.base import EyeSphere
from synthetic_data.appearance.eyes import IRIS_RADIUS, gaze_rotation, make_eyeball
from synthetic_data.identity import sample_identity


def test_iris_is_centred_on_the_gaze_and_has_its_true_size():
    person = sample_identity(load_anny(), 3, 1)
    sphere = EyeSphere(np.array([0.03, -0.07, 0.02]), 0.0165)
    gaze = (0.2, -0.1)
    eye = make_eyeball(sphere, gaze, dataclasses.replace(person.eyes, iris=(0.05, 0.05, 0.05)))
    direction = np.array([np.sin(0.2) * np.cos(-0.1), -np.cos(0.2) * np.cos(-0.1), np.sin(-0.1)])
    np.testing.assert_allclose(gaze_rotation(gaze) @ [0, -1, 0], direction, atol=1e-12)
    offset = eye.vertices - sphere.centre
    in_front = offset @ direction > 0
    from_axis = np.linalg.norm(offset - (offset @ direction)[:, None] * direction, axis=1)
    brightness = eye.colours[:, :3].mean(1)
    assert brightness[in_front & (from_axis < 0.9 * IRIS_RADIUS)].max() < 0.2
    white = in_front & (from_axis > 1.15 * IRIS_RADIUS) & (from_axis < 1.5 * IRIS_RADIUS)
    assert brightness[white].min() > 0.5
