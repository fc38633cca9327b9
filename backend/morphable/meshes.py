"""Where a body model's mesh stands in the world that the networks know, and their cameras seen from the head.

One unit is 0.4 m for heads; a body is about 1.2 units high. Only the vertices matter, and different topologies give
different voxels: weights fit the topology that they were trained on. The published ones know FLAME's head and the
"bilinear" topology of FaceScape; weights trained here know the model of the training set, in the head frame.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from backend.body_model.linear import Y_UP_TO_HEAD
from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.body_model.linear import LinearHead
    from backend.morphable.views import Views

_BODY = 0.6


@dataclasses.dataclass(frozen=True)
class Placement:
    """A similarity from metres to the networks' world: ``scale * rotation @ point + shift``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points in the networks' world."""
        return self.scale * points @ self.rotation.T + self.shift

    def after(self, first: Placement) -> Placement:
        """`first`, then this."""
        return Placement(self.scale * first.scale, self.rotation @ first.rotation, self(first.shift))

    def cameras(self, views: Views, subject: int = 0) -> list[Camera]:
        """A subject's views as cameras in metres, for perspective ones: the same pictures of the same head."""
        assert views.projection == "perspective"
        cameras = []
        for lens, matrix in zip(views.intrinsics[subject], views.world_to_camera[subject], strict=True):
            world_to_camera = np.eye(4)
            rotation, shift = matrix[:, :3].double().numpy(), matrix[:, 3].double().numpy()
            world_to_camera[:3, :3] = rotation @ self.rotation
            world_to_camera[:3, 3] = (rotation @ self.shift + shift) / self.scale
            size = views.image_size
            cameras.append(Camera(world_to_camera, lens[:3, :3].double().numpy(), size, size))
        return cameras


HEAD = Placement(2.5, Y_UP_TO_HEAD.T, np.zeros(3))
"""From z up and the face towards -y: the head frame of all body models here, and FaceScape's capture in metres."""

TRACKED = HEAD.after(
    Placement(
        1.087,
        Rotation.from_rotvec((1.6811, -0.026845, -0.028883)).as_matrix(),
        np.array([8.5418e-4, -3.4041e-3, 1.0564e-2]),
    )
)
"""From FLAME's own frame (y up, face towards +z, no head pose): what brings the heads of the authors' tracker to their
FaceScape fits, found by them once on many heads."""


def published_placement(model: LinearHead, identity: Float[np.ndarray, " I"]) -> Placement:
    """From the head frame of a person to where the published weights expect the person's mesh.

    FLAME as the authors' tracker gives it; the bilinear model as FaceScape's scans lie, which it is made from.
    """
    to_file = Placement(1.0, Y_UP_TO_HEAD.T, Y_UP_TO_HEAD.T @ model.origin(identity))
    world = TRACKED if model.name == "flame" else HEAD.after(Placement(1.0, Y_UP_TO_HEAD, np.zeros(3)))
    return world.after(to_file)


def body_placement(vertices: Float[np.ndarray, "n 3"], scale: float) -> Placement:
    """From a body with z up, of which these are all vertices; `scale` is that of its SMPL-X fit."""
    factor = _BODY / scale
    return Placement(factor, np.eye(3), -factor * (vertices.min(0) + vertices.max(0)) / 2)
