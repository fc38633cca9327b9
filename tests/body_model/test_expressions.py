"""A model's own expression, said in ARKit's terms."""

import dataclasses

import numpy as np
import pytest

from backend.body_model.anny import load_anny
from backend.body_model.base import Parameter, defaults
from backend.body_model.expressions import arkit_weights
from backend.rigging.avatar import ARKIT_SHAPES


@dataclasses.dataclass
class Renamed:
    """Anny with expression parameters that are mixtures of her shapes, as other models' components are."""

    mixing: np.ndarray

    def __post_init__(self):
        self._anny = load_anny()
        self.expression_parameters = tuple(
            Parameter(f"expression{i:03d}", -4, 4, 0, 1) for i in range(len(self.mixing))
        )

    def __getattr__(self, name):
        return getattr(self._anny, name)

    def expression_offsets(self, identity):
        return np.tensordot(self.mixing, self._anny.expression_offsets(identity).astype(float), 1)


def test_arkit_parameters_are_taken_as_they_are():
    anny = load_anny()
    expression = np.linspace(0, 1, len(ARKIT_SHAPES))
    weights = arkit_weights(anny, defaults(anny.identity_parameters), expression)
    assert list(weights) == list(ARKIT_SHAPES)
    np.testing.assert_allclose(list(weights.values()), expression)


@pytest.mark.parametrize("seed", range(3))
def test_mixtures_are_taken_apart(seed):
    random = np.random.default_rng(seed)
    model = Renamed(np.linalg.qr(random.normal(0, 1, (52, 52)))[0])
    identity = defaults(model.identity_parameters)
    truth = np.zeros(52)
    for name, value in (("jawOpen", 0.6), ("mouthSmileLeft", 0.5), ("browInnerUp", 0.8), ("eyeBlinkRight", 0.9)):
        truth[ARKIT_SHAPES.index(name)] = value
    # Rows of an orthogonal matrix: the mixture's weights are the truth turned.
    weights = np.array(list(arkit_weights(model, identity, model.mixing @ truth).values()))
    assert weights.min() >= 0
    assert weights.max() <= 1
    face = model.topology.regions["face"] > 0.5
    shapes = model._anny.expression_offsets(identity).astype(float)
    error = np.linalg.norm(np.tensordot(weights - truth, shapes, 1)[face], axis=1)
    assert np.sqrt((error**2).mean()) < 0.0005
    assert weights[ARKIT_SHAPES.index("jawOpen")] == pytest.approx(0.6, abs=0.1)
