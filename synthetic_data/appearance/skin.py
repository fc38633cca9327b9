"""Skin colour from pigments: melanin and haemoglobin painted in template space, absorbed as in Beer and Lambert."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import WHOLE, Atlas, ValueNoise, Window, skin_atlas, smoothstep
from synthetic_data.appearance.hair_families import FADED
from synthetic_data.appearance.hair_masks import beard_mask, brow_mask, scalp_mask
from synthetic_data.appearance.wrinkles import cells, furrows, pores
from synthetic_data.identity import HairSpec, IdentitySpec, SkinSpec

if TYPE_CHECKING:
    from jaxtyping import Float

# Linear albedo without pigment, and what one unit of each pigment absorbs of red, green and blue.
_BASE = np.array([0.83, 0.67, 0.56])
_MELANIN = np.array([0.74, 1.00, 1.26])
_HAEMOGLOBIN = np.array([0.12, 0.63, 0.71])
# Hairs under the skin are a cool grey shadow: against the skin around them they take more of the red than blood does.
_ROOTS = np.array([0.89, 0.86, 0.82])


@dataclasses.dataclass(frozen=True)
class SkinMap:
    """Linear albedo, whose fourth channel is how wet the surface is (lips, mouth), and relief in millimetres."""

    colour: Float[np.ndarray, "S S 4"]
    height: Float[np.ndarray, "S S"]


def paint_skin(spec: IdentitySpec, model: BodyModel, size: int = 512, window: Window = WHOLE) -> SkinMap:
    """The skin in a window of the body model's texture layout. The whole layout is too coarse for pores and lines."""
    skin, hair = spec.skin, spec.hair
    atlas = skin_atlas(model, size, window)
    expression = dict(zip((p.name for p in model.expression_parameters), spec.expression, strict=True))
    noise = ValueNoise(skin.noise_seed)
    p = atlas.positions
    lips, mouth = _lips(atlas), atlas.regions["mouth_interior"]
    detailed = window != WHOLE
    depth = furrows(atlas, skin, expression) if detailed else np.zeros(p.shape[:2])
    height = pores(atlas, skin) * (1 - lips) - depth if detailed else depth

    broad, middle, fine = noise(p, 40, 2), noise(p, 160, 1), noise(p, 900, 1)
    melanin = skin.melanin * (1 + 0.14 * (broad - 0.5) + 0.08 * (middle - 0.5)) + 0.04 * (fine - 0.5)
    haemoglobin = skin.haemoglobin * (1 + 0.3 * (broad - 0.5) + 0.16 * (middle - 0.5))
    haemoglobin += _blood(p, skin, middle)
    melanin += _shadows(p, skin) + 0.28 * depth + _spots(p, skin, noise, model, spec)
    haemoglobin += 0.15 * depth
    # The mouth hides from light: a dark, wet red that grows darker towards the throat.
    throat = mouth * (1 - lips)
    back = smoothstep(-0.085, -0.05, p[..., 1])
    melanin, haemoglobin = melanin + (0.25 + 1.4 * back) * throat, haemoglobin + (1.2 + 0.9 * back) * throat
    melanin += _lid_margin(atlas) * 0.30
    melanin = melanin * (1 - 0.15 * lips) + (0.10 + 0.10 * skin.melanin) * lips
    haemoglobin += lips * (0.28 + 0.70 * skin.lip_redness) * (0.9 + 0.2 * middle)
    if detailed:
        # Lips are ribbed from rim to rim.
        height = height - 0.07 * lips * np.abs(noise(p * [1, 0.2, 0.2], 800, 1) - 0.5)

    pigment = 0.25 + 0.75 * hair.melanin
    melanin += 0.4 * brow_mask(p, hair) * pigment * hair.brow_density
    roots = _facial_hair(p, spec, lips, size, fine if detailed else None)
    roots = roots + _scalp(p, hair, atlas) * pigment * (1.6 if hair.family in ("buzz", *FADED) else 1.1)
    haemoglobin = haemoglobin * (1 - 0.4 * np.clip(roots, 0, 1))

    absorbed = np.clip(melanin, 0.03, 4)[..., None] * _MELANIN
    absorbed = absorbed + np.clip(haemoglobin, 0.03, 2.5)[..., None] * _HAEMOGLOBIN + roots[..., None] * _ROOTS
    colour = _make_up(_BASE * np.exp(-absorbed), p, skin, lips, atlas)
    wet = np.clip(0.65 * lips * (1 + 0.5 * skin.makeup) + mouth, 0, 1)[..., None]
    return SkinMap(np.concatenate([colour, wet], -1).astype(np.float32), height.astype(np.float32))


def _lips(atlas: Atlas) -> Float[np.ndarray, "S S"]:
    """The red of the lips with a soft border; the body model's mask is one triangle sharp."""
    return smoothstep(0.15, 0.95, atlas.regions["lips"]) * smoothstep(0.0285, 0.0225, np.abs(atlas.positions[..., 0]))


def _facial_hair(
    p: Float[np.ndarray, "S S 3"], spec: IdentitySpec, lips: np.ndarray, size: int, fine: np.ndarray | None
) -> Float[np.ndarray, "S S"]:
    """How much hair shows at the surface: stubble, and the shadow under a beard; dots where there is `fine` noise."""
    skin, hair = spec.skin, spec.hair
    pigment = 0.25 + 0.75 * hair.melanin
    total = np.zeros(p.shape[:2])
    # The shadow fades over a centimetre; a beard's own edge is made of hairs.
    soft = size * (0.014 if fine is not None else 0.004)
    if skin.stubble > 0:
        shaven = ndimage.gaussian_filter(beard_mask(p) * (p[..., 1] < 0.03), soft) * (1 - lips)
        dots = 0.5
        if fine is not None:
            dots = 0.38 + 0.5 * cells(p, 1100.0, skin.noise_seed + 3) * np.clip(fine * 1.5 - 0.25, 0, 1)
        total += skin.stubble * shaven * pigment * (0.16 + 0.5 * dots)
    if spec.beard.style != "none":
        under = ndimage.gaussian_filter(beard_mask(p, spec.beard), 0.5 * soft) * (1 - lips)
        total = np.maximum(total, 0.42 * under * pigment * spec.beard.density)
    return total


def _blood(p: Float[np.ndarray, "S S 3"], skin: SkinSpec, middle: Float[np.ndarray, "S S"]) -> np.ndarray:
    """Blush on cheeks, nose, chin and ears."""
    cheeks = _blob(p, (0.044, -0.068, -0.014), 0.026) + 0.55 * _blob(p, (0.0, -0.117, -0.014), 0.016)
    ears = 0.7 * _blob(p, (0.08, 0.005, 0.0), 0.025) + 0.25 * _blob(p, (0.0, -0.10, -0.092), 0.020)
    return 0.55 * skin.blush * (0.8 + 0.4 * middle) * (cheeks + ears) + 0.10 * _blob(p, (0.030, -0.085, 0.006), 0.011)


def _shadows(p: Float[np.ndarray, "S S 3"], skin: SkinSpec) -> np.ndarray:
    """Darker under the eyes, the more so with age, and in the corner between eye and nose."""
    below = _blob(p, (0.026, -0.087, 0.006), 0.012)
    return (0.06 + 0.14 * skin.wrinkles + 0.05 * skin.melanin) * below + 0.10 * _blob(p, (0.0155, -0.088, 0.019), 0.006)


def _spots(
    p: Float[np.ndarray, "S S 3"], skin: SkinSpec, noise: ValueNoise, model: BodyModel, spec: IdentitySpec
) -> np.ndarray:
    """Freckles, age spots and moles, as added melanin."""
    total = np.zeros(p.shape[:2])
    if skin.freckles > 0:
        spots = smoothstep(0.55, 0.9, cells(p, 330.0, skin.noise_seed + 5)) * smoothstep(0.35, 0.6, noise(p, 110, 2))
        total += 0.55 * skin.freckles * spots * np.clip(1.3 * _blob(p, (0.028, -0.088, -0.008), 0.04), 0, 1)
    if skin.wrinkles > 0.4:
        patches = smoothstep(0.62, 0.72, noise(p, 130, 2))
        total += 0.10 * (skin.wrinkles - 0.4) * patches
    rng = np.random.default_rng([skin.noise_seed, 6])
    used = np.unique(model.topology.faces[model.topology.parts["skin"]])
    fit = used[(model.topology.regions["face"][used] > 0.5) & (model.topology.regions["lips"][used] < 0.01)]
    # On the tip of the nose a mole looks like a wound.
    fit = fit[model.template[fit, 1] > -0.105]
    fit = np.concatenate([fit, used[(model.template[used, 2] < -0.1)]])
    places = model.template[rng.choice(fit, 6)] if len(fit) else np.zeros((0, 3))
    for place in places[: round(6 * skin.moles)]:
        radius = float(rng.uniform(0.0008, 0.0020))
        total += rng.uniform(0.5, 1.2) * np.exp(-((((p - place) ** 2).sum(-1) / radius**2) ** 2))
    return total


def _scalp(p: Float[np.ndarray, "S S 3"], hair: HairSpec, atlas: Atlas) -> np.ndarray:
    """Roots that shine through; shaven heads keep a shadow of them."""
    if hair.family == "bald":
        return 0.2 * scalp_mask(p, dataclasses.replace(hair, family="buzz")) * (1 - atlas.regions["ears"])
    return scalp_mask(p, hair) * (1 - atlas.regions["ears"])


def _make_up(
    colour: Float[np.ndarray, "S S 3"], p: Float[np.ndarray, "S S 3"], skin: SkinSpec, lips: np.ndarray, atlas: Atlas
) -> Float[np.ndarray, "S S 3"]:
    """Lipstick, eye shadow and a line along the lids."""
    if skin.makeup <= 0:
        return colour
    paint = np.array(skin.makeup_colour)
    x, z = np.abs(p[..., 0]), p[..., 2]
    above = smoothstep(0.020, 0.0235, z) * smoothstep(0.040, 0.030, z) * smoothstep(0.055, 0.045, x)
    shadow = above * smoothstep(0.012, 0.020, x) * (p[..., 1] < -0.06)
    rim = smoothstep(0.3, 0.9, _lid_margin(atlas)) * (z > 0.018)
    for mask, tone, amount in (
        (lips, paint, 0.55 * skin.makeup),
        (shadow, 0.5 * paint + 0.5 * np.array([0.10, 0.06, 0.05]), 0.40 * skin.makeup),
        (rim, np.array([0.02, 0.015, 0.015]), 0.8 * skin.makeup),
    ):
        share = (mask * amount)[..., None]
        # Thin paint darkens what is beneath; thick paint covers it.
        colour = colour * (1 - share) + share * (0.75 * tone + 0.5 * tone * colour)
    return colour


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
