"""The part of a portrait that the networks are shown: the head and its neck, small, without what lies behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.portrait.portrait import Portrait

SHOWN = 0.43
"""Metres across the picture at the head's middle, as in the portraits of the training set."""
CENTRE = (0.0, -0.02, -0.01)
"""What lies in the middle of it, metres, head frame."""


def head_crop(
    portrait: Portrait,
    camera: Camera,
    size: int,
    *,
    shown: float = SHOWN,
    centre: tuple[float, float, float] | Float[np.ndarray, "3"] = CENTRE,
) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"], Camera]:
    """The portrait around `centre` as `size` x `size` pixels, `shown` metres wide there: colours that fade to black
    with the matte, the matte, and the camera. `camera` is that of the whole portrait, as a body fit has it."""
    place = np.array([centre])
    middle = camera.project(place)[0]
    depth = camera.to_camera(place)[0, 2]
    zoom = size / (shown * camera.intrinsics[0, 0] / depth)
    matrix = np.array([[zoom, 0, size / 2 - zoom * middle[0]], [0, zoom, size / 2 - zoom * middle[1]], [0, 0, 1]])
    rgba = np.dstack([portrait.foreground * portrait.matte[..., None], portrait.matte]).astype(np.float32)
    small = _shrink(rgba, matrix, zoom, size)
    return (
        small[..., :3],
        small[..., 3].clip(0, 1),
        Camera(camera.world_to_camera, matrix @ camera.intrinsics, size, size),
    )


def _shrink(rgba: np.ndarray, matrix: np.ndarray, zoom: float, size: int) -> np.ndarray:
    """Resample premultiplied colours, smoothed first where that makes them smaller."""
    if zoom < 1:
        sigma = 0.5 * np.sqrt(1 / zoom**2 - 1)
        rgba = cv2.GaussianBlur(rgba, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    # OpenCV counts from the middle of the first pixel.
    moved = matrix.copy()
    moved[:2, 2] += 0.5 * (matrix[0, 0] - 1)
    return cv2.warpAffine(rgba, moved[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
