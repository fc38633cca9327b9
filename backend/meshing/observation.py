"""One portrait laid over the fitted body: what each pixel shows, in the form that meshing and texturing read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.meshing.texture import View
from backend.portrait.face_regions import eye_polygons, inner_lip_polygon, polygon_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait


@dataclasses.dataclass(frozen=True)
class Observation:
    """A `view` of the posed body with soft masks in [0, 1] over its pixels.

    `hair` includes headwear; `person` is the matte; `openings` are the visible eyeballs, left and right;
    `mouth` is what shows between the lips; `known` is false outside the picture.
    """

    view: View
    hair: Float[np.ndarray, "H W"]
    garment: Float[np.ndarray, "H W"]
    person: Float[np.ndarray, "H W"]
    openings: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]
    mouth: Float[np.ndarray, "H W"]
    known: Bool[np.ndarray, "H W"]


def observe(portrait: Portrait, fit: BodyFit) -> Observation:
    """Lay `portrait` over the body that was fitted to it."""
    segmentation, landmarks, size = portrait.segmentation, portrait.landmarks, portrait.size
    unit = float(np.linalg.norm(landmarks[468] - landmarks[473]))

    def soft(polygon: np.ndarray, grow: float = 0.0) -> np.ndarray:
        return cv2.GaussianBlur(polygon_mask(polygon, size, grow=grow).astype(np.float32), (0, 0), 0.012 * unit)

    right, left = eye_polygons(landmarks)
    mouth = inner_lip_polygon(landmarks)
    # Lids and lips are read a little away from the openings, where lashes, teeth and shadow begin.
    openings = np.maximum(np.maximum(soft(right, 0.045 * unit), soft(left, 0.045 * unit)), soft(mouth, 0.02 * unit))
    skin = np.clip(segmentation.skin, 0, 1)
    skin = cv2.GaussianBlur(_shrunk(skin, 0.02 * unit), (0, 0), 0.015 * unit) * portrait.inside
    view = View(portrait.foreground, skin * (1 - openings), fit.camera, fit.posed())
    return Observation(
        view,
        segmentation.hair * portrait.matte,
        segmentation.garment * portrait.matte,
        portrait.matte,
        (soft(left), soft(right)),
        soft(mouth),
        portrait.inside,
    )


def _shrunk(mask: Float[np.ndarray, "H W"], pixels: float) -> Float[np.ndarray, "H W"]:
    radius = max(1, round(pixels))
    return cv2.erode(
        mask.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    )
