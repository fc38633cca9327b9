"""Where the comb goes: wanted directions of hair on the skull, as functions of template points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import HairSpec
from synthetic_data.surface import unit

if TYPE_CHECKING:
    from jaxtyping import Float

CROWN = np.array([0.006, 0.062, 0.121])
_ACROSS, _FORWARDS, _UP = np.eye(3) * [[1.0], [-1.0], [1.0]]


def comb(
    kind: str,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    side: Float[np.ndarray, " n"],
    hair: HairSpec,
) -> Float[np.ndarray, "n 3"]:
    """Unit directions along the skin. `side` is -1 or 1, on which side of the parting a strand grows."""
    x, y, z = (v[:, None] for v in points.T)
    side = side[:, None]
    top = smoothstep(0.035, 0.115, z)
    front = smoothstep(0.0, -0.07, y)
    face = smoothstep(-0.035, -0.075, y) * smoothstep(0.03, 0.05, np.abs(x))
    away = unit(points - CROWN)
    swirl = np.cross(_UP, away) * np.exp(-(((points - CROWN) / 0.045) ** 2).sum(1, keepdims=True))
    down = -_UP * (1 - top)
    backwards = -_FORWARDS
    if kind in ("whorl", "radial"):
        sweep = np.sign(hair.parting) * 0.5 * _ACROSS * front * top * (hair.fringe > 0.4)
        way = away + 0.9 * swirl + 0.9 * down + sweep + 0.35 * _FORWARDS * top * (0.3 + hair.fringe)
    elif kind == "crown":
        way = away + 0.5 * swirl + 1.2 * down
    elif kind == "pixie":
        sweep = -np.sign(hair.parting or 1.0) * _ACROSS * front * top * (0.6 + 0.8 * hair.fringe)
        way = away + 0.6 * swirl + 0.9 * down + sweep + 0.35 * _FORWARDS * face * (1 - top)
    elif kind == "over":
        # Combed across from the parting, a little backwards; the narrow side straight down.
        closed = smoothstep(0.08, 0.045, y)
        way = (
            side * _ACROSS * (0.35 + 0.9 * top) * closed
            + away * (1 - closed)
            + backwards * (0.25 + 0.55 * top)
            + 1.1 * down
        )
    elif kind in ("back", "quiff", "swept"):
        # Behind the ears hair falls straight down, or both sides would meet in a point at the nape.
        behind = smoothstep(0.015, 0.06, y) * (1 - top)
        way = backwards * (0.55 + 0.9 * top) * (1 - behind) + down * (0.45 + 1.2 * behind)
        sweep = {"back": 0.0, "quiff": 0.3, "swept": 0.75}[kind] * np.sign(hair.parting or 1.0)
        way = way + sweep * _ACROSS * top * (0.4 + 0.6 * front)
    elif kind == "mohawk":
        way = -np.sign(x) * _ACROSS * 0.5 + 0.1 * backwards
    else:
        # Parted and locs: away from the parting, back from the face, then down.
        closed = smoothstep(0.060, 0.020, y)  # the parting ends before the crown, and behind it hair falls backwards
        fan = 7 * (x - hair.parting * closed) * _ACROSS + 0.9 * backwards
        way = side * _ACROSS * (0.15 * closed + 0.95 * top * closed) + fan * (1 - closed) * top
        way = way + backwards * (0.42 * top * front + 0.9 * face * (1 - 0.6 * top)) + 1.3 * down
    return unit(tangential(way, normals))


def tangential(ways: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The part of `ways` that runs along the skin."""
    return ways - normals * (ways * normals).sum(1, keepdims=True)


def around_face(points: Float[np.ndarray, "n 3"], side: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """A push backwards and sideways on strands that would hang over the face (template points)."""
    x, y, z = points.T
    ahead = np.clip(-y - 0.022 - 0.32 * np.abs(x), 0, 0.05) * smoothstep(0.10, 0.06, z) * smoothstep(-0.13, -0.08, z)
    way = np.array([0, 1.0, 0]) + side[:, None] * np.array([0.7, 0, 0])
    return 16 * ahead[:, None] * way


def towards_neck(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Below the ears hair falls in towards the neck, so that it lies on the shoulders instead of standing off."""
    x, y, z = points.T
    low = smoothstep(0.0, -0.07, z) * smoothstep(-0.30, -0.16, z)
    # Not closer than a collar: behind, hair falls plumb from the skull to the back.
    inwards = np.stack(
        [-1.6 * np.sign(x) * np.clip(np.abs(x) - 0.072, 0, 0.10), np.clip(0.100 - y, -0.06, 0), 0 * z], 1
    )
    return 10 * low[:, None] * inwards
