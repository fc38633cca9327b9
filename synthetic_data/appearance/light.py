"""Procedural environments: a soft room, sky or studio with area lights, as equirectangular radiance maps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import LightSpec

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Radiance above and below, how uneven the walls are, and the lamps: number, size, power and where they hang."""

    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    clutter: float
    lamps: tuple[int, int]
    size: tuple[float, float]
    power: float
    elevation: tuple[float, float]
    spread: float


_KINDS = {
    "room": _Kind((0.60, 0.57, 0.52), (0.30, 0.27, 0.24), 0.8, (2, 5), (0.25, 0.5), 1.7, (0.1, 0.9), 1.0),
    "studio": _Kind((0.30, 0.30, 0.31), (0.16, 0.16, 0.16), 0.1, (2, 4), (0.35, 0.6), 2.6, (0.2, 0.7), 0.9),
    "sky": _Kind((0.75, 0.88, 1.10), (0.32, 0.30, 0.26), 0.3, (1, 2), (0.7, 0.9), 0.8, (0.6, 1.1), 1.2),
    "sun": _Kind((0.50, 0.62, 0.85), (0.34, 0.31, 0.26), 0.3, (1, 2), (0.10, 0.16), 2.0, (0.45, 0.95), 0.9),
    "window": _Kind((0.24, 0.24, 0.25), (0.17, 0.16, 0.15), 0.5, (1, 2), (0.45, 0.7), 3.0, (0.05, 0.35), 1.3),
}


def environment_map(spec: LightSpec, height: int = 96) -> Float[np.ndarray, "H W 3"]:
    """Linear RGB radiance, row 0 straight up, in Blender's equirectangular layout (middle column looks along +X).

    The mean over the sphere is `spec.strength`; the strongest light comes from in front of the face (-Y). Raises
    KeyError for an unknown kind.
    """
    direction = equirectangular_directions(height)
    if spec.kind == "even":
        return np.full((*direction.shape[:2], 3), spec.strength) * (1 + 0.2 * direction[..., 2:])
    rng = np.random.default_rng(spec.seed)
    room = _KINDS[spec.kind]
    tint = np.array([1 + 0.10 * spec.warmth, 1.0, 1 - 0.16 * spec.warmth])
    sky, ground = np.array(room.sky), np.array(room.ground)
    radiance = ground + (sky - ground) * smoothstep(-0.3, 0.4, direction[..., 2])[..., None]
    zoom = (height / 6, 2 * height / 12)
    clutter = np.asarray(ndimage.zoom(rng.random((6, 12)), zoom, order=1, mode="grid-wrap", grid_mode=True))
    radiance = radiance * (1 - room.clutter / 2 + room.clutter * clutter[..., None])
    harder = 0.55 + 0.9 * spec.contrast
    for i in range(int(rng.integers(*room.lamps))):
        # The first lamp lights the face; the others come from anywhere.
        azimuth = rng.uniform(-room.spread, room.spread) if i == 0 else rng.uniform(-np.pi, np.pi)
        elevation, size = rng.uniform(*room.elevation), rng.uniform(*room.size)
        power = harder * room.power * rng.uniform(0.7, 1.3) * (1 if i == 0 else rng.uniform(0.15, 0.6))
        # A small lamp is brighter for the same light.
        box = _soft_box(direction, azimuth, elevation, size)[..., None]
        radiance = radiance + box * power * (0.35 / size) ** 2 * rng.uniform(0.93, 1.07, 3)
    radiance = radiance * tint
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
