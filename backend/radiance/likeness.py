"""What a portrait shows beyond a field's own colours, laid over the places that it shows and over no others.

Fitting planes to one picture prints the face on the back of the head, because a texel is a whole line through space.
Here planes stay as they are: the difference between the portrait and the field's own view of itself is kept as a
picture, and a point takes its colour from there when it lies on the surface that the portrait sees. Density never
changes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.cameras import Camera
    from backend.radiance.renderer import Rendering

_NEAR, _FAR = 0.008, 0.020
"""Metres from the visible surface up to which a point is on it, and from which it is not."""
_GRAZING, _FACING = 0.15, 0.5
"""Cosines between surface and camera from which a pixel begins to count, and from which it counts fully."""
_BROAD = 0.02
"""Metres over which light varies and features do not."""


@dataclasses.dataclass(frozen=True)
class Likeness:
    """`difference` sRGB, times how far each pixel is believed; `depth` planar, metres, 0 where there is nobody;
    `world_to_camera` and `intrinsics` (pixels of `difference`) of the portrait's camera."""

    difference: Float[Tensor, "3 H W"]
    depth: Float[Tensor, "H W"]
    world_to_camera: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]

    @classmethod
    def between(
        cls,
        portrait: Float[np.ndarray, "H W 3"],
        matte: Float[np.ndarray, "H W"],
        drawn: Rendering,
        camera: Camera,
        light: float = 0.5,
    ) -> Likeness:
        """What `portrait` (sRGB, foreground colours) shows beyond `drawn`, the field seen by the same `camera`.

        `light` in [0, 1] is the part of the broad difference that is kept: broad differences are the photographer's
        light as often as the person's colours.
        """
        import cv2  # here, because trainers import fields and need no OpenCV

        unit = float(camera.intrinsics[0, 0] / np.median(drawn.depth[drawn.depth > 0])) if drawn.depth.any() else 1.0
        believed = _facing(drawn.depth, camera) * (drawn.alpha > 0.7) * np.clip((matte - 0.7) / 0.3, 0, 1)
        believed = cv2.GaussianBlur(cv2.erode(believed.astype(np.float32), np.ones((3, 3))), (0, 0), 0.0015 * unit)
        off = (portrait - drawn.rgb).astype(np.float32)
        total = cv2.GaussianBlur(believed, (0, 0), _BROAD * unit)[..., None]
        broad = cv2.GaussianBlur(off * believed[..., None], (0, 0), _BROAD * unit) / np.maximum(total, 1e-3)
        difference = (off - (1 - light) * broad) * believed[..., None]
        return cls(
            torch.from_numpy(np.ascontiguousarray(difference.transpose(2, 0, 1))).float(),
            torch.from_numpy(np.where(drawn.alpha > 0.5, drawn.depth, 0)).float(),
            torch.from_numpy(camera.world_to_camera).float(),
            torch.from_numpy(camera.intrinsics).float(),
        )

    def __call__(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """What to add to the colours of points (metres)."""
        seen = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        pixels = seen @ self.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:].clamp(min=1e-3)
        height, width = self.depth.shape
        grid = (pixels / pixels.new_tensor([width, height]) * 2 - 1)[None, :, None]
        colour = F.grid_sample(self.difference[None], grid, padding_mode="zeros", align_corners=False)[0, :, :, 0].T
        depth = F.grid_sample(self.depth[None, None], grid, mode="nearest", padding_mode="zeros", align_corners=False)
        off = (seen[:, 2] - depth[0, 0, :, 0]).abs()
        on_it = ((_FAR - off) / (_FAR - _NEAR)).clamp(0, 1)
        return colour * on_it[:, None]

    def to(self, device: torch.device | str) -> Likeness:
        """Copy on another device."""
        return Likeness(*(value.to(device) for value in dataclasses.astuple(self)))


def _facing(depth: Float[np.ndarray, "H W"], camera: Camera) -> Float[np.ndarray, "H W"]:
    """How far the surface of a depth map faces the camera, 0 to 1."""
    import cv2

    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    places = camera.unproject(np.stack([columns, rows], -1), depth)
    places = cv2.GaussianBlur(places, (0, 0), max(1.0, camera.width / 128))
    normals = np.cross(np.gradient(places, axis=1), np.gradient(places, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    away = places - camera.centre
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-12)
    cosine = np.abs((normals * away).sum(-1)) * (depth > 0)
    return np.clip((cosine - _GRAZING) / (_FACING - _GRAZING), 0, 1)
