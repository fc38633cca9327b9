"""Similarity transforms between a picture and an upright, square crop of head and shoulders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# The radiance field's cube reaches 0.25 m from the head's origin; a pupil distance is about 63 mm.
HALF_SIZE = 4.2
"""Half the crop's side in interpupillary distances."""
_BEHIND_EYES = 75 / 63
_BELOW_EYES = 45 / 63

RIGHT_IRIS, LEFT_IRIS = 468, 473


def pupil_distance(landmarks: Float[np.ndarray, "478 2"], depth: Float[np.ndarray, "478"]) -> float:
    """Distance of the iris centres in pixels, foreshortening undone by the landmarks' relative depth."""
    points = np.column_stack([landmarks, depth])
    return float(np.linalg.norm(points[LEFT_IRIS] - points[RIGHT_IRIS]))


def source_to_crop(
    landmarks: Float[np.ndarray, "478 2"], depth: Float[np.ndarray, "478"], yaw: float, size: int
) -> Float[np.ndarray, "3 3"]:
    """Similarity from picture pixels to the crop: eyes level, the head's middle (not the face's) in the centre.

    `yaw` in degrees moves the centre from the face back to the head, so that a turned head stays in the crop.
    """
    right, left = landmarks[RIGHT_IRIS], landmarks[LEFT_IRIS]
    along = (left - right) / np.linalg.norm(left - right)
    down = np.array([-along[1], along[0]])
    unit = pupil_distance(landmarks, depth)
    centre = (left + right) / 2 + unit * (_BELOW_EYES * down - _BEHIND_EYES * np.sin(np.radians(yaw)) * along)
    return similarity(centre, np.arctan2(along[1], along[0]), size / (2 * HALF_SIZE * unit), size)


def similarity(centre: Float[np.ndarray, "2"], roll: float, scale: float, size: int) -> Float[np.ndarray, "3 3"]:
    """Transform that brings `centre` to the middle of a `size`² crop, turned back by `roll` radians and scaled."""
    c, s = scale * np.cos(roll), scale * np.sin(roll)
    linear = np.array([[c, s], [-s, c]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = size / 2 - linear @ centre
    return matrix


def transform_points(matrix: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """Apply an affine 3×3 matrix to pixel coordinates."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of(matrix: Float[np.ndarray, "3 3"]) -> float:
    """Length scale of a similarity."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def warp(image: np.ndarray, matrix: Float[np.ndarray, "3 3"], size: int) -> np.ndarray:
    """Resample H×W or H×W×C by a similarity into a `size`² picture, smoothed first where it shrinks.

    Beyond the picture its border pixels are repeated, so that no dark edge leaks in; see `inside_mask`.
    """
    scale = scale_of(matrix)
    image, matrix = _needed_part(image, matrix, size)
    if scale < 1:
        sigma = 0.5 * np.sqrt(1 / scale**2 - 1)
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    warped = cv2.warpAffine(image, _centred(matrix), (size, size), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
    return warped if warped.dtype == np.uint8 else warped.clip(0, 1)


def _needed_part(image: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that the crop shows, with room for filters, and the transform from there."""
    corners = transform_points(np.linalg.inv(matrix), np.array([[0, 0], [size, 0], [0, size], [size, size]], float))
    margin = 4 + 4 / scale_of(matrix)
    width, height = image.shape[1], image.shape[0]
    low = np.clip(np.floor(corners.min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), low + 1, [width, height]).astype(int)
    moved = matrix.copy()
    moved[:2, 2] += matrix[:2, :2] @ low
    return np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), moved


def inside_mask(height: int, width: int, matrix: Float[np.ndarray, "3 3"], size: int) -> Bool[np.ndarray, "S S"]:
    """Crop pixels whose centre lies inside the source picture."""
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    x, y = np.moveaxis(transform_points(np.linalg.inv(matrix), grid), -1, 0)
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def _centred(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "2 3"]:
    """The same transform for OpenCV, whose pixel centres lie at whole numbers."""
    moved = matrix[:2].copy()
    moved[:, 2] += moved[:, :2] @ [0.5, 0.5] - 0.5
    return moved
