"""Convolution at the voxels that hold something, in plain torch: one gather and one matrix product per layer.

Which row of the features each tap of each kernel reads depends on the mesh alone. `SparsePyramid` works it out once;
a denoising step then only gathers and multiplies. A tap over an empty voxel reads a row of zeros.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.morphable.voxels import last_of_each_voxel

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.voxels import Voxels

Size = tuple[int, int, int]
_TAPS = torch.tensor(list(itertools.product(range(3), repeat=3)))


@dataclasses.dataclass(frozen=True)
class SparsePyramid:
    """What the sparse network has to know of a mesh.

    `kept` are the vertices it sees; `same` and `down` say, per level, which row each of the 27 taps of an output reads
    (submanifold: outputs where inputs are; strided: outputs wherever the kernel touches an input), the number of rows
    standing for "none"; `coordinates` (z, y, x) and `size` are those of the coarsest level.
    """

    kept: Int[Tensor, "m"]
    same: tuple[Int[Tensor, "m 27"], ...]
    down: tuple[Int[Tensor, "m 27"], ...]
    coordinates: Int[Tensor, "m 3"]
    size: Size

    @classmethod
    def of(cls, voxels: Voxels, levels: int = 3) -> SparsePyramid:
        """Tables of `levels` levels, each half as fine as the one before."""
        kept = last_of_each_voxel(voxels.coordinates, voxels.size)
        coordinates, size = voxels.coordinates[kept].long(), voxels.size
        same, down = [_neighbours(coordinates, size, coordinates)], []
        for _ in range(levels - 1):
            coarse, coarse_size = _coarser(coordinates, size)
            down.append(_neighbours(coordinates, size, 2 * coarse))
            coordinates, size = coarse, coarse_size
            same.append(_neighbours(coordinates, size, coordinates))
        return cls(kept, tuple(same), tuple(down), coordinates, size)


def _flat(coordinates: Int[Tensor, "*n 3"], size: Size) -> Int[Tensor, "*n"]:
    """One number per voxel; a border of one voxel keeps a neighbour outside the grid apart from those inside."""
    _, height, width = size
    padded = coordinates + 1
    return (padded[..., 0] * (height + 2) + padded[..., 1]) * (width + 2) + padded[..., 2]


def _neighbours(coordinates: Int[Tensor, "n 3"], size: Size, centres: Int[Tensor, "m 3"]) -> Int[Tensor, "m 27"]:
    """Row of each voxel in the 3 x 3 x 3 around each centre, n where there is none."""
    places, rows = torch.sort(_flat(coordinates, size))
    wanted = _flat(centres[:, None] + _TAPS.to(centres.device) - 1, size)
    found = torch.searchsorted(places, wanted).clamp(max=len(places) - 1)
    return torch.where(places[found] == wanted, rows[found], len(coordinates))


def _coarser(coordinates: Int[Tensor, "n 3"], size: Size) -> tuple[Int[Tensor, "m 3"], Size]:
    """Voxels of half the size that a kernel of 3, stride 2 and padding 1 reaches from the given ones."""
    coarse_size = (size[0] - 1) // 2 + 1, (size[1] - 1) // 2 + 1, (size[2] - 1) // 2 + 1
    limit = torch.tensor(coarse_size, device=coordinates.device)
    reached = coordinates[:, None] + 1 - _TAPS.to(coordinates.device)
    reached = reached[(reached % 2 == 0).all(-1)] // 2
    reached = reached[((reached >= 0) & (reached < limit)).all(-1)]
    # By one number each, in the same order: unique rows were 8 % of a training step.
    places = torch.unique((reached[:, 0] * coarse_size[1] + reached[:, 1]) * coarse_size[2] + reached[:, 2])
    plane, x = places // coarse_size[2], places % coarse_size[2]
    return torch.stack([plane // coarse_size[1], plane % coarse_size[1], x], 1), coarse_size


class SparseConv(nn.Module):
    """A 3 x 3 x 3 convolution without bias; its weight lies as in spconv 2.2 and later: out, z, y, x, in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, 3, 3, 3, inputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features: Float[Tensor, "n C"], table: Int[Tensor, "m 27"]) -> Float[Tensor, "m D"]:
        padded = torch.cat([features, features.new_zeros(1, features.shape[1])])
        # Not `padded[table]`, whose gradient on several threads is a sum in any order.
        return F.embedding(table, padded).flatten(1) @ self.weight.flatten(1).T


class _Layers(nn.ModuleList):
    """Convolutions that share one table, each with its batch norm and activation."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        layers: list[nn.Module] = []
        for number in range(count):
            convolution = SparseConv(outputs if number else inputs, outputs)
            layers += [convolution, nn.BatchNorm1d(outputs, eps=1e-3, momentum=0.01), nn.ReLU()]
        super().__init__(layers)

    def forward(self, features: Float[Tensor, "n C"], table: Int[Tensor, "m 27"]) -> Float[Tensor, "m D"]:
        for layer in self:
            features = layer(features, table) if isinstance(layer, SparseConv) else layer(features)
        return features


class SparseNet(nn.Module):
    """Vertex features to a dense volume at a quarter of the voxels' resolution.

    One mesh at a time: in training the batch norms see the voxels of one mesh, not of the whole batch.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = 2 * inputs
        self.conv0, self.down0 = _Layers(inputs, inputs, 2), _Layers(inputs, middle, 1)
        self.conv1, self.down1 = _Layers(middle, middle, 2), _Layers(middle, outputs, 1)
        self.conv2 = _Layers(outputs, outputs, 3)

    def forward(self, features: Float[Tensor, "n C"], pyramid: SparsePyramid) -> Float[Tensor, "D d h w"]:
        """`features` of all vertices; those that the pyramid left out are not read."""
        x = self.conv0(features[pyramid.kept], pyramid.same[0])
        x = self.conv1(self.down0(x, pyramid.down[0]), pyramid.same[1])
        x = self.conv2(self.down1(x, pyramid.down[1]), pyramid.same[2])
        volume = x.new_zeros(*pyramid.size, x.shape[1])
        return volume.index_put(pyramid.coordinates.unbind(-1), x).permute(3, 0, 1, 2)
