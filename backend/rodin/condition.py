"""A real portrait and its body fit as the networks know them from the training set; or a point and a body alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from backend.body_model.controls import control_vertices
from backend.radiance.cameras import Camera
from backend.rodin.base import Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait

_SHOWN = 0.43
"""Metres across the picture at the head's middle, as in the portraits of the training set."""
_CENTRE = (0.0, -0.02, -0.01)


def crop_of(
    portrait: Portrait, fit: BodyFit, size: int
) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"], Camera]:
    """The portrait around the head as `size` x `size` pixels: colours that fade to black with the matte, the matte, and
    the camera."""
    camera = fit.camera
    middle = camera.project(np.array([_CENTRE]))[0]
    depth = camera.to_camera(np.array([_CENTRE]))[0, 2]
    zoom = size / (_SHOWN * camera.intrinsics[0, 0] / depth)
    matrix = np.array([[zoom, 0, size / 2 - zoom * middle[0]], [0, zoom, size / 2 - zoom * middle[1]], [0, 0, 1]])
    rgba = np.dstack([portrait.foreground * portrait.matte[..., None], portrait.matte]).astype(np.float32)
    small = _shrink(rgba, matrix, zoom, size)
    return (
        small[..., :3],
        small[..., 3].clip(0, 1),
        Camera(camera.world_to_camera, matrix @ camera.intrinsics, size, size),
    )


def condition_of(
    portrait: Portrait, fit: BodyFit, size: int, encode: Callable[[Float[Tensor, "B 4 H W"]], Float[Tensor, "B Z"]]
) -> Condition:
    """Crop the portrait to `size` x `size` pixels around the head, and `encode` it to its point; one row."""
    colour, alpha, camera = crop_of(portrait, fit, size)
    rgb = (colour + 0.5 * (1 - alpha[..., None])).clip(0, 1)
    controls = fit.posed()[control_vertices(fit.model)]

    def row(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()[None]

    picture = row(np.dstack([rgb, alpha]).transpose(2, 0, 1))
    matrices = row(camera.world_to_camera), row(camera.intrinsics)
    with torch.no_grad():
        latent = encode(picture)
    return Condition(picture, latent, row(controls), *matrices, torch.ones(1), torch.ones(1))


def condition_without_portrait(latent: Float[Tensor, "B Z"], body: Float[Tensor, "B K 3"], size: int) -> Condition:
    """People that nobody has taken a picture of: points and posed controls (metres)."""
    batch = len(latent)
    empty = torch.zeros((batch, 4, size, size))
    camera, intrinsics = (torch.eye(n).expand(batch, n, n) for n in (4, 3))
    return Condition(empty, latent, body, camera, intrinsics, torch.zeros(batch), torch.ones(batch))


def _shrink(rgba: np.ndarray, matrix: np.ndarray, zoom: float, size: int) -> np.ndarray:
    """Resample premultiplied colours, smoothed first where that makes them smaller."""
    if zoom < 1:
        sigma = 0.5 * np.sqrt(1 / zoom**2 - 1)
        rgba = cv2.GaussianBlur(rgba, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    # OpenCV counts from the middle of the first pixel.
    moved = matrix.copy()
    moved[:2, 2] += 0.5 * (matrix[0, 0] - 1)
    return cv2.warpAffine(rgba, moved[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
