"""Procedural environments: a soft room, sky or studio with area lights, as equirectangular radiance maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import LightSpec

if TYPE_CHECKING:
    from jaxtyping import Float


def environment_map(spec: LightSpec, height: int = 96) -> Float[np.ndarray, "H W 3"]:
    """Linear RGB radiance, row 0 straight up, in Blender's equirectangular layout (middle column looks along +X).

    The mean over the sphere is `spec.strength`; the strongest light comes from in front of the face (-Y).
    """
    rng = np.random.default_rng(spec.seed)
    direction = equirectangular_directions(height)
    if spec.kind == "even":
        return np.full((*direction.shape[:2], 3), spec.strength) * (1 + 0.2 * direction[..., 2:])
    warm, cool = np.array([1.06, 0.98, 0.88]), np.array([0.85, 0.96, 1.12])
    balance = rng.random()
    sky = (warm * balance + cool * (1 - balance)) * rng.uniform(0.35, 0.8)
    ground = np.array([1.03, 0.96, 0.88]) * rng.uniform(0.15, 0.4)
    radiance = ground + (sky - ground) * smoothstep(-0.3, 0.4, direction[..., 2])[..., None]
    zoom = (height / 6, 2 * height / 12)
    clutter = np.asarray(ndimage.zoom(rng.random((6, 12)), zoom, order=1, mode="grid-wrap", grid_mode=True))
    radiance = radiance * (0.6 + 0.8 * clutter[..., None])
    for i in range(int(rng.integers(2, 5))):
        azimuth = rng.uniform(-1.2, 1.2) if i == 0 else rng.uniform(-np.pi, np.pi)  # 0 is in front of the face
        elevation = rng.uniform(0.05, 0.9)
        size = rng.uniform(0.2, 0.5)
        power = rng.uniform(2.0, 4.5) * (1 if i == 0 else rng.uniform(0.15, 0.7)) * 0.35 / size
        tint = rng.uniform(0.9, 1.1, 3)
        radiance = radiance + _soft_box(direction, azimuth, elevation, size)[..., None] * power * tint
    area = np.sqrt(1 - direction[..., 2] ** 2)
    mean = (radiance.mean(-1) * area).sum() / area.sum()
    return radiance * (spec.strength / mean)


def equirectangular_directions(height: int) -> Float[np.ndarray, "H W 3"]:
    """Unit vector of every texel."""
    width = 2 * height
    elevation = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    longitude = np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi
    elevation, longitude = np.meshgrid(elevation, longitude, indexing="ij")
    return np.stack(
        [np.cos(elevation) * np.cos(longitude), np.cos(elevation) * np.sin(longitude), np.sin(elevation)], -1
    )


def _soft_box(
    direction: Float[np.ndarray, "H W 3"], azimuth: float, elevation: float, size: float
) -> Float[np.ndarray, "H W"]:
    """A rectangle of light with soft edges, taller than wide; `size` is the tangent of half its width."""
    forward = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    side = np.cross(forward, [0, 0, 1.0])
    side /= np.linalg.norm(side)
    up = np.cross(side, forward)
    depth = np.maximum(direction @ forward, 1e-6)
    across, along = np.abs(direction @ side) / depth, np.abs(direction @ up) / depth
    box = smoothstep(1.15 * size, 0.85 * size, across) * smoothstep(1.6 * size, 1.2 * size, along)
    return box * (direction @ forward > 0)
