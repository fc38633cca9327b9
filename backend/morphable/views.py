"""The cameras of the views, in the authors' conventions: the three trajectories, and points to feature maps.

World: x to the subject's left, y up, z out of the face for heads; x and y level, z up for bodies. `meshes` brings a
body model there. Cameras have OpenCV axes. A position in a map of S x S is an integer pixel coordinate, without half a
pixel of offset, and samples are taken with `align_corners=True`: not quite right, but what the weights have learned.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.morphable.config import Projection

HALF_SIDE = 0.5
"""Of the cube in which the conditioning volume lies."""
REACH = 0.86603
"""Of a frustum, before and behind the world's origin: the radius of the sphere around that cube."""
_NEAREST = 1e-4
_CAPTURE = Path(__file__).parent / "data" / "capture_cameras.npz"


@dataclasses.dataclass(frozen=True)
class Views:
    """N cameras for each of B subjects.

    `world_to_camera` is [R | T]. `intrinsics` map camera coordinates to pixels of a picture of `image_size`
    (perspective) or x and y to [-1, 1] (orthographic, Blender's projection matrix).
    """

    intrinsics: Float[Tensor, "B N 4 4"]
    world_to_camera: Float[Tensor, "B N 3 4"]
    projection: Projection
    image_size: int = 256

    def __len__(self) -> int:
        return self.intrinsics.shape[1]

    def of_subjects(self, count: int, device: torch.device) -> Views:
        """The same in float32 for `count` subjects, who share the views when there is only one set."""
        lens, matrix = (each.to(device).float() for each in (self.intrinsics, self.world_to_camera))
        if len(lens) == 1:
            lens, matrix = lens.expand(count, -1, -1, -1), matrix.expand(count, -1, -1, -1)
        return dataclasses.replace(self, intrinsics=lens, world_to_camera=matrix)

    def sampling_grid(self, points: Float[Tensor, "B P 3"], map_size: int) -> Float[Tensor, "B N P 2"]:
        """Where world points lie in a feature map of each view, (x, y) in [-1, 1]; also those that are out of sight."""
        camera = self._to_map(map_size) @ self.world_to_camera
        seen = points[:, None] @ camera[..., :3].transpose(-1, -2) + camera[..., None, :, 3]
        if self.projection == "orthographic":
            return seen[..., :2]
        return seen[..., :2] / seen[..., 2:].clamp(min=_NEAREST) * 2 / (map_size - 1) - 1

    def frustum_depths(self, planes: int) -> Float[Tensor, "B N D"]:
        """Depths of the planes of each view's frustum, which spans the sphere around the cube."""
        rotation, translation = self.world_to_camera[..., :3], self.world_to_camera[..., 3:]
        distance = (rotation.transpose(-1, -2) @ translation).norm(dim=(-2, -1))
        steps = torch.linspace(-REACH, REACH, planes, device=distance.device)
        return distance[..., None] + steps

    def frustum_points(self, planes: int, map_size: int) -> Float[Tensor, "B N D S S 3"]:
        """World positions behind the pixels of a feature map, at all depths."""
        depth = self.frustum_depths(planes)[..., None, None]
        pixels = torch.arange(map_size, device=depth.device, dtype=depth.dtype)
        if self.projection == "orthographic":
            pixels = pixels * 2 / (map_size - 1) - 1
        rows, columns = torch.meshgrid(pixels, pixels, indexing="ij")
        screen = torch.stack([columns, rows, torch.ones_like(rows)], -1).flatten(0, 1)
        level = screen @ torch.linalg.inv(self._to_map(map_size)).transpose(-1, -2)
        if self.projection == "orthographic":
            shape = (*depth.shape[:3], len(screen))
            across = level[:, :, None, :, :2].expand(*shape, 2)
            seen = torch.cat([across, depth.expand(*shape, 1)], -1)
        else:
            seen = level[:, :, None] * depth
        rotation, translation = self.world_to_camera[..., :3], self.world_to_camera[..., 3]
        points = (seen.flatten(2, 3) - translation[..., None, :]) @ rotation
        return points.unflatten(2, (planes, map_size, map_size))

    def _to_map(self, map_size: int) -> Float[Tensor, "B N 3 3"]:
        """Intrinsics in pixels of a feature map."""
        if self.projection == "orthographic":
            return self.intrinsics[..., :3, :3]
        ratio = map_size / self.image_size
        return self.intrinsics[..., :3, :3] * torch.tensor([[ratio], [ratio], [1.0]], device=self.intrinsics.device)


def face_views(count: int = 16, radius: float = 4.5, focal: float = 1545.23757707405, image_size: int = 256) -> Views:
    """From the subject's right ear to the left one, level with the head. `focal` in pixels, `radius` in world units."""
    azimuth = np.radians(np.linspace(-90, 90, count))
    sine, cosine, zero, one = np.sin(azimuth), np.cos(azimuth), np.zeros(count), np.ones(count)
    rotation = _rows([(cosine, zero, -sine), (zero, -one, zero), (-sine, zero, -cosine)])
    centre = radius * np.stack([sine, zero, cosine], -1)
    intrinsics = np.array([[focal, 0, image_size / 2], [0, focal, image_size / 2], [0, 0, 1]])
    return _views(np.broadcast_to(intrinsics, (count, 3, 3)), rotation, centre, "perspective", image_size)


def capture_views() -> Views:
    """Sixteen cameras of the rig that the published heads were trained on, as released with their code."""
    with np.load(_CAPTURE) as file:
        intrinsics, matrix = file["intrinsics"], file["world_to_camera"]
    rotation = matrix[..., :3]
    centre = -(rotation.transpose(0, 2, 1) @ matrix[..., 3:])[..., 0]
    return _views(intrinsics, rotation, centre, "perspective", 256)


def body_views(count: int = 16, radius: float = 1.5, scale: float = 1.2, image_size: int = 256) -> Views:
    """Once around the body at its middle's height, beginning on +x. `scale` is the width of the picture."""
    azimuth = np.arange(count) / count * 2 * np.pi
    sine, cosine, zero, one = np.sin(azimuth), np.cos(azimuth), np.zeros(count), np.ones(count)
    rotation = _rows([(-sine, cosine, zero), (zero, zero, -one), (-cosine, -sine, zero)])
    centre = radius * np.stack([cosine, sine, zero], -1)
    near, far = 0.1, 100.0
    lens = np.zeros((count, 4, 4))
    lens[:, 0, 0] = lens[:, 1, 1] = 2 / scale
    lens[:, 2, 2], lens[:, 2, 3], lens[:, 3, 3] = -2 / (far - near), -(far + near) / (far - near), 1
    return _views(lens, rotation, centre, "orthographic", image_size)


def _rows(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Float[np.ndarray, "N 3 3"]:
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _views(
    intrinsics: np.ndarray, rotation: np.ndarray, centre: np.ndarray, projection: Projection, image_size: int
) -> Views:
    lens = np.broadcast_to(np.eye(4), (len(rotation), 4, 4)).copy()
    side = intrinsics.shape[-1]
    lens[:, :side, :side] = intrinsics
    matrix = np.concatenate([rotation, -rotation @ centre[..., None]], -1)
    return Views(torch.from_numpy(lens)[None], torch.from_numpy(matrix)[None], projection, image_size)
