"""Relief of the skin: pores, fine cross-hatching, and the lines that age and expression draw, in millimetres."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from synthetic_data.appearance.atlas import Atlas, ValueNoise, smoothstep
from synthetic_data.identity import SkinSpec

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Line:
    """A furrow on the left half of the template, mirrored on the right.

    `path` are (x, z) in metres; `half_width` in metres; `age` is its depth in mm at the age of deepest wrinkles, and
    `expressions` what each expression parameter adds at full strength.
    """

    path: tuple[tuple[float, float], ...]
    half_width: float
    age: float
    expressions: tuple[tuple[str, float], ...] = ()


_BROW_UP = (("browInnerUp", 0.10), ("browOuterUp", 0.06))
_SMILE = (("mouthSmile", 0.28), ("cheekSquint", 0.10), ("noseSneer", 0.14), ("mouthUpperUp", 0.08))
_SQUINT = (("mouthSmile", 0.10), ("cheekSquint", 0.18), ("eyeSquint", 0.20), ("eyeBlink", 0.04))
_FROWN = (("browDown", 0.32), ("noseSneer", 0.08))
LINES: dict[str, tuple[Line, ...]] = {
    "forehead": (
        Line(((0.0, 0.0655), (0.020, 0.0675), (0.040, 0.0660), (0.055, 0.061)), 0.0011, 0.15, _BROW_UP),
        Line(((0.0, 0.0755), (0.020, 0.0775), (0.040, 0.0765), (0.056, 0.071)), 0.0012, 0.19, _BROW_UP),
        Line(((0.0, 0.0860), (0.018, 0.0875), (0.036, 0.0868), (0.050, 0.082)), 0.0012, 0.12, _BROW_UP),
    ),
    "glabella": (
        Line(((0.0065, 0.036), (0.0075, 0.046), (0.0085, 0.056)), 0.0010, 0.22, _FROWN),
        Line(((0.0, 0.0265), (0.006, 0.0280)), 0.0009, 0.10, (("noseSneer", 0.30), ("browDown", 0.1))),
    ),
    "crow's feet": (
        Line(((0.0515, 0.0235), (0.058, 0.0275), (0.064, 0.0330)), 0.0007, 0.17, _SQUINT),
        Line(((0.0520, 0.0200), (0.059, 0.0205), (0.0665, 0.0220)), 0.0007, 0.20, _SQUINT),
        Line(((0.0515, 0.0165), (0.058, 0.0140), (0.0645, 0.0110)), 0.0007, 0.18, _SQUINT),
    ),
    "under the eyes": (
        Line(((0.0170, 0.0085), (0.024, 0.0035), (0.033, 0.0020), (0.042, 0.0050)), 0.0010, 0.16, _SQUINT),
        Line(((0.0185, 0.0035), (0.026, -0.0025), (0.035, -0.0040)), 0.0016, 0.14, ()),
    ),
    "nasolabial": (
        Line(((0.0185, -0.0250), (0.0245, -0.0350), (0.0290, -0.0460), (0.0310, -0.0560)), 0.0016, 0.42, _SMILE),
        Line(((0.0275, -0.0570), (0.0300, -0.0670), (0.0295, -0.0760)), 0.0014, 0.26, (("mouthFrown", 0.2),)),
    ),
    "lips": (
        Line(((0.004, -0.0405), (0.0045, -0.0455)), 0.0005, 0.10, (("mouthPucker", 0.14),)),
        Line(((0.010, -0.0405), (0.0105, -0.0455)), 0.0005, 0.10, (("mouthPucker", 0.14),)),
        Line(((0.016, -0.0430), (0.0155, -0.0470)), 0.0005, 0.09, (("mouthPucker", 0.14),)),
        Line(((0.0, -0.0745), (0.010, -0.0760), (0.016, -0.0785)), 0.0016, 0.16, (("mouthShrugLower", 0.25),)),
    ),
}
_NECK = (-0.104, -0.118, -0.131)
"""Heights at which lines run around the throat, metres."""


def line_depth(line: Line, wrinkles: float, expression: dict[str, float], side: str) -> float:
    """Depth in millimetres on ``"Left"`` or ``"Right"``; old skin folds more easily."""
    folded = sum(w * max(expression.get(n, 0.0), expression.get(n + side, 0.0)) for n, w in line.expressions)
    return line.age * wrinkles**1.2 + folded * (0.45 + 0.75 * wrinkles)


def furrows(atlas: Atlas, skin: SkinSpec, expression: dict[str, float]) -> Float[np.ndarray, "S S"]:
    """Depth of all lines in millimetres, at least 0."""
    p = atlas.positions
    noise = ValueNoise(skin.noise_seed)
    # Nobody's lines are as regular as the table; a slow wobble bends them.
    wobble = (noise(p, 45, 1) - 0.5) * 0.006
    # Lines of the forehead bend more and break.
    brow = smoothstep(0.055, 0.064, p[..., 2])
    wobble = wobble + brow * ((noise(p + 0.3, 70, 2) - 0.5) * 0.011)
    vary = 0.6 + 0.8 * noise(p + 1.0, 60, 1)
    vary = vary * (1 - brow * (0.75 - 1.1 * smoothstep(0.3, 0.65, noise(p + 2.0, 75, 1))))
    x, z = p[..., 0], p[..., 2] + wobble
    front = smoothstep(0.0, -0.03, p[..., 1]) * (1 - np.clip(3 * atlas.regions["lips"], 0, 1))
    total = np.zeros(x.shape)
    for group in LINES.values():
        for line in group:
            path = np.array(line.path)
            margin = 6 * line.half_width + 0.004
            for side, sign in (("Left", 1), ("Right", -1)):
                depth = line_depth(line, skin.wrinkles, expression, side)
                if depth < 0.01:
                    continue
                near = (
                    np.abs(sign * x - (path[:, 0].min() + path[:, 0].max()) / 2) < np.ptp(path[:, 0]) / 2 + margin
                ) & (np.abs(z - (path[:, 1].min() + path[:, 1].max()) / 2) < np.ptp(path[:, 1]) / 2 + margin)
                if path[0, 0] == 0:
                    near &= sign * x >= 0
                distance, along = _to_path(sign * x[near], z[near], path)
                # Lines fade out at their ends; those that start in the middle go on there.
                ends = np.clip((1 - along) / 0.25, 0, 1)
                if path[0, 0] > 0:
                    ends = np.minimum(ends, np.clip(along / 0.18, 0, 1))
                profile = np.exp(-((distance / line.half_width) ** 2)) + 0.35 * np.exp(
                    -((distance / (3 * line.half_width)) ** 2)
                )
                total[near] = np.maximum(total[near], depth * profile * ends * vary[near])
    neck = sum(np.exp(-(((p[..., 2] + wobble * 1.5 - level - 0.25 * p[..., 1]) / 0.0014) ** 2)) for level in _NECK)
    total = total * front + 0.22 * skin.wrinkles * neck * vary * (p[..., 1] < 0.02) * (p[..., 2] < -0.09)
    # Between the deep lines old skin is crossed by fine ones around eyes and mouth.
    crossed = np.abs(noise(p * np.array([1, 1, 2.2], np.float32), 330, 1) - 0.5)
    fine = smoothstep(0.06, 0.0, crossed) * skin.wrinkles**1.5 * 0.05 * front
    return total + fine


def _to_path(
    x: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], path: Float[np.ndarray, "k 2"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Distance to a polyline, and where along it (0 to 1) the nearest point lies."""
    # A polyline's corners would show as kinks.
    t = np.linspace(0, len(path) - 1, 24)
    smooth = np.stack([np.interp(t, np.arange(len(path)), path[:, k]) for k in range(2)], 1)
    smooth = ndimage.gaussian_filter1d(smooth, 2.0, axis=0, mode="nearest")
    offset = np.stack([x, z], 1)[:, None] - smooth[None]
    squared = (offset**2).sum(-1)
    nearest = squared.argmin(1)
    low = np.clip(nearest, 1, len(smooth) - 2)
    tangent = smooth[low + 1] - smooth[low - 1]
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    to = np.stack([x, z], 1) - smooth[nearest]
    ahead = (to * tangent).sum(1)
    step = np.linalg.norm(smooth[1] - smooth[0]) + 1e-6
    within = np.clip(ahead, -step, step)
    distance = np.sqrt(np.maximum(squared.min(1) - within**2, 0))
    return distance, (nearest + within / step) / (len(smooth) - 1)


def pores(atlas: Atlas, skin: SkinSpec) -> Float[np.ndarray, "S S"]:
    """Small pits between the cells of the skin, deeper on nose and cheeks, and a fine relief; millimetres, about 0."""
    p = atlas.positions
    depth = 0.5 + np.exp(-(((np.abs(p[..., 0]) - 0.012) / 0.03) ** 2) - ((p[..., 2] + 0.012) / 0.03) ** 2)
    relief = ValueNoise(skin.noise_seed + 1)(p, 600, 2) - 0.5
    return (0.05 * relief - 0.05 * skin.pores * cells(p, 900.0, skin.noise_seed)) * depth


def cells(p: Float[np.ndarray, "*n 3"], frequency: float, seed: int) -> Float[np.ndarray, "*n"]:
    """1 at the middle of randomly scattered cells, 0 at their borders; `frequency` is cells per metre."""
    table = np.random.default_rng(seed).random((16384, 3), np.float32) * np.float32(0.7) + np.float32(0.15)
    q = (p * frequency).astype(np.float32)
    corner = np.round(q).astype(np.int32)
    best = np.full(p.shape[:-1], 9.0, np.float32)
    for dx in (-1, 0):
        for dy in (-1, 0):
            for dz in (-1, 0):
                cell = corner + np.array([dx, dy, dz], np.int32)
                key = (cell[..., 0] * 7385 ^ cell[..., 1] * 19349 ^ cell[..., 2] * 8349) & 16383
                offset = q - cell - table[key]
                best = np.minimum(best, np.einsum("...k,...k->...", offset, offset))
    return np.clip(1 - best / 0.14, 0, 1)
