"""Which cells of the cube are worth asking the decoder about: heads fill about a tenth of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from backend.radiance.triplane import TriPlane

COARSEST = 32


@dataclasses.dataclass(frozen=True)
class OccupancyGrid:
    """`cells[x, y, z]` is true where the field may hold matter; `half_size` of the cube in metres."""

    cells: Bool[Tensor, "R R R"]
    half_size: float

    @classmethod
    @torch.no_grad()
    def build(cls, triplane: TriPlane, resolution: int = 128, threshold: float = 1e-3) -> OccupancyGrid:
        """Ask the decoder coarse-to-fine, refining only cells whose own or neighbours' occupancy passes `threshold`.

        `resolution` is 32 times a power of two. Every level is widened by one cell on all sides, since a cell is
        judged by 2x2x2 points at the coarsest level and by its centre afterwards.
        """
        levels = (resolution // COARSEST).bit_length() - 1
        if resolution != COARSEST << levels:
            raise ValueError(f"resolution must be {COARSEST} times a power of two, not {resolution}")
        device = triplane.planes.device
        points = _centres(torch.ones((2 * COARSEST,) * 3, dtype=torch.bool, device=device), triplane.half_size)
        fine = (triplane.occupancy(points) > threshold).reshape((2 * COARSEST,) * 3)
        cells = _widen(F.max_pool3d(fine[None].float(), 2)[0] > 0)
        for _ in range(levels):
            cells = cells.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
            kept = cells.clone()
            kept[cells] = triplane.occupancy(_centres(cells, triplane.half_size)) > threshold
            cells = _widen(kept)
        return cls(cells, triplane.half_size)

    def contains(self, points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
        """Whether each point (metres) lies in an occupied cell; false outside of the cube."""
        resolution = len(self.cells)
        index = ((points / self.half_size + 1) * (resolution / 2)).floor().long()
        inside = ((index >= 0) & (index < resolution)).all(-1)
        x, y, z = index.clamp(0, resolution - 1).unbind(-1)
        return self.cells.reshape(-1)[(x * resolution + y) * resolution + z] & inside

    @property
    def fraction(self) -> float:
        """Share of occupied cells."""
        return self.cells.float().mean().item()


def _centres(mask: Tensor, half_size: float) -> Float[Tensor, "N 3"]:
    """Centres in metres of the marked cells, in the order of a boolean index."""
    return ((mask.nonzero() + 0.5) * (2 / len(mask)) - 1) * half_size


def _widen(cells: Bool[Tensor, "R R R"]) -> Bool[Tensor, "R R R"]:
    return F.max_pool3d(cells[None].float(), 3, stride=1, padding=1)[0] > 0
