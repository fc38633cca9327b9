"""Moving an avatar: shape keys first, then linear blend skinning, as Blender and glTF do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.rigging.avatar import ARKIT_SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from backend.rigging.avatar import AvatarPart, RiggedAvatar, Skeleton


def pose_avatar(
    avatar: RiggedAvatar,
    shape_weights: Mapping[str, float],
    bone_rotations: Mapping[str, Float[np.ndarray, "3 3"]] | None = None,
) -> list[Float[np.ndarray, "V 3"]]:
    """Vertices of each part (head frame, metres) under an expression and turned bones.

    Args:
        avatar: parts in the neutral pose.
        shape_weights: shape key name -> weight, usually in [0, 1]; a key that a part lacks does not move it.
        bone_rotations: bone name -> rotation about the bone's head, in the axes of the head frame at rest (not the
            bone's own), before its parents turn.

    Raises:
        KeyError: a shape key that is neither one of `ARKIT_SHAPES` nor in any part, or a name that no bone has; a
            misspelt name must not silently do nothing.
    """
    known = {name for part in avatar.parts for name in part.shape_keys} | set(ARKIT_SHAPES)
    if unknown := sorted(set(shape_weights) - known):
        raise KeyError(f"No part has the shape keys {', '.join(unknown)}.")
    transforms = bone_transforms(avatar.skeleton, bone_rotations or {})
    return [_skin(part, _apply_shape_keys(part, shape_weights), transforms) for part in avatar.parts]


def bone_transforms(
    skeleton: Skeleton, bone_rotations: Mapping[str, Float[np.ndarray, "3 3"]]
) -> Float[np.ndarray, "J 4 4"]:
    """Forward kinematics: for each bone, the 4x4 matrix from where a point rests to where the bone takes it."""
    if unknown := sorted(set(bone_rotations) - set(skeleton.names)):
        raise KeyError(f"No bone is called {', '.join(unknown)}.")
    transforms = np.tile(np.eye(4), (len(skeleton.names), 1, 1))
    for bone, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents, strict=True)):
        local = np.eye(4)
        local[:3, :3] = bone_rotations.get(name, np.eye(3))
        local[:3, 3] = skeleton.heads[bone] - local[:3, :3] @ skeleton.heads[bone]
        transforms[bone] = local if parent < 0 else transforms[parent] @ local
    return transforms


def _apply_shape_keys(part: AvatarPart, shape_weights: Mapping[str, float]) -> Float[np.ndarray, "V 3"]:
    vertices = part.mesh.vertices.astype(np.float64)
    for name, weight in shape_weights.items():
        if name in part.shape_keys:
            vertices += weight * part.shape_keys[name]
    return vertices


def _skin(
    part: AvatarPart, vertices: Float[np.ndarray, "V 3"], transforms: Float[np.ndarray, "J 4 4"]
) -> Float[np.ndarray, "V 3"]:
    posed = np.zeros_like(vertices)
    for slot in range(part.joints.shape[1]):
        # One bone at a time: a gathered 4x4 per vertex and slot would cost more than the arithmetic.
        for bone in np.unique(part.joints[:, slot]):
            moved = (part.joints[:, slot] == bone) & (part.weights[:, slot] != 0)
            rotated = vertices[moved] @ transforms[bone, :3, :3].T + transforms[bone, :3, 3]
            posed[moved] += part.weights[moved, slot, None] * rotated
    return posed
