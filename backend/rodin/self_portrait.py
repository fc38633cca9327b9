"""A generated field as its own portrait, for people of whom there is none: what meshing reads of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.body_model.base import defaults
from backend.body_model.fitting import BodyFit
from backend.body_model.registry import landmark_map
from backend.meshing.observation import Observation
from backend.meshing.texture import View
from backend.portrait.face_regions import eye_polygons, face_mask, inner_lip_polygon, polygon_mask
from backend.radiance.cameras import Camera
from backend.radiance.decoder import CLASSES
from backend.radiance.matter import Matter
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from backend.body_model.base import BodyModel
    from backend.radiance.triplane import TriPlane

_DRAWN = 256
"""Pixels of the field's picture: finer than its planes."""


def frontal_fit(model: BodyModel, identity: Float[np.ndarray, " I"], size: int) -> BodyFit:
    """A person in a neutral expression before a camera that looks the head in the face from 1.1 m."""
    camera = Camera.orbit(0, 0, distance=1.1, fov_degrees=23, size=size, target=(0, 0, -0.03))
    landmarks = len(landmark_map(model).positions(model.template))
    return BodyFit(
        model,
        identity,
        defaults(model.expression_parameters),
        camera,
        np.zeros((2, 2)),
        np.zeros_like(model.template),
        np.zeros(landmarks),
    )


def observe_field(
    field: TriPlane,
    fit: BodyFit,
    seen: Observation | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Observation:
    """What the camera of `fit` sees of `field`, in which matter has classes.

    With `seen`, the observation of a real portrait by the same camera, skin that is skin in both keeps the portrait's
    pixels. Eyes and what lies between the lips are the portrait's or nobody's: a field is too coarse for them.
    """
    camera = fit.camera
    small = camera.resized(_DRAWN, round(_DRAWN * camera.height / camera.width))
    drawn = render_view(field, small, occupancy=OccupancyGrid.build(field), progress=progress)
    rows, columns = np.nonzero(drawn.alpha > 0.05)
    places = small.unproject(np.stack([columns, rows], -1) + 0.5, drawn.depth[rows, columns].astype(np.float64))
    classes = np.zeros((*drawn.alpha.shape, len(CLASSES)), np.float32)
    classes[rows, columns] = Matter(field).classes(places)
    large = lambda image: cv2.resize(  # noqa: E731
        image.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_LINEAR
    )
    alpha = large(drawn.alpha).clip(0, 1)
    of = lambda *names: large(classes[..., [CLASSES.index(n) for n in names]].sum(-1)).clip(0, 1) * alpha  # noqa: E731
    landmarks = camera.project(landmark_map(fit.model).positions(fit.posed()))
    right, left = eye_polygons(landmarks)
    size = camera.height
    openings = np.max([polygon_mask(p, size, grow=2.0) for p in (right, left, inner_lip_polygon(landmarks))], 0)
    nothing = np.zeros(alpha.shape, np.float32)
    skin = np.clip((of("skin", "beard") - 0.5) / 0.4, 0, 1)
    image = large(drawn.rgb)
    eyes, mouth = (nothing, nothing), nothing
    if seen is not None:
        real = (seen.view.skin * skin)[..., None]
        image = seen.view.image * real + image * (1 - real)
        eyes, mouth = seen.openings, seen.mouth
    return Observation(
        View(image.clip(0, 1), skin * (1 - openings), camera, fit.posed()),
        of("hair", "headwear"),
        of("garment"),
        alpha,
        eyes,
        mouth,
        np.ones(alpha.shape, bool) if seen is None else seen.known,
        face_mask(landmarks, size),
    )
