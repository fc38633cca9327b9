"""Linear blend skinning in numpy, as SMPL, SMPL-X and FLAME define it (Loper et al. 2015, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def pose_correctives(
    rotations: Float[np.ndarray, "J 3 3"], pose_basis: Float[np.ndarray, "V 3 P"]
) -> Float[np.ndarray, "V 3"]:
    """Offsets that keep bent skin in shape: linear in the rotation matrices of all joints but the root."""
    feature = (rotations[1:] - np.eye(3)).ravel()
    return pose_basis @ feature


def blend_skinning(
    vertices: Float[np.ndarray, "V 3"],
    joints: Float[np.ndarray, "J 3"],
    parents: Int[np.ndarray, " J"],
    weights: Float[np.ndarray, "V J"],
    rotations: Float[np.ndarray, "J 3 3"],
) -> Float[np.ndarray, "V 3"]:
    """Vertices after every joint has turned by its rotation relative to its parent (-1 for the root)."""
    world = np.empty((len(joints), 3, 4))
    for j, parent in enumerate(parents):
        # A rotation about the joint's own rest position, then whatever its parent does.
        local = np.c_[rotations[j], joints[j] - rotations[j] @ joints[j]]
        if parent < 0:
            world[j] = local
        else:
            turn, shift = world[parent, :, :3], world[parent, :, 3]
            world[j] = np.c_[turn @ local[:, :3], turn @ local[:, 3] + shift]
    blended = np.einsum("vj,jab->vab", weights, world)
    return np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]
