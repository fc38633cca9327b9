"""An expression in ARKit's terms, whatever the model's own expression parameters are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import lsq_linear

from backend.rigging.avatar import ARKIT_SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit

_RIDGE = 0.0002
"""Preference for small weights: a weight of one costs as much as this root mean square error, metres."""


def arkit_weights(
    model: BodyModel, identity: Float[np.ndarray, " I"], expression: Float[np.ndarray, " E"]
) -> dict[str, float]:
    """Weights in [0, 1] of the ARKit shapes that come closest to `expression`, a vector of the model's own parameters.

    Parameters that are called like ARKit's shapes, and move the same vertices, are taken as they are. Otherwise least
    squares over the face with bounds; shapes that look alike on this model share what they have in common.
    """
    names = [p.name for p in model.expression_parameters]
    if set(names) <= set(ARKIT_SHAPES):
        return {name: float(value) for name, value in zip(names, expression, strict=True)}
    shapes = model.arkit_offsets(identity)
    wanted = np.tensordot(expression, model.expression_offsets(identity), 1)
    face = model.topology.regions["face"]
    chosen = face > 0.05
    strength = np.sqrt(face[chosen] / face[chosen].sum())[:, None]
    columns = np.stack([(shapes[name][chosen] * strength).ravel() for name in ARKIT_SHAPES], 1)
    system = np.concatenate([columns, _RIDGE * np.eye(len(ARKIT_SHAPES))])
    goal = np.concatenate([(wanted[chosen] * strength).ravel(), np.zeros(len(ARKIT_SHAPES))])
    weights = lsq_linear(system, goal, (0, 1)).x
    return {name: float(weight) for name, weight in zip(ARKIT_SHAPES, weights, strict=True)}


def in_expression(fit: BodyFit, weights: Mapping[str, float] | None) -> Float[np.ndarray, "V 3"]:
    """Vertices of the fitted person with so much of ARKit's shapes, metres, head frame; with None, in the expression of
    the portrait."""
    if weights is None:
        return fit.posed()
    shapes = fit.model.arkit_offsets(fit.identity)
    return fit.neutral() + sum((weight * shapes[name] for name, weight in weights.items()), np.zeros(3))
