"""Template positions and region masks for every texel, so that skin is painted in 3D and follows any identity."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.body_model.base import BodyModel

if TYPE_CHECKING:
    from jaxtyping import Float


Window = tuple[float, float, float, float]
"""Left, bottom, right and top of a part of texture space, in UV units."""
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
FACE_WINDOW: Window = (0.735, 0.345, 0.985, 0.625)
"""The face with its wrinkles, which deserves more texels than the rest."""


@dataclasses.dataclass(frozen=True)
class Atlas:
    """Texel row 0 is the top (v = 1). Texels outside the skin repeat the nearest one inside."""

    positions: Float[np.ndarray, "S S 3"]
    regions: dict[str, Float[np.ndarray, "S S"]]


@functools.lru_cache(maxsize=6)
def skin_atlas(model: BodyModel, size: int, window: Window = WHOLE) -> Atlas:
    """Rasterise the skin of the template into this window of texture space."""
    topology = model.topology
    skin = topology.parts["skin"]
    low, high = np.array(window[:2]), np.array(window[2:])
    all_corners = topology.uvs[topology.uv_faces[skin]]
    skin = skin[(all_corners.max(1) >= low).all(1) & (all_corners.min(1) <= high).all(1)]
    names = sorted(topology.regions)
    values = np.concatenate([model.template, np.stack([topology.regions[n] for n in names], 1)], 1)
    corners = (topology.uvs[topology.uv_faces[skin]] - low) / (high - low) * [size, -size] + [0, size]
    canvas = np.full((size, size, values.shape[1]), np.nan)
    for (a, b, c), corner_values in zip(corners, values[topology.faces[skin]], strict=True):
        edge_b, edge_c = b - a, c - a
        area = edge_b[0] * edge_c[1] - edge_b[1] * edge_c[0]
        if abs(area) < 1e-9:
            continue
        first = np.maximum(np.floor(np.minimum(np.minimum(a, b), c) - 1), 0).astype(int)
        last = np.minimum(np.ceil(np.maximum(np.maximum(a, b), c) + 1), size).astype(int)
        x, y = np.meshgrid(np.arange(first[0], last[0]), np.arange(first[1], last[1]))
        dx, dy = x + 0.5 - a[0], y + 0.5 - a[1]
        weight_b = (dx * edge_c[1] - dy * edge_c[0]) / area
        weight_c = (dy * edge_b[0] - dx * edge_b[1]) / area
        inside = (weight_b > -0.02) & (weight_c > -0.02) & (weight_b + weight_c < 1.02)
        weights = np.stack([1 - weight_b - weight_c, weight_b, weight_c], -1)[inside]
        canvas[y[inside], x[inside]] = weights @ corner_values
    _, nearest = ndimage.distance_transform_edt(np.isnan(canvas[..., 0]), return_indices=True)  # pyright: ignore
    canvas = canvas[tuple(nearest)]
    canvas = canvas.astype(np.float32)
    return Atlas(canvas[..., :3], {name: canvas[..., 3 + i] for i, name in enumerate(names)})


@functools.lru_cache(maxsize=1)
def window_weight(model: BodyModel) -> Float[np.ndarray, " V"]:
    """1 for vertices well inside `FACE_WINDOW`, 0 outside and at its border."""
    topology = model.topology
    skin = topology.parts["skin"]
    uvs = topology.uvs[topology.uv_faces[skin]]
    inside = np.minimum(uvs - FACE_WINDOW[:2], np.array(FACE_WINDOW[2:]) - uvs).min(-1)
    weight = np.ones(len(model.template))
    np.minimum.at(weight, topology.faces[skin], smoothstep(0.004, 0.022, inside))
    return weight


class ValueNoise:
    """Smooth noise in [0, 1] on 3D points, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._grid = np.random.default_rng(seed).random((32, 32, 32)).astype(np.float32)

    def __call__(
        self, points: Float[np.ndarray, "*n 3"], frequency: float, octaves: int = 3
    ) -> Float[np.ndarray, "*n"]:
        """`frequency` in cycles per metre of the first octave; each further one has half the weight."""
        total, weight, amplitude = np.zeros(points.shape[:-1], np.float32), 0.0, 1.0
        for octave in range(octaves):
            coordinates = (
                np.moveaxis(points * np.float32(frequency * 2**octave) + np.float32(11.7 * octave), -1, 0) % 32
            )
            total += amplitude * ndimage.map_coordinates(
                self._grid, coordinates, order=1, mode="grid-wrap", output=np.float32
            )
            weight, amplitude = weight + amplitude, amplitude / 2
        return total / weight


def smoothstep(low: float, high: float, x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """0 below `low`, 1 above `high`, smooth between; `low` may exceed `high` for a falling step."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
