"""The mesh's vertices as voxels of 5 thousandths of the world's unit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

VOXEL = 0.005
STRIDE = 4
"""How much smaller the sparse network's output is; the grid's sides are multiples of it."""


@dataclasses.dataclass(frozen=True)
class Voxels:
    """Where the vertices lie: integer `coordinates` (z, y, x) in a grid of `size` (z, y, x); `bounds` of the mesh
    (low and high corner, in x, y, z)."""

    coordinates: Int[Tensor, "n 3"]
    size: tuple[int, int, int]
    bounds: Float[Tensor, "2 3"]


def voxelize(vertices: Float[Tensor, "n 3"]) -> Voxels:
    """Vertices (x, y, z) to the voxels that they round to, half to even; several may share one.

    float32 throughout: another precision would put some vertices into the voxel next door.
    """
    vertices = vertices.float()
    low, high = vertices.amin(0), vertices.amax(0)
    coordinates = torch.round((vertices - low) / VOXEL).int().flip(-1)
    extent = torch.ceil((high - low) / VOXEL).int().flip(-1)
    depth, height, width = (STRIDE * (side // STRIDE + 1) for side in extent.tolist())
    return Voxels(coordinates, (depth, height, width), torch.stack([low, high]))


def last_of_each_voxel(coordinates: Int[Tensor, "n 3"], size: tuple[int, int, int]) -> Int[Tensor, "m"]:
    """Rows to keep so that no voxel is used twice: of those that share one, the one with the highest index.

    Published weights were trained with whichever vertex won a race between GPU threads. The last one is one of the
    outcomes of that race, and the same every time.
    """
    _, height, width = size
    place = (coordinates[:, 0].long() * height + coordinates[:, 1]) * width + coordinates[:, 2]
    ordered, rows = torch.sort(place, stable=True)
    is_last = torch.ones_like(ordered, dtype=torch.bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return rows[is_last].sort().values
