"""Where a garment ends, as fields on the template: positive where it covers, metres from its edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import GarmentSpec

if TYPE_CHECKING:
    from jaxtyping import Float

_BUST_TOP, _BUST_BOTTOM, _BUST_SIDE = 0.10, 0.262, 0.198
"""The bust is cut along the lower half of a rounded rectangle: height of its widest place, its lowest point, half its
width on the template, metres. The body model's own borders, which are ragged, lie outside."""

OPEN_FRONT = {"suit": (-0.250, 22.0), "blazer": (-0.246, 23.5), "jacket": (-0.250, 15.0), "robe": (-0.235, 27.0)}
"""Height at which the fronts meet, and half the angle between them in degrees."""
COLLAR = {"shirt": 0.0765, "undershirt": 0.0745}
"""Radius of the neckline of a shirt with a collar, metres."""
WITH_SHIRT = ("suit", "blazer", "jacket")
"""Kinds that are worn over a shirt or a tee."""
BARE_ARMS = ("tank top", "off shoulder")
"""Kinds without sleeves."""
SNUG = ("tank top", "off shoulder", "scoop", "v-neck", "tee")
"""Kinds whose edges lie on the bare skin."""


def neckline(template: Float[np.ndarray, "*n 3"], spec: GarmentSpec) -> Float[np.ndarray, "*n"]:
    """Metres from the edge of the outermost layer at neck and shoulders, positive where it covers."""
    low = spec.neckline
    match spec.kind:
        case "tee" | "sweater" | "overall":
            return around_neck(template, 0.079 + 0.010 * low)
        case "v-neck":
            return open_front(template, 0.081 + 0.006 * low, -0.211 - 0.030 * low, 24 + 4 * low)
        case "scoop":
            return around_neck(template, 0.088 + 0.012 * low, 0.022 + 0.026 * low)
        case "polo" | "shirt":
            return open_front(template, COLLAR["shirt"], -0.128 - 0.035 * low, 16.0)
        case "hoodie":
            return around_neck(template, 0.088)
        case "turtleneck":
            return -0.093 - template[..., 2] + 0.16 * template[..., 1]
        case "tank top":
            return np.minimum(around_neck(template, 0.092 + 0.01 * low, 0.03 + 0.02 * low), _armhole(template))
        case "off shoulder":
            return -0.158 - 0.018 * low - 0.03 * smoothstep(0.12, 0.0, np.abs(template[..., 0])) - template[..., 2]
        case _:
            bottom, angle = OPEN_FRONT[spec.kind]
            return open_front(template, 0.083, bottom, angle)


def undershirt(template: Float[np.ndarray, "*n 3"], spec: GarmentSpec) -> Float[np.ndarray, "*n"]:
    """The same for what is worn beneath: a shirt with a collar, or a tee under a jacket."""
    if spec.kind == "jacket":
        return around_neck(template, 0.080)
    return open_front(template, COLLAR["undershirt"], -0.112, 10.0)


def bib(template: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Breast and straps of an overall."""
    x, y, z = np.moveaxis(template, -1, 0)
    breast = np.minimum(0.078 - np.abs(x), -0.175 - z) - 4 * np.maximum(y - 0.02, 0)
    straps = 0.017 - np.abs(np.abs(x) - 0.074 + 0.25 * np.maximum(y - 0.03, 0))
    return np.maximum(breast, np.minimum(straps, around_neck(template, 0.086)))


def bust(template: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """About metres from where the bust is cut off, positive inside: through the upper arms and below the breast."""
    x, _, z = np.moveaxis(template, -1, 0)
    below = np.maximum(-z - _BUST_TOP, 0) / (_BUST_BOTTOM - _BUST_TOP)
    return _BUST_SIDE * (1 - ((np.abs(x) / _BUST_SIDE) ** 3.0 + below**3.0) ** (1 / 3.0))


def around_neck(template: Float[np.ndarray, "*n 3"], radius: float, front_drop: float = 0.0) -> Float[np.ndarray, "*n"]:
    """Outside a ball around the neck, which reaches `front_drop` metres farther on the breast."""
    x, y, z = np.moveaxis(template, -1, 0)
    distance = np.sqrt(0.92 * x**2 + (y - 0.03) ** 2 + (z + 0.090) ** 2)
    turned = np.arctan2(np.abs(x), 0.04 - y)
    return distance - radius - front_drop * np.exp(-((turned / 0.8) ** 2))


def open_front(
    template: Float[np.ndarray, "*n 3"], radius: float, bottom: float, half_angle: float
) -> Float[np.ndarray, "*n"]:
    """Outside the ball around the neck and outside a wedge on the breast whose tip is at height `bottom`."""
    x, y, z = np.moveaxis(template, -1, 0)
    angle = np.radians(half_angle)
    wedge = np.abs(x) * np.cos(angle) - (z - bottom) * np.sin(angle) + 6 * np.maximum(y - 0.035, 0)
    return np.minimum(around_neck(template, radius), wedge)


def _armhole(template: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    x, _, z = np.moveaxis(template, -1, 0)
    return 0.118 + 0.05 * smoothstep(-0.16, -0.27, z) - np.abs(x)


def cloth_coordinates(template: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
    """Metres across and down the cloth, as a tailor lays it: front and back hang from the ridge of the shoulders."""
    x, y, z = np.moveaxis(template, -1, 0)
    ridge = np.interp(np.abs(x), [0.0, 0.06, 0.12, 0.2, 0.3], [-0.075, -0.095, -0.118, -0.142, -0.235])
    down = np.hypot(y - 0.045, z - ridge) + (-0.075 - ridge)
    return np.stack([x, down], -1)
