"""Where hair grows, as soft masks of template points; skin paints shadows under the same masks."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import BeardSpec, HairSpec

if TYPE_CHECKING:
    from jaxtyping import Float

FADED = ("crop", "short", "receding", "undercut", "quiff", "side part", "mohawk")
"""Families whose hair clippers grade from its lower rim upwards."""
TIED = ("braids", "ponytail", "bun")
_CENTRE = np.array([0.0, 0.01, 0.03])
# Elevation of the hairline seen from the middle of the skull, by azimuth from the face (degrees): forehead, temple,
# sideburn, round the ear, nape.
_AZIMUTH = [0, 20, 33, 43, 53, 60, 65, 70, 79, 83, 100, 107, 114, 125, 150, 180]
_ELEVATION = [33, 33.5, 34, 29, 19, 8, -12, -19, -18, 1, 2.5, -6, -24, -35, -43, -45]
# How much of a full recession each azimuth takes: temples go first and farthest, the sides stay.
_RECESSION = [0.62, 0.72, 1.0, 0.95, 0.55, 0.2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def head_angles(template: Float[np.ndarray, "*n 3"]) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Azimuth from the face (0 to 180, both sides alike) and elevation from the middle of the skull, degrees."""
    x, y, z = np.moveaxis(template - _CENTRE, -1, 0)
    return np.degrees(np.arctan2(np.abs(x), -y)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def receding(hair: HairSpec) -> float:
    """How far the hairline has receded, 0 to 1; haircuts that are named after it have receded far."""
    least = {"receding": 0.55, "tonsure": 0.8}.get(hair.family, 0.0)
    return least + (1 - least) * hair.hairline


def hairline_elevation(azimuth: Float[np.ndarray, "*n"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """Elevation (degrees) above which hair grows."""
    full = np.interp(azimuth, _AZIMUTH, _ELEVATION)
    back = 38 * receding(hair) * np.interp(azimuth, _AZIMUTH, _RECESSION)
    if hair.family in TIED:
        # Pulled back, even the finest hair of the edge shows: lower, and farther into the temples.
        full = full - np.interp(azimuth, [0, 30, 46, 60], [3.5, 4.0, 5.5, 0.0])
    phase = hair.seed % 97
    peak = 3.0 * (phase / 97) * np.exp(-((azimuth / 8) ** 2))
    return full + back - peak + 0.9 * np.sin(azimuth * 0.21 + phase)


def above_hairline(template: Float[np.ndarray, "*n 3"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """How far up the head from its lower rim (temple, ear, nape) a place is, metres; negative on sideburns."""
    azimuth, elevation = head_angles(template)
    rim = np.interp(azimuth, [0, 45, 60, 100, 125, 150, 180], [33.0, 22.0, -4.0, -4.0, -35.0, -43.0, -45.0])
    return np.radians(elevation - rim) * 0.095


@functools.lru_cache(maxsize=4)
def _edge(hair: HairSpec) -> Float[np.ndarray, "181 181"]:
    """Density at the hairline by azimuth (rows, 0 to 180 degrees) and elevation (columns, -90 to 90)."""
    azimuth, elevation = np.meshgrid(np.arange(181.0), np.arange(-90.0, 91.0), indexing="ij")
    # Where the line runs upright, at the temples, it has to waver and to soften sideways.
    ragged = 1.2 * np.sin(0.55 * elevation + hair.seed % 89) + 0.8 * np.sin(1.37 * elevation + hair.seed % 83)
    soft = np.interp(azimuth, [0, 50, 66, 82, 110, 180], [8.0, 8.0, 6.0, 4.0, 6.0, 11.0])
    if hair.family in TIED:
        soft = soft * 1.5
    mask = np.zeros(np.shape(azimuth))
    for aside, weight in ((-4.5, 0.25), (0.0, 0.5), (4.5, 0.25)):
        above = elevation - hairline_elevation(np.clip(azimuth + ragged + aside, 0, 180), hair)
        ramp = np.clip(above / soft, 0, 1)
        mask += weight * ramp * ramp * (3 - 2 * ramp)
    return mask


def root_mask(template: Float[np.ndarray, "*n 3"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """Density of the hair on the head, 0 to 1, falling off softly at the hairline; the ears are not excluded."""
    if hair.family == "bald":
        return np.zeros(template.shape[:-1])
    azimuth, elevation = head_angles(template)
    # Looked up: the skin asks for a million places.
    mask = map_coordinates(_edge(hair), [azimuth, elevation + 90], order=1, mode="nearest")
    _, y, z = np.moveaxis(template, -1, 0)
    if hair.family == "tonsure":
        ring = smoothstep(0.084 - 0.02 * hair.hairline, 0.052 - 0.02 * hair.hairline, z)
        return mask * ring * smoothstep(52, 64, azimuth)
    if hair.family == "receding":
        crown = np.exp(-(((template - [0.0, 0.062, 0.118]) / 0.034) ** 2).sum(-1))
        top = smoothstep(0.09, 0.12, z) * smoothstep(0.06, 0.0, y)
        return mask * (1 - 0.75 * hair.hairline * crown) * (1 - 0.4 * hair.hairline * top)
    return mask


def scalp_mask(template: Float[np.ndarray, "*n 3"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """How much the roots darken the skin, 0 to 1: little under clipped hair, which shows skin between its hairs."""
    mask = root_mask(template, hair)
    if hair.family in ("buzz", "tonsure"):
        return 0.55 * mask
    if hair.family in FADED:
        return mask * (0.15 + 0.85 * smoothstep(0.0, 0.09, above_hairline(template, hair)))
    return mask


def brow_line(x: Float[np.ndarray, "*n"], hair: HairSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where along the brow (0 near the nose, 1 at the temple), its middle height and its half height, metres."""
    along = np.clip((np.abs(x) - 0.0115) / 0.0405, 0, 1)
    middle = np.interp(along, [0, 0.3, 0.62, 0.85, 1], [0.0425, 0.0462, 0.0500, 0.0475, 0.0420])
    middle = middle + hair.brow_arch * np.interp(along, [0, 0.3, 0.65, 1], [0.0004, 0.0003, 0.0016, -0.0008])
    half = hair.brow_thickness * np.interp(along, [0, 0.12, 0.5, 0.8, 1], [0.0030, 0.0040, 0.0036, 0.0023, 0.0008])
    return along, middle, half


def brow_mask(template: Float[np.ndarray, "*n 3"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """Where brow hair grows, 0 to 1: a band over the brow ridge that thins and falls towards the temple."""
    x, y, z = np.moveaxis(template, -1, 0)
    _, middle, half = brow_line(x, hair)
    band = smoothstep(1.2, 0.45, np.abs(z - middle) / half)
    ends = smoothstep(0.0085, 0.0165, np.abs(x)) * smoothstep(0.0540, 0.0490, np.abs(x))
    return band * ends * (0.45 + 0.55 * hair.brow_density) * (y < -0.04)


def beard_mask(template: Float[np.ndarray, "*n 3"], beard: BeardSpec | None = None) -> Float[np.ndarray, "*n"]:
    """Where facial hair grows, 0 to 1 (the lips not excluded): of one style, or everything that a razor would reach."""
    x, y, z = np.moveaxis(template, -1, 0)
    side = np.abs(x)
    azimuth = np.degrees(np.arctan2(side, -y))
    top = np.interp(azimuth, [0, 14, 30, 45, 60, 70, 80], [-0.024, -0.024, -0.034, -0.031, -0.017, 0.003, 0.014])
    bottom = np.interp(y, [-0.10, -0.07, -0.04, -0.01, 0.015], [-0.100, -0.104, -0.106, -0.085, -0.030])
    whole = smoothstep(-0.005, 0.006, top - z) * smoothstep(-0.007, 0.009, z - bottom) * smoothstep(88, 79, azimuth)
    if beard is None:
        return whole
    # The lips meet at about z = -0.0455.
    lip = smoothstep(-0.0500, -0.0440, z) * smoothstep(0.034, 0.028, side)
    corner = smoothstep(0.037, 0.031, side) * smoothstep(0.020, 0.026, side) * smoothstep(-0.082, -0.070, z)
    chin = smoothstep(0.030, 0.020, side) * smoothstep(-0.058, -0.064, z) * smoothstep(-0.052, -0.066, y)
    soul = smoothstep(0.009, 0.005, side) * smoothstep(-0.054, -0.058, z) * (y < -0.07)
    cheek = smoothstep(44, 66, azimuth)
    jaw = np.interp(azimuth, [0, 20, 40, 55, 68, 80], [-0.082, -0.080, -0.068, -0.055, -0.034, 0.0])
    edge = smoothstep(0.008, 0.002, z - jaw)
    areas = {
        "none": 0 * z,
        "moustache": lip,
        "goatee": np.maximum.reduce([lip, corner, chin, soul]),
        "van dyke": np.maximum(lip * smoothstep(0.036, 0.030, side), np.maximum(0.9 * chin, soul)),
        "chinstrap": np.maximum(edge, smoothstep(64, 70, azimuth)),
        "sideburns": smoothstep(-0.050, -0.036, z) * cheek,
    }
    return whole * areas.get(beard.style, 1.0)
