"""Where an avatar ends below: a rounded cut through the bust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

BUST_HALF_WIDTH, BUST_BOTTOM = 0.172, -0.212
"""Metres in the head frame: half the width of the cut, and its lowest height."""


def bust_inside(points: Float[np.ndarray, "n 3"], half_size: float) -> Float[np.ndarray, " n"]:
    """Metres inside the rounded cut that ends the bust within the field's cube (positive above the cut)."""
    down = np.minimum(points[:, 2] + 0.10, 0) / (BUST_BOTTOM + 0.10)
    below = points[:, 2] < -0.10
    radius = (np.abs(points[:, 0] / BUST_HALF_WIDTH) ** 3 + np.abs(down) ** 3) ** (1 / 3)
    bust = np.where(below, (1 - radius) * np.abs(BUST_BOTTOM + 0.10), np.inf)
    limit = half_size - 0.008
    return np.minimum(bust, limit - np.abs(points).max(1))


def onto_cut(points: Float[np.ndarray, "n 3"], half_size: float) -> Float[np.ndarray, "n 3"]:
    """Moves that bring points beyond the bust's cut back onto it (zero for the others), so that its rim is smooth."""
    moved = points.copy()
    for _ in range(8):
        value = bust_inside(moved, half_size)
        outside = value < 0
        steps = 1e-4 * np.eye(3)
        gradient = np.stack([bust_inside(moved[outside] + s, half_size) - value[outside] for s in steps], 1) / 1e-4
        gradient /= np.maximum((gradient**2).sum(1, keepdims=True), 0.05)
        moved[outside] -= np.clip(value[outside, None] * gradient, -0.03, 0.03)
    return moved - points
