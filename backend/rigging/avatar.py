"""The finished product as data: parts with textures, one skeleton, skin weights and shape keys."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.mesh import Mesh
from backend.rigging.arkit import ARKIT_SHAPES as ARKIT_SHAPES

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8


@dataclasses.dataclass(frozen=True)
class Material:
    """The few numbers that glTF and Principled BSDF share. `double_sided` for open shells such as hair and lashes."""

    roughness: float = 0.6
    double_sided: bool = False
    alpha_mask: bool = False
    """Texels with alpha below one half are cut out; the texture then has four channels."""


@dataclasses.dataclass
class Skeleton:
    """Bones in the head frame; `parents[j] < j`, the root has parent -1."""

    names: tuple[str, ...]
    parents: Int[np.ndarray, " J"]
    heads: Float[np.ndarray, "J 3"]
    tails: Float[np.ndarray, "J 3"]


@dataclasses.dataclass
class AvatarPart:
    """One object of the avatar: mesh in the neutral pose, texture, skin weights and the shape keys that move it.

    `joints`/`weights` are the (at most four) bones of each vertex; weights sum to one. `shape_keys` maps a name of
    `ARKIT_SHAPES` to offsets from the neutral mesh; keys that do not move the part are left out.
    """

    name: str
    mesh: Mesh
    texture: UInt8[np.ndarray, "H W C"]
    material: Material
    joints: Int[np.ndarray, "V 4"]
    weights: Float[np.ndarray, "V 4"]
    shape_keys: dict[str, Float[np.ndarray, "V 3"]]


@dataclasses.dataclass
class RiggedAvatar:
    """Parts and the skeleton they hang on. The first part is the head."""

    parts: list[AvatarPart]
    skeleton: Skeleton
