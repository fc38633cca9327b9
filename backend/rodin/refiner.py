"""The refiner: a picture of a field, four times as large and with the detail that planes are too coarse for (Rodin,
section 3.3).

It knows nothing of three dimensions, so what it adds to one view does not agree with what it adds to the next: it is
for still pictures, never for a texture.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.radiance.cameras import Camera
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view
from backend.weights.network_file import load_network, save_network

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.triplane import TriPlane

SCALE = 4
"""How many times as wide and high a refined picture is."""
DRAWN = 256
"""Pixels along the side of a field's picture, as in the paper."""
_HAZE = (0.15, 0.95)
"""Where alpha begins and ends to count: sharp outlines before what is left of a field's fog look cut out."""
_KIND = "refiner"


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
    """`blocks` of `width` channels at the size of the small picture; half as many channels beyond."""

    width: int = 48
    blocks: int = 8


class Refiner(nn.Module):
    """Small pictures to large ones: what is to be added to the enlarged picture.

    Pictures have four channels: sRGB times alpha, and alpha. No layer looks at the mean of a picture, so patches are
    refined as whole pictures are.
    """

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        width, half = config.width, config.width // 2
        self.enter = nn.Conv2d(4, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(config.blocks)
        )
        self.leave = nn.Sequential(
            nn.Conv2d(width, 4 * half, 3, padding=1), nn.PixelShuffle(2), nn.SiLU(),
            nn.Conv2d(half, 4 * half, 3, padding=1), nn.PixelShuffle(2), nn.SiLU(),
            nn.Conv2d(half, 4, 3, padding=1),
        )  # fmt: skip

    def forward(self, small: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 4 4*h 4*w"]:
        x = self.enter(small * 2 - 1)
        for block in self.blocks:
            x = x + block(x)
        return enlarged(small) + self.leave(x)


def enlarged(small: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C 4*h 4*w"]:
    """A picture as large as the refined one, without new detail."""
    return F.interpolate(small, scale_factor=float(SCALE), mode="bicubic", align_corners=False)


@torch.no_grad()
def refine(refiner: Refiner, small: Float[np.ndarray, "h w 4"]) -> Float[np.ndarray, "4*h 4*w 4"]:
    """One picture, sRGB times alpha and alpha in [0, 1], refined."""
    picture = torch.from_numpy(np.ascontiguousarray(small, np.float32)).permute(2, 0, 1)[None]
    made = refiner(picture)[0].permute(1, 2, 0).numpy().clip(0, 1)
    made[..., :3] = np.minimum(made[..., :3], made[..., 3:])
    return made


def draw_small(field: TriPlane, camera: Camera, grid: OccupancyGrid) -> Float[np.ndarray, "h w 4"]:
    """What `camera` sees of `field`, as `refine` takes it, without the haze around it."""
    drawn = render_view(field, camera, occupancy=grid)
    low, high = _HAZE
    alpha = ((drawn.alpha - low) / (high - low)).clip(0, 1)[..., None]
    return np.concatenate([drawn.rgb * alpha, alpha], -1)


def draw_still(
    refiner: Refiner, field: TriPlane, azimuth_degrees: float, elevation_degrees: float
) -> Float[np.ndarray, "H W 4"]:
    """Head and bust from one side, 1024 x 1024 pixels, straight sRGB and alpha."""
    camera = Camera.orbit(
        azimuth_degrees, elevation_degrees, distance=1.35, fov_degrees=21.5, size=DRAWN, target=(0.0, 0.0, -0.03)
    )
    made = refine(refiner, draw_small(field, camera, OccupancyGrid.build(field)))
    made[..., :3] = (made[..., :3] / np.maximum(made[..., 3:], 1e-3)).clip(0, 1)
    return made


def save_refiner(path: Path, refiner: Refiner) -> None:
    """Write a refiner, whole or not at all."""
    save_network(path, _KIND, refiner, dataclasses.asdict(refiner.config))


def load_refiner(path: Path) -> Refiner:
    """Read what `save_refiner` wrote. Raises `MaquetteError` (MODEL_MISSING) when that is not there."""
    make = lambda told: Refiner(RefinerConfig(**told))  # noqa: E731
    return load_network(path, _KIND, make, trained_by="refiner", stage="still")
