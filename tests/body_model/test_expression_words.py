"""Expressions as people write them, and the person in them."""

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.body_model.expression_words import parse_expression
from backend.body_model.expressions import in_expression
from backend.body_model.fitting import BodyFit
from backend.radiance.cameras import Camera
from backend.rigging.avatar import ARKIT_SHAPES


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("neutral", {}),
        ("jawOpen", {"jawOpen": 1.0}),
        (" JAWOPEN = 0.6 ", {"jawOpen": 0.6}),
        ("kiss=0.5", {"mouthFunnel": 0.1, "mouthPucker": 0.5}),
        ("laugh,jawOpen=0.9,laugh=0", {"jawOpen": 1.0}),
        ("jawOpen=0", {}),
    ],
)
def test_words_become_weights(text, weights):
    found = parse_expression(text)
    assert {name: found.get(name) for name in weights} == pytest.approx(weights)
    assert list(found) == [name for name in ARKIT_SHAPES if name in found]
    assert weights or not found


@pytest.mark.parametrize(
    "text", ["", "smie", "smile,", "smile=", "jawOpen=1.1", "jawOpen=-1", "jawOpen=nan", "jawOpen=a"]
)
def test_what_is_no_expression_is_said_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"^[A-Z][^\n]+\.$"):
        parse_expression(text)


def test_a_person_takes_on_an_expression_and_keeps_their_own_offsets():
    model = load_anny()
    own = np.full_like(model.template, 0.001)
    identity = np.array([parameter.mean for parameter in model.identity_parameters])
    smiling = np.array([0.5 * name.startswith("mouthSmile") for name in ARKIT_SHAPES])
    camera = Camera.orbit(0, 0, distance=1, fov_degrees=20, size=64)
    fit = BodyFit(model, identity, smiling, camera, np.zeros((2, 2)), own, np.zeros(478))
    assert np.array_equal(in_expression(fit, None), fit.posed())
    assert np.array_equal(in_expression(fit, {}), fit.neutral())
    same = in_expression(fit, {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5})
    np.testing.assert_allclose(same, fit.posed(), atol=1e-9)
