"""A body model fitted to a portrait: its landmarks, and the size of its irises where that can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.body_model.fitting import BodyFit, fit_landmarks
from backend.body_model.registry import landmark_map
from backend.portrait.iris import iris_radius

if TYPE_CHECKING:
    from backend.body_model.base import BodyModel
    from backend.portrait.portrait import Portrait


def fit_portrait(model: BodyModel, portrait: Portrait) -> BodyFit:
    """The person of `portrait` as `model` can have them, in front of the camera that took it."""
    radius = iris_radius(portrait.image, portrait.landmarks)
    size = (portrait.size, portrait.size)
    return fit_landmarks(model, landmark_map(model), portrait.landmarks, size, iris_radius=radius)
