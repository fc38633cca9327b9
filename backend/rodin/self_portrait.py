"""A generated field as its own portrait, for people of whom there is none: what meshing reads of a picture."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

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
_OTHER = 0.5
"""Share of a pixel's matter from which on it is another."""


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
    field: TriPlane, fit: BodyFit, progress: Callable[[float], None] = lambda fraction: None
) -> Observation:
    """What the camera of `fit` sees of `field`, in which matter has classes. Eyes and what lies between the lips are
    nobody's: a field is too coarse for them."""
    camera = fit.camera
    shown = _drawn(field, camera, progress)
    landmarks = camera.project(landmark_map(fit.model).positions(fit.posed()))
    right, left = eye_polygons(landmarks)
    size = camera.height
    openings = np.max([polygon_mask(p, size, grow=2.0) for p in (right, left, inner_lip_polygon(landmarks))], 0)
    nothing = np.zeros(shown.alpha.shape, np.float32)
    return Observation(
        View(shown.image, _skin(shown) * (1 - openings), camera, fit.posed()),
        shown.of("hair", "headwear"),
        shown.of("garment"),
        shown.alpha,
        (nothing, nothing),
        nothing,
        np.ones(shown.alpha.shape, bool),
        face_mask(landmarks, size),
    )


def observe_edit(
    before: TriPlane,
    after: TriPlane,
    fit: BodyFit,
    seen: Observation,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Observation:
    """The portrait that `seen` was, as if its person had been edited as the field `before` was to `after`.

    Where both fields hold the same matter, the portrait keeps its detail and takes on the change of colour alone;
    elsewhere it is what `after` shows. Eyes and what lies between the lips stay the portrait's.
    """
    camera = fit.camera
    old = _drawn(before, camera, lambda part: progress(0.5 * part))
    new = _drawn(after, camera, lambda part: progress(0.5 + 0.5 * part))
    other = 0.5 * np.abs(new.matter - old.matter).sum(-1)
    same = np.clip((_OTHER - other) / _OTHER, 0, 1) * seen.known
    same = np.maximum(same, np.max([*seen.openings, seen.mouth], 0))
    mixed = lambda mine, theirs: (same * mine + (1 - same) * theirs).astype(np.float32)  # noqa: E731
    recoloured = seen.view.image + (new.image - old.image)
    image = same[..., None] * recoloured + (1 - same[..., None]) * new.image
    return dataclasses.replace(
        seen,
        view=dataclasses.replace(seen.view, image=image.clip(0, 1), skin=mixed(seen.view.skin, _skin(new))),
        hair=mixed(seen.hair, new.of("hair", "headwear")),
        garment=mixed(seen.garment, new.of("garment")),
        person=mixed(seen.person, new.alpha),
        known=np.ones(seen.known.shape, bool),
    )


class _Shown(NamedTuple):
    """A field as a camera sees it: straight colours, cover, and how much of which matter."""

    image: Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"]
    matter: Float[np.ndarray, "H W classes"]

    def of(self, *names: str) -> Float[np.ndarray, "H W"]:
        return self.matter[..., [CLASSES.index(name) for name in names]].sum(-1)


def _skin(shown: _Shown) -> Float[np.ndarray, "H W"]:
    return np.clip((shown.of("skin", "beard") - 0.5) / 0.4, 0, 1)


def _drawn(field: TriPlane, camera: Camera, progress: Callable[[float], None]) -> _Shown:
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
    return _Shown(large(drawn.rgb).clip(0, 1), alpha, large(classes).clip(0, 1) * alpha[..., None])
