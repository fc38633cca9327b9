"""Regions of the face as polygons of MediaPipe's landmarks, and as masks of pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np
from skimage import draw

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# Rings of landmark numbers; right and left are the person's own.
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
FACE_OVAL += (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_IRIS_RING = (469, 470, 471, 472)
LEFT_IRIS_RING = (474, 475, 476, 477)


@dataclasses.dataclass(frozen=True)
class Iris:
    """Circle of an iris in crop pixels."""

    centre: Float[np.ndarray, "2"]
    radius: float


def eye_polygons(landmarks: Float[np.ndarray, "478 2"]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of the lid openings, the person's right eye first, 16 × 2 each."""
    return landmarks[list(RIGHT_EYE)], landmarks[list(LEFT_EYE)]


def inner_lip_polygon(landmarks: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "20 2"]:
    """Outline of the opening between the lips, through which the mouth's inside shows; flat if it is closed."""
    return landmarks[list(INNER_LIPS)]


def outer_lip_polygon(landmarks: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "20 2"]:
    """Outline of both lips together, the mouth opening included."""
    return landmarks[list(OUTER_LIPS)]


def irises(landmarks: Float[np.ndarray, "478 2"]) -> tuple[Iris, Iris]:
    """Both irises, the person's right one first."""
    right, left = landmarks[list(RIGHT_IRIS_RING)], landmarks[list(LEFT_IRIS_RING)]
    return _circle(landmarks[468], right), _circle(landmarks[473], left)


def _circle(centre: np.ndarray, ring: np.ndarray) -> Iris:
    return Iris(centre.copy(), float(np.linalg.norm(ring - centre, axis=1).mean()))


def polygon_mask(polygon: Float[np.ndarray, "n 2"], size: int, *, grow: float = 0.0) -> Bool[np.ndarray, "S S"]:
    """Pixels whose centre lies inside a polygon, after growing it (or shrinking, if negative) by `grow` pixels."""
    mask = np.zeros((size, size), np.uint8)
    mask[draw.polygon(polygon[:, 1] - 0.5, polygon[:, 0] - 0.5, mask.shape)] = 1
    radius = round(abs(grow))
    if radius:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        mask = (cv2.dilate if grow > 0 else cv2.erode)(mask, disc)
    return mask > 0


def face_mask(landmarks: Float[np.ndarray, "478 2"], size: int) -> Bool[np.ndarray, "S S"]:
    """Pixels inside the face oval, from chin to the usual hairline."""
    return polygon_mask(landmarks[list(FACE_OVAL)], size)


def feature_mask(landmarks: Float[np.ndarray, "478 2"], size: int, *, grow: float) -> Bool[np.ndarray, "S S"]:
    """Brows, eyes and lips with a margin of `grow` pixels: what is neither plain skin nor hair of the head."""
    rings = (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, OUTER_LIPS)
    return np.logical_or.reduce([polygon_mask(landmarks[list(ring)], size, grow=grow) for ring in rings])
