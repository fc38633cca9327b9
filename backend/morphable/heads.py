"""What networks that are trained here are shown of a head: vertices, cameras, pictures.

Training and engine share it, so that a portrait reaches the networks like the pictures that they learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from backend.morphable.meshes import HEAD

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.morphable.config import MorphableConfig


def skin_vertices(model: BodyModel) -> Int[np.ndarray, " V"]:
    """The vertices that the networks are shown: the skin without the lining of the mouth."""
    topology = model.topology
    skin = np.unique(topology.faces[topology.parts["skin"]])
    return skin[topology.regions["mouth_interior"][skin] < 0.5]


def over_white(
    rgb: Float[Tensor, "N 3 H W"], alpha: Float[Tensor, "N 1 H W"], size: int
) -> UInt8[Tensor, "N 3 size size"]:
    """Straight colours as pictures on white, made smaller by areas."""
    small = F.interpolate(rgb * alpha + 1 - alpha, (size, size), mode="area")
    return (small * 255).round().to(torch.uint8)


def into_world(
    world_to_camera: Float[Tensor, "N 4 4"], intrinsics: Float[Tensor, "N 3 3"], known: int, config: MorphableConfig
) -> tuple[Float[Tensor, "N 4 4"], Float[Tensor, "N 3 4"]]:
    """Cameras of metres and of pictures of `known` pixels as `morphable.views.Views` has them.

    The networks read their maps at whole pixels; half a texel of the map is taken off, so that ours lie where they are.
    """
    rotation = world_to_camera[:, :3, :3] @ torch.from_numpy(HEAD.rotation.T.copy()).float()
    shift = world_to_camera[:, :3, 3:] * HEAD.scale
    lens = torch.eye(4).repeat(len(intrinsics), 1, 1)
    lens[:, :2, :3] = intrinsics[:, :2] * (config.image_size / known)
    lens[:, :2, 2] -= config.half_texel
    return lens, torch.cat([rotation, shift], 2)


def as_signed(pictures: Tensor) -> Float[Tensor, "*n 3 S S"]:
    """Bytes as the networks read pictures, in [-1, 1]."""
    return pictures.float() / 127.5 - 1
