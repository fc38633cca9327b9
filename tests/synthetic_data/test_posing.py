"""The shoulders turn against the head, which stays where it is."""

import dataclasses

import numpy as np

from backend.body_model.anny import load_anny
from synthetic_data.identity import PoseSpec, sample_identity
from synthetic_data.posing import head_rotation, posed_vertices

MODEL = load_anny()
PERSON = sample_identity(MODEL, 5, 2)


def turned(**degrees):
    pose = PoseSpec(**{"yaw_degrees": 0.0, "pitch_degrees": 0.0, "roll_degrees": 0.0, **degrees})
    return posed_vertices(dataclasses.replace(PERSON, pose=pose), MODEL)


def test_no_turn_changes_nothing():
    np.testing.assert_allclose(turned(), PERSON.vertices(MODEL), atol=1e-12)


def test_the_head_stays_and_the_chest_turns_the_other_way():
    still, moved = turned(), turned(yaw_degrees=20.0)
    names = MODEL.skeleton(np.array(PERSON.identity)).names
    head, chest = (MODEL.skin_weights[:, names.index(n)] for n in ("Head", "Chest"))
    np.testing.assert_allclose(moved[head > 0.9999], still[head > 0.9999], atol=2e-5)
    rigid = chest > 0.9999
    a, b = still[rigid] - still[rigid].mean(0), moved[rigid] - moved[rigid].mean(0)
    np.testing.assert_allclose(b, a @ head_rotation(PoseSpec(20.0, 0.0, 0.0)).as_matrix(), atol=1e-6)


def test_signs_of_the_turns():
    forwards, up = np.array([0, -1.0, 0]), np.array([0, 0, 1.0])
    assert head_rotation(PoseSpec(10, 0, 0)).apply(forwards)[0] > 0
    assert head_rotation(PoseSpec(0, 10, 0)).apply(forwards)[2] > 0
    assert head_rotation(PoseSpec(0, 0, 10)).apply(up)[0] > 0
