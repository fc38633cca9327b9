"""Planes in the body model's canonical space: every person's eyes, mouth and ears lie on the same texels.

A tri-plane in plain space has to say where a face is and what it looks like; in canonical space only the latter is
left to it, and shape, expression and pose stay in the body model. A `Warp` is the way there: a coarse grid over the
cube, per avatar, that holds for every place in posed space the place in the planes. It is smooth, so it moves jaws and
shoulders, not the rims of lips. On top, the axes of canonical space are stretched around the face (`FOVEA`), which a
plane of the same size then shows half as large again as the shoulders.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

GRID = 32
"""Nodes of a warp's grid along each axis."""
_SOFTNESS = 0.008
"""Metres under which controls blend into each other."""
_PART = 1024
"""Nodes whose nearness to all controls is computed at once."""
_NONE = 1e-4
"""Strength of no stretch: as good as straight, and far from rounding."""


@dataclasses.dataclass(frozen=True)
class Fovea:
    """Stretch of each axis of the cube by asinh: `centre` in cube coordinates, `strength` 0 for none; `low` and `high`
    are the cube coordinates that lie at the planes' borders."""

    centre: tuple[float, float, float] = (0.0, -0.2, -0.05)
    strength: tuple[float, float, float] = (2.5, 2.0, 2.0)
    low: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    high: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Cube coordinates to plane coordinates: -1 at the axes' low ends, 1 at the high ones, and on beyond them."""
        centre, strength, low, high = self._axes()
        return 2 * (np.arcsinh(strength * (points - centre)) - low) / (high - low) - 1

    def inverse(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Plane coordinates to cube coordinates."""
        centre, strength, low, high = self._axes()
        return np.sinh(low + (points + 1) / 2 * (high - low)) / strength + centre

    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Centre and strength of each axis, and its ends once bent."""
        centre, strength = np.array(self.centre), np.maximum(self.strength, _NONE)
        low, high = (np.arcsinh(strength * (np.array(end) - centre)) for end in (self.low, self.high))
        return centre, strength, low, high


FOVEA = Fovea(low=(-1.0, -1.0, -1.2))
"""The shoulders of small people hang below the cube of the mean body: planes that ended there would show their border,
drawn out, beneath the bust."""


def warp_points(grid: Float[Tensor, "B 3 R R R"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """Posed places to places in the planes, both in cube coordinates; trilinear between the nodes of `grid`."""
    samples = F.grid_sample(grid, points[:, None, None], padding_mode="border", align_corners=True)
    return samples[:, :, 0, 0].transpose(1, 2)


def mirror_body(body: Float[Tensor, "B K 3"]) -> Float[Tensor, "B K 3"]:
    """The controls of the mirrored person; they come in mirrored pairs, see `backend.body_model.controls`."""
    left, right = body.chunk(2, 1)
    return torch.cat([right, left], 1) * body.new_tensor([-1.0, 1.0, 1.0])


def mirror_warp(grid: Float[Tensor, "B 3 R R R"]) -> Float[Tensor, "B 3 R R R"]:
    """The warp of the mirrored person, through a fovea in the middle of the x axis."""
    return grid.flip(-1) * grid.new_tensor([-1.0, 1.0, 1.0])[:, None, None, None]


def mirror_planes(planes: Float[Tensor, "*B 3 C H W"]) -> Float[Tensor, "*B 3 C H W"]:
    """The planes of the mirrored person: x runs along the columns of the first two."""
    xy, xz, yz = planes.unbind(-4)
    return torch.stack([xy.flip(-1), xz.flip(-1), yz], -4)


def blend_weights(places: Float[Tensor, "N 3"], controls: Float[Tensor, "K 3"]) -> Float[Tensor, "N K"]:
    """How much of each control's move a place makes (Shepard's inverse distances); rows sum to 1; metres."""
    weights = _nearness(places, controls)
    return weights / weights.sum(1, keepdim=True)


def _nearness(places: Float[Tensor, "N 3"], controls: Float[Tensor, "K 3"]) -> Float[Tensor, "N K"]:
    """(d² + softness²)^-2; squares from one matrix product, which is where the time of a warp goes."""
    squares = places.square().sum(1, keepdim=True) + (controls.square().sum(1) + _SOFTNESS**2)
    return squares.addmm_(places, controls.T, alpha=-2).clamp_(min=_SOFTNESS**2).reciprocal_().square_()


def warp_grid(
    posed: Float[Tensor, "K 3"],
    canonical: Float[Tensor, "K 3"],
    half_size: float,
    fovea: Fovea = FOVEA,
    size: int = GRID,
) -> Float[Tensor, "3 R R R"]:
    """The grid that takes the posed controls (metres) to where they are in canonical space, and through the fovea."""
    axis = torch.linspace(-half_size, half_size, size, dtype=posed.dtype, device=posed.device)
    nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(-1, 3)  # x runs fastest
    moves = torch.cat([canonical - posed, torch.ones_like(posed[:, :1])], 1)
    # In parts that stay in the processor's cache; the last column sums the weights.
    sums = torch.cat([_nearness(part, posed) @ moves for part in nodes.split(_PART)])
    moved = nodes + sums[:, :3] / sums[:, 3:]
    places = fovea((moved / half_size).cpu().numpy())
    return (
        torch.as_tensor(places, dtype=torch.float32, device=posed.device)
        .reshape(size, size, size, 3)
        .permute(3, 0, 1, 2)
    )
