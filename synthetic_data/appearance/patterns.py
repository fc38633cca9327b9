"""Cloth as a tile that repeats: its colours and the relief of its threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from synthetic_data.identity import GarmentSpec

if TYPE_CHECKING:
    from jaxtyping import Float

_TILE = 256


def cloth_tile(spec: GarmentSpec, pattern: str | None = None) -> tuple[Float[np.ndarray, "h w 4"], float]:
    """Linear RGB and height in millimetres of one tile, and the tile's side in metres. Raises KeyError when unknown.

    Rows run down the garment, columns across it.
    """
    rng = np.random.default_rng([spec.seed, 11])
    pattern = pattern or spec.pattern
    first, second = np.array(spec.colour), np.array(spec.second_colour)
    # Two colours that nobody can tell apart make no pattern.
    if np.abs(first - second).sum() < 0.05:
        second = first * 0.35 if first.sum() > 0.3 else first + 0.35
    side = {"plain": 0.05, "heather": 0.12, "print": 0.62}.get(pattern, 0.024 + 0.05 * spec.pattern_size)
    across, down = np.meshgrid((np.arange(_TILE) + 0.5) / _TILE, (np.arange(_TILE) + 0.5) / _TILE)
    grain = _grain(rng)
    share = {
        "plain": lambda: np.zeros_like(across),
        "stripes": lambda: _soft_box(down, 0.5, (0.1 if spec.fit > 0.5 else 0.25)),
        "checks": lambda: 0.5 * _soft_box(across, 0.5, 0.22) + 0.5 * _soft_box(down, 0.5, 0.22),
        "dots": lambda: _dots(across, down),
        "heather": lambda: _melange(grain, rng),
        "print": lambda: _emblem(across, down, rng),
    }[pattern]()  # fmt: skip
    colour = first + (second - first) * share[..., None]
    colour = colour * (0.94 + 0.12 * grain)[..., None]
    threads = max(int(side / 0.0022), 4)
    knit = np.sin(2 * np.pi * threads * across) * 0.5 + np.sin(2 * np.pi * threads * (down + 0.25 * across)) * 0.3
    height = 0.05 * knit + 0.06 * grain
    return np.concatenate([colour, height[..., None]], -1), side


def _grain(rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Noise of single threads, 0 to 1."""
    noise = ndimage.gaussian_filter(rng.random((_TILE, _TILE)), 0.8, mode="wrap")
    low, high = noise.min(), noise.max()
    return (noise - low) / (high - low)


def _melange(grain: Float[np.ndarray, "h w"], rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Threads of two colours, mixed in short runs."""
    runs = ndimage.gaussian_filter(grain, (0.6, 5), mode="wrap") - 0.5
    return 0.5 * np.clip(0.35 + 0.5 * (_grain(rng) - 0.5) + 1.2 * runs, 0, 1)


def _soft_box(t: Float[np.ndarray, "h w"], centre: float, half: float) -> Float[np.ndarray, "h w"]:
    return np.clip((half - np.abs(t - centre)) * 40 + 0.5, 0, 1)


def _dots(across: Float[np.ndarray, "h w"], down: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Two dots per tile, like the five of a die."""
    nearest = np.full_like(across, 9.0)
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        nearest = np.minimum(nearest, np.hypot(across - x, down - y))
    return np.clip((0.14 - nearest) * 40 + 0.5, 0, 1)


def _emblem(
    across: Float[np.ndarray, "h w"], down: Float[np.ndarray, "h w"], rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """A round badge or a block of lines on the breast, in the middle of a large tile."""
    x, y = (across - 0.5) * 0.62, (down - 0.32) * 0.62
    radius = rng.uniform(0.045, 0.07)
    if rng.random() < 0.5:
        ring = np.abs(np.hypot(x, y) - radius) < 0.006
        star = np.hypot(x, y) < radius * (0.55 + 0.25 * np.cos(int(rng.integers(3, 8)) * np.arctan2(y, x)))
        return (ring | star).astype(float)
    word = np.repeat(rng.random(18) < 0.72, 3)
    column = np.clip(((x / (2 * radius)) + 0.5) * len(word), 0, len(word) - 1).astype(int)
    line = np.floor((y + 0.04) / 0.02)
    inside = (np.abs(x) < radius * 1.3) & (np.abs(y) < 0.04) & ((y + 0.04) % 0.02 < 0.013)
    return (inside & word[(column + 7 * line.astype(int)) % len(word)]).astype(float)
