"""The conditioning volume: all noisy views, brought to the mesh and spread around it (F_V of the paper).

Noisy latents -> feature maps -> one grid per view -> vertices -> voxels -> sparse network -> the cube [-0.5, 0.5]^3.
Volumes are indexed (z, y, x). This is the only place where the views learn of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.morphable.dense_branch import DenseBranch
from backend.morphable.sparse_conv import SparseNet
from backend.morphable.target_encoder import TargetEncoder
from backend.morphable.views import HALF_SIDE
from backend.morphable.voxels import VOXEL

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.morphable.config import MorphableConfig
    from backend.morphable.scene import Scene
    from backend.morphable.voxels import Voxels


def cube_points(size: int) -> Float[Tensor, "P 3"]:
    """World positions (x, y, z) of the points of the volume, corners included, in (z, y, x) order."""
    axis = torch.linspace(-HALF_SIDE, HALF_SIDE, size)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).flatten(0, 2).flip(-1)


def in_cube(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """World positions as places in the volume, for `F.grid_sample`."""
    return points / HALF_SIDE


def in_voxels(points: Float[Tensor, "*n 3"], voxels: Voxels) -> Float[Tensor, "*n 3"]:
    """World positions as places in the sparse network's output.

    Voxel v of `size` is read at v / size (size / 4 - 1) instead of v / 4, as the published weights expect.
    """
    size = torch.tensor(voxels.size[::-1], device=points.device)
    return (points - voxels.bounds[0]) / VOXEL / size * 2 - 1


def sample_volume(volume: Float[Tensor, "B C D H W"], grid: Float[Tensor, "B P 3"]) -> Float[Tensor, "B C P"]:
    """Trilinear samples, zero outside."""
    return F.grid_sample(volume, grid[:, :, None, None], align_corners=True)[..., 0, 0]


class VertexLayer(nn.Module):
    """What the views say at a vertex: one linear layer, then the mean over the views."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv1d(width, width, 1)

    def forward(self, features: Float[Tensor, "B N C P"]) -> Float[Tensor, "B C P"]:
        return self.conv0(features.mean(1))  # linear, so that mean and layer commute


class SpatialVolume(nn.Module):
    """Noisy views of a scene to its conditioning volume."""

    def __init__(self, config: MorphableConfig) -> None:
        super().__init__()
        self.size = config.volume_size
        width, depth = config.feature_channels, config.volume_channels[0]
        self.target_encoder = TargetEncoder(config.map_channels, width)
        self.vertex_layer = VertexLayer(width)
        self.sparse_net = SparseNet(width, depth)
        self.dense_branch = DenseBranch(config.views * width, config.volume_channels) if config.dense_branch else None

    def forward(
        self, noisy: Float[Tensor, "B N C H W"], time: Float[Tensor, "B 256"], scene: Scene
    ) -> Float[Tensor, "B C Z Y X"]:
        """`time` is the embedded time-step, the same for all views."""
        lifted = self.lift(noisy, time, scene)
        features = self.at_vertices(lifted, scene)
        volumes = [
            sample_volume(self.sparse_net(each.T, pyramid)[None], grid[None])
            for each, pyramid, grid in zip(features, scene.pyramids, scene.resampling, strict=True)
        ]
        volume = torch.cat(volumes).unflatten(2, (self.size,) * 3)
        return volume if self.dense_branch is None else volume + self.dense_branch(lifted.flatten(1, 2), time)

    def lift(
        self, noisy: Float[Tensor, "B N C H W"], time: Float[Tensor, "B 256"], scene: Scene
    ) -> Float[Tensor, "B N F Z Y X"]:
        """Each view's feature map at all points of the cube, hidden ones too."""
        batch, views = noisy.shape[:2]
        every = time.repeat_interleave(views, 0)
        maps = self.target_encoder(noisy.flatten(0, 1), every, scene.view_embedding.flatten(0, 1))
        grid = scene.lifting.flatten(0, 1)[:, :, None]
        samples = F.grid_sample(maps, grid, align_corners=True)[..., 0]
        return samples.unflatten(0, (batch, views)).unflatten(-1, (self.size,) * 3)

    def at_vertices(self, lifted: Float[Tensor, "B N F Z Y X"], scene: Scene) -> Float[Tensor, "B F n"]:
        """What enters the sparse network, read from the grids and so interpolated twice."""
        views = lifted.shape[1]
        grid = in_cube(scene.vertices).repeat_interleave(views, 0)
        return self.vertex_layer(sample_volume(lifted.flatten(0, 1), grid).unflatten(0, (-1, views)))
