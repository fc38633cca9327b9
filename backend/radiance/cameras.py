"""Pinhole cameras in OpenCV axes, and the only place where other conventions are converted.

Pixel centres lie at +0.5, so ``u = fx * x / z + cx`` with ``cx = width / 2`` for a centred camera.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# Blender's and nerfstudio's cameras look along -Z with +Y up; OpenCV's look along +Z with +Y down.
_FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Camera:
    """`world_to_camera` 4x4 (OpenCV axes: x right, y down, z forward, metres), `intrinsics` 3x3 in pixels."""

    world_to_camera: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    width: int
    height: int

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        """Position of the camera in the world, metres."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ translation

    def to_camera(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """World points in camera axes; the last coordinate is the planar depth in metres."""
        return points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixel coordinates (u right, v down) of world points in front of the camera."""
        p = self.to_camera(points) @ self.intrinsics.T
        return p[..., :2] / p[..., 2:]

    def unproject(self, pixels: Float[np.ndarray, "*n 2"], depth: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
        """World points at planar `depth` (metres) behind `pixels`."""
        homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
        camera_points = homogeneous @ np.linalg.inv(self.intrinsics).T * depth[..., None]
        return (camera_points - self.world_to_camera[:3, 3]) @ self.world_to_camera[:3, :3]

    def rays(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "H W 3"]]:
        """Origin, and directions through all pixel centres with unit *camera z*, so that depth is the ray parameter."""
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        pixels = np.stack([u, v, np.ones_like(u)], -1)
        directions = pixels @ np.linalg.inv(self.intrinsics).T @ self.world_to_camera[:3, :3]
        return self.centre, directions

    def resized(self, width: int, height: int) -> Camera:
        """The same view with another number of pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return Camera(self.world_to_camera, scale @ self.intrinsics, width, height)

    @classmethod
    def look_at(
        cls,
        position: Float[np.ndarray, "3"],
        target: Float[np.ndarray, "3"],
        *,
        fov_degrees: float,
        size: int,
    ) -> Camera:
        """A square, upright camera (+Z of the world is up) with horizontal field of view `fov_degrees`."""
        forward = np.asarray(target, float) - np.asarray(position, float)
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ np.asarray(position, float)
        focal = 0.5 * size / np.tan(np.radians(fov_degrees) / 2)
        intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
        return cls(matrix, intrinsics, size, size)

    @classmethod
    def orbit(
        cls,
        azimuth_degrees: float,
        elevation_degrees: float,
        *,
        distance: float,
        fov_degrees: float,
        size: int,
        target: tuple[float, float, float] = (0.0, 0.0, -0.04),
    ) -> Camera:
        """A camera on a sphere around the head. Azimuth 0 looks at the face, +90 at the character's left side (+X)."""
        azimuth, elevation = np.radians(azimuth_degrees), np.radians(elevation_degrees)
        direction = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        centre = np.asarray(target, float)
        return cls.look_at(centre + distance * direction, centre, fov_degrees=fov_degrees, size=size)

    def to_blender_matrix(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world with Blender's (and nerfstudio's, and OpenGL's) axes: `camera.matrix_world`."""
        return np.linalg.inv(self.world_to_camera) @ _FLIP_YZ

    @classmethod
    def from_blender_matrix(
        cls, matrix_world: Float[np.ndarray, "4 4"], intrinsics: Float[np.ndarray, "3 3"], width: int, height: int
    ) -> Camera:
        """Inverse of `to_blender_matrix`."""
        return cls(np.linalg.inv(matrix_world @ _FLIP_YZ), intrinsics, width, height)
