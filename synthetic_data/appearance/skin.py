"""Skin colour from pigments: melanin and haemoglobin painted in template space, absorbed as in Beer and Lambert."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import WHOLE, Atlas, ValueNoise, Window, skin_atlas, smoothstep
from synthetic_data.identity import HairSpec, SkinSpec

if TYPE_CHECKING:
    from jaxtyping import Float

# Linear albedo without pigment, and what one unit of each pigment absorbs of red, green and blue.
_BASE = np.array([0.83, 0.67, 0.57])
_MELANIN = np.array([0.74, 1.00, 1.26])
_HAEMOGLOBIN = np.array([0.10, 0.84, 0.78])


@dataclasses.dataclass(frozen=True)
class SkinMap:
    """Linear albedo, whose fourth channel is how wet the surface is (lips, mouth), and relief in millimetres."""

    colour: Float[np.ndarray, "S S 4"]
    height: Float[np.ndarray, "S S"]


def paint_skin(
    skin: SkinSpec,
    hair: HairSpec,
    expression: dict[str, float],
    model: BodyModel,
    size: int = 512,
    window: Window = WHOLE,
) -> SkinMap:
    """The skin in a window of the body model's texture layout."""
    atlas = skin_atlas(model, size, window)
    p = atlas.positions
    noise = ValueNoise(skin.noise_seed)
    broad, middle, fine = noise(p, 40, 4), noise(p, 160, 3), noise(p, 900, 2)
    lips, mouth = atlas.regions["lips"], atlas.regions["mouth_interior"]

    melanin = skin.melanin * (1 + 0.3 * (broad - 0.5) + 0.2 * (middle - 0.5)) + 0.05 * (fine - 0.5)
    haemoglobin = skin.haemoglobin * (1 + 0.5 * (broad - 0.5) + 0.35 * (middle - 0.5))
    cheeks = _blob(p, (0.042, -0.070, -0.012), 0.022) + _blob(p, (0.0, -0.117, -0.016), 0.013)
    haemoglobin += skin.blush * (0.6 + 0.8 * middle) * (cheeks + _blob(p, (0.08, 0.005, 0.0), 0.025))
    below_eyes = _blob(p, (0.030, -0.085, 0.008), 0.013)
    melanin, haemoglobin = melanin + 0.15 * below_eyes, haemoglobin + 0.2 * below_eyes
    spots = smoothstep(0.66, 0.74, 0.5 * noise(p, 420, 1) + 0.5 * noise(p, 700, 1))
    melanin += 0.8 * skin.freckles * spots * np.clip(_blob(p, (0.03, -0.09, -0.01), 0.04), 0, 1)

    melanin = melanin * (1 - 0.2 * lips) + 0.12 * lips
    haemoglobin += lips * skin.lip_redness * (0.8 + 0.5 * middle)
    melanin, haemoglobin = melanin + 0.35 * mouth * (1 - lips), haemoglobin + 1.3 * mouth * (1 - lips)
    melanin += _lid_margin(atlas) * 0.35

    pigment = 0.25 + 0.75 * hair.melanin
    melanin += 0.4 * brow_mask(p, hair) * pigment
    if hair.family != "bald":
        melanin += atlas.regions["scalp"] * pigment * (0.9 if hair.family == "buzz" else 0.7)
    melanin += skin.stubble * beard_mask(p) * (1 - lips) * (0.25 + 0.4 * hair.melanin) * (0.6 + 0.8 * fine)

    absorbed = np.clip(melanin, 0.03, 4)[..., None] * _MELANIN
    absorbed = absorbed + np.clip(haemoglobin, 0.03, 2.5)[..., None] * _HAEMOGLOBIN
    colour = np.concatenate([_BASE * np.exp(-absorbed), np.clip(lips + mouth, 0, 1)[..., None]], -1)
    return SkinMap(colour.astype(np.float32), np.zeros((size, size), np.float32))


def brow_mask(template: Float[np.ndarray, "*n 3"], hair: HairSpec) -> Float[np.ndarray, "*n"]:
    """Where brow hair grows, 0 to 1: a band over the brow ridge that thins and falls towards the temple."""
    x, y, z = np.moveaxis(template, -1, 0)
    inner, outer = 0.0115, 0.0520
    along = np.clip((np.abs(x) - inner) / (outer - inner), 0, 1)
    middle = np.interp(along, [0, 0.3, 0.62, 0.85, 1], [0.0425, 0.0462, 0.0500, 0.0475, 0.0420])
    middle = middle + hair.brow_arch * np.interp(along, [0, 0.3, 0.65, 1], [0, 0.0003, 0.0016, 0])
    height = hair.brow_thickness * np.interp(along, [0, 0.12, 0.5, 0.8, 1], [0.0030, 0.0040, 0.0036, 0.0023, 0.0008])
    band = smoothstep(1.15, 0.55, np.abs(z - middle) / height)
    ends = smoothstep(inner - 0.003, inner + 0.004, np.abs(x)) * smoothstep(outer + 0.002, outer - 0.002, np.abs(x))
    return band * ends * (y < -0.04)


def beard_mask(template: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Where a beard grows, 0 to 1: jaw, chin and upper lip (the lips themselves not excluded)."""
    x, y, z = np.moveaxis(template, -1, 0)
    angle = np.degrees(np.arctan2(np.abs(x), -y))
    top = np.interp(angle, [0, 14, 30, 45, 60, 70, 80], [-0.024, -0.024, -0.032, -0.027, -0.014, 0.003, 0.014])
    bottom = np.interp(y, [-0.10, -0.07, -0.04, -0.01, 0.015], [-0.100, -0.104, -0.106, -0.085, -0.030])
    return smoothstep(-0.004, 0.004, top - z) * smoothstep(-0.006, 0.006, z - bottom) * smoothstep(88, 80, angle)


def _lid_margin(atlas: Atlas) -> Float[np.ndarray, "S S"]:
    """The rim of the lids, a little darker than the skin, as roots of lashes make it."""
    p = atlas.positions
    x, z = np.abs(p[..., 0]) - 0.0313, p[..., 2] - 0.020
    near = np.exp(-((x / 0.016) ** 4)) * np.exp(-((z / 0.008) ** 2))
    return atlas.regions["eyelids"] * near


def _blob(p: Float[np.ndarray, "*n 3"], centre: tuple[float, float, float], radius: float) -> Float[np.ndarray, "*n"]:
    """A soft ball on both sides of the face."""
    x, y, z = np.moveaxis(p, -1, 0)
    squared = (np.abs(x) - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.exp(-squared / radius**2)
