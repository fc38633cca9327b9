"""Glasses, headwear and earrings of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.glasses import make_glasses
from synthetic_data.appearance.headwear import Covered, make_headwear
from synthetic_data.appearance.pieces import Piece, join, tube
from synthetic_data.identity import AccessorySpec
from synthetic_data.surface import Patch

if TYPE_CHECKING:
    from jaxtyping import Float

METALS = {"gold": (0.80, 0.52, 0.18), "silver": (0.68, 0.68, 0.70)}


def make_accessories(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: AccessorySpec
) -> tuple[list[Piece], Covered | None]:
    """The pieces, and for headwear a function that says how much of the hair at template points (N, 3) it covers."""
    pieces, covered = [], None
    if spec.glasses != "none":
        pieces += make_glasses(model, vertices, spec)
    if spec.headwear != "none":
        hat, covered = make_headwear(model, vertices, spec)
        pieces += hat
    if spec.earrings != "none" and spec.headwear != "headscarf":
        pieces.append(make_earrings(model, vertices, spec))
    return pieces, covered


def make_earrings(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: AccessorySpec) -> Piece:
    """One at each lobe. Raises KeyError for an unknown kind."""
    rng = np.random.default_rng([spec.seed, 21])
    size = float(rng.uniform(0.7, 1.4))
    make = {"studs": _stud, "hoops": _hoop, "drops": _drop}[spec.earrings]
    rings = [make(*_lobe(model, vertices, side), side, size) for side in (1, -1)]
    return Piece("earrings", join([p for ring in rings for p in ring]), "earring", "metal", METALS[spec.metal])


def _lobe(model: BodyModel, vertices: Float[np.ndarray, "V 3"], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the lobe's outside, and its lowest point."""
    template = model.template
    ear = np.flatnonzero((model.topology.regions["ears"] > 0.5) & (template[:, 0] * side > 0))
    low = template[ear, 2].min()
    lobe = ear[template[ear, 2] < low + 0.011]
    outside = lobe[np.argsort(-side * vertices[lobe, 0])[:4]]
    return vertices[outside].mean(0), vertices[lobe[np.argmin(vertices[lobe, 2])]]


def _stud(outside: np.ndarray, bottom: np.ndarray, side: int, size: float) -> list[Patch]:
    t = np.linspace(0, 1, 7)
    radius = 0.0028 * size
    path = outside + np.outer(t * 2 - 0.4, [side * radius, 0, 0])
    return [tube(path, radius * np.sqrt(np.clip(1 - (2 * t - 1) ** 2, 0.02, 1)), sides=14)]


def _hoop(outside: np.ndarray, bottom: np.ndarray, side: int, size: float) -> list[Patch]:
    """A ring through the lobe, seen full from the side."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 0.0125 * size
    centre = (outside + bottom) / 2 + [side * 0.001, 0, 0.001 - radius]
    ring = centre + radius * np.stack([0.15 * side * (1 - np.cos(angle)), np.sin(angle), np.cos(angle)], 1)
    return [tube(ring, 0.0011 * np.sqrt(size), closed=True)]


def _drop(outside: np.ndarray, bottom: np.ndarray, side: int, size: float) -> list[Patch]:
    top = outside + [side * 0.0012, 0, -0.001]
    wire = top - np.outer(np.linspace(0, 1, 6), [0, 0, 0.013 * size]) + [side * 0.001, 0, 0]
    t = np.linspace(0, 1, 12)
    drop = wire[-1] - np.outer(t, [0, 0, 0.014 * size])
    return [
        *_stud(outside, bottom, side, 0.7),
        tube(wire, 0.0005),
        tube(drop, 0.0046 * size * np.sin(np.pi * t**0.7).clip(0.02), sides=14),
    ]
