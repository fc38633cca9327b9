"""Meshes of body models in the world that the networks know: one unit is 0.4 m for heads, a body is about 1.2 high.

Only the vertices matter. Different topologies give different voxels, so weights fit the topology that they were trained
on; the published ones know FLAME's head and the "bilinear" topology of FaceScape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from jaxtyping import Float

UNITS_PER_METRE = 2.5
_BODY = 0.6
_Z_UP_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])

# From a FLAME head of the authors' face tracker to their FaceScape head, found once by them on many heads.
_TRACKED_SCALE = 1.087
_TRACKED_TURN = (1.6811, -0.026845, -0.028883)
_TRACKED_SHIFT = (8.5418e-4, -3.4041e-3, 1.0564e-2)


def head_to_world(vertices: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Metres with z up and the face towards -y (ours, and FaceScape's after its scale) to the networks' world."""
    return UNITS_PER_METRE * vertices @ _Z_UP_TO_Y_UP.T


def head_camera_to_world(world_to_camera: Float[np.ndarray, "*n 3 4"]) -> Float[np.ndarray, "*n 3 4"]:
    """[R | T] of a camera that sees the mesh before `head_to_world`, for the mesh after it."""
    rotation, shift = world_to_camera[..., :3], world_to_camera[..., 3:]
    return np.concatenate([rotation @ _Z_UP_TO_Y_UP.T, UNITS_PER_METRE * shift], -1)


def tracked_to_world(vertices: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """FLAME's own frame (metres, y up, face towards +z, no head pose) to the networks' world, as published."""
    turned = Rotation.from_rotvec(_TRACKED_TURN).apply(_TRACKED_SCALE * vertices)
    return head_to_world(turned + np.array(_TRACKED_SHIFT)).astype(vertices.dtype)


def body_to_world(vertices: Float[np.ndarray, "n 3"], scale: float) -> Float[np.ndarray, "n 3"]:
    """A body with z up around the world's origin; `scale` is the SMPL-X fit's own (`vertices` include it)."""
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) * (_BODY / scale)
