"""Ratios by which faces are judged human, measured on the body model's own landmarks."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel

if TYPE_CHECKING:
    from jaxtyping import Float

# MediaPipe's landmarks: https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker
_POINTS = {
    "brow": 9, "chin": 152, "cheek left": 454, "cheek right": 234, "jaw left": 397, "jaw right": 172,
    "nose left": 358, "nose right": 129, "nose root": 168, "nose base": 2, "mouth left": 291, "mouth right": 61,
    "eye left in": 362, "eye left out": 263, "eye right in": 133, "eye right out": 33,
}  # fmt: skip


@functools.lru_cache(maxsize=2)
def _anchors(model: BodyModel):
    from backend.body_model.registry import landmark_map

    return landmark_map(model)


def proportions(model: BodyModel, identity: Float[np.ndarray, " I"]) -> dict[str, float]:
    """The ratios of `distributions.json`, section shape, of a neutral head."""
    marks = _anchors(model).positions(model.neutral(identity))

    def apart(a: str, b: str) -> float:
        return float(np.linalg.norm(marks[_POINTS[a]] - marks[_POINTS[b]]))

    width, height = apart("cheek left", "cheek right"), apart("brow", "chin")
    left = (marks[_POINTS["eye left in"]] + marks[_POINTS["eye left out"]]) / 2
    right = (marks[_POINTS["eye right in"]] + marks[_POINTS["eye right out"]]) / 2
    pupils = float(np.linalg.norm(left - right))
    eye = (apart("eye left in", "eye left out") + apart("eye right in", "eye right out")) / 2
    return {
        "face height / face width": height / width,
        "pupil distance / face width": pupils / width,
        "nose width / face width": apart("nose left", "nose right") / width,
        "mouth width / face width": apart("mouth left", "mouth right") / width,
        "jaw width / face width": apart("jaw left", "jaw right") / width,
        "nose height / face height": apart("nose root", "nose base") / height,
        "eye width / pupil distance": eye / pupils,
    }
