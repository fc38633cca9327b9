"""The head turned on the neck: the head frame stays, so the shoulders turn the other way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from backend.body_model.base import BodyModel
from backend.body_model.skinning import blend_skinning
from synthetic_data.identity import IdentitySpec, PoseSpec

if TYPE_CHECKING:
    from jaxtyping import Float


def posed_vertices(spec: IdentitySpec, model: BodyModel) -> Float[np.ndarray, "V 3"]:
    """Vertices in the expression and pose of `spec`, metres; those of the head are where `spec.vertices` has them."""
    return pose(spec.vertices(model), model, np.array(spec.identity), spec.pose)


def pose(
    vertices: Float[np.ndarray, "V 3"], model: BodyModel, identity: Float[np.ndarray, " I"], turn: PoseSpec
) -> Float[np.ndarray, "V 3"]:
    """Bend the neck by linear blend skinning; all bones between chest and head share the turn evenly."""
    skeleton = model.skeleton(identity)
    head = skeleton.names.index("Head")
    chain, bone = [], head
    while skeleton.parents[bone] >= 0:
        chain.append(bone)
        bone = int(skeleton.parents[bone])
    whole = head_rotation(turn)
    rotations = np.broadcast_to(np.eye(3), (len(skeleton.names), 3, 3)).copy()
    rotations[chain] = Rotation.from_rotvec(whole.as_rotvec() / len(chain)).as_matrix()
    # Three axes that ride on the head tell where it went; everything is then moved back with it.
    frame = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    weights = np.concatenate([model.skin_weights, np.eye(len(skeleton.names))[[head] * 4]])
    moved = blend_skinning(np.concatenate([vertices, frame]), skeleton.heads, skeleton.parents, weights, rotations)
    origin, axes = moved[-4], moved[-3:] - moved[-4]
    return (moved[:-4] - origin) @ axes.T


def head_rotation(turn: PoseSpec) -> Rotation:
    """How the head is turned against the shoulders; see `PoseSpec` for the signs."""
    yaw, pitch, roll = np.radians([turn.yaw_degrees, turn.pitch_degrees, turn.roll_degrees])
    return Rotation.from_euler("z", yaw) * Rotation.from_euler("x", -pitch) * Rotation.from_euler("y", roll)
