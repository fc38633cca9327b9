"""All that cameras and mesh decide and noise does not: worked out once, used in every step."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from backend.morphable.embeddings import no_view_embedding
from backend.morphable.sparse_conv import SparsePyramid
from backend.morphable.spatial_volume import cube_points, in_voxels
from backend.morphable.voxels import voxelize

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.config import MorphableConfig
    from backend.morphable.views import Views


@dataclasses.dataclass(frozen=True)
class Scene:
    """B subjects, each with its mesh and N views.

    `lifting`: where the P points of the cube lie in each view's feature map; `resampling`: where they lie in each
    sparse network's output; `pyramids`: that network's tables; `frusta`: world positions of each view's frustum.
    """

    vertices: Float[Tensor, "B n 3"]
    view_embedding: Float[Tensor, "B N 4"]
    lifting: Float[Tensor, "B N P 2"]
    resampling: Float[Tensor, "B P 3"]
    pyramids: tuple[SparsePyramid, ...]
    frusta: Float[Tensor, "B N D H W 3"]

    def frusta_of(self, indices: Int[Tensor, "B K"]) -> Float[Tensor, "B K D H W 3"]:
        """Frusta of some of the views of each subject."""
        return self.frusta[self._rows(indices), indices]

    def embedding_of(self, indices: Int[Tensor, "B K"]) -> Float[Tensor, "B K 4"]:
        """View embeddings of the same."""
        return self.view_embedding[self._rows(indices), indices]

    def _rows(self, indices: Int[Tensor, "B K"]) -> Int[Tensor, "B 1"]:
        return torch.arange(len(indices), device=indices.device)[:, None]


def make_scene(
    views: Views,
    vertices: Float[Tensor, "B n 3"],
    config: MorphableConfig,
    view_embedding: Float[Tensor, "B N 4"] | None = None,
) -> Scene:
    """The scene of `vertices` (see `meshes`) seen from `views`, on the device of the vertices."""
    batch, device = len(vertices), vertices.device
    vertices = vertices.float()
    views = views.of_subjects(batch, device)
    points = cube_points(config.volume_size).to(device)
    voxels = [voxelize(each) for each in vertices]
    if view_embedding is None:
        view_embedding = no_view_embedding(batch, len(views)).to(device)
    return Scene(
        vertices,
        view_embedding,
        views.sampling_grid(points.expand(batch, -1, 3), config.map_size),
        torch.stack([in_voxels(points, each) for each in voxels]),
        tuple(SparsePyramid.of(each) for each in voxels),
        views.frustum_points(config.depth_planes, config.map_size),
    )
