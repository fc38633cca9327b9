"""Landmarks of a rendered head: exact by construction, because the surface that carries them is known."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from backend.body_model.registry import landmark_map

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from backend.radiance.cameras import Camera

_SLACK = 0.004
"""Metres that a landmark may lie behind the first surface of its pixel and still count as seen."""


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """MediaPipe's 478 landmarks of one view.

    `points` in the head frame, metres; `pixels` with pixel centres at +0.5; `visible` where the landmark lies in the
    picture and nothing (hair, glasses, the head itself) stands before it.
    """

    points: Float[np.ndarray, "L 3"]
    pixels: Float[np.ndarray, "L 2"]
    visible: Bool[np.ndarray, " L"]


def landmark_points(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], irises: Float[np.ndarray, "2 3"] | None = None
) -> Float[np.ndarray, "L 3"]:
    """Landmarks on a posed head, metres.

    Args:
        model: whose measured landmark map is used.
        vertices: as rendered.
        irises: centres of the left and right iris on the turned eyeballs; the map's own without them.
    """
    points = landmark_map(model).positions(vertices)
    if irises is not None and len(points) >= 478:
        # MediaPipe counts the character's right iris first: 468 to 472, then the left one.
        for first, centre in ((468, irises[1]), (473, irises[0])):
            points[first : first + 5] += centre - points[first]
    return points


def see(
    points: Float[np.ndarray, "L 3"],
    normals: Float[np.ndarray, "L 3"],
    camera: Camera,
    depth: Float[np.ndarray, "H W"],
) -> Landmarks:
    """Where the landmarks are in a view, and which of them show.

    `depth` is the view's planar depth, 0 where there is nothing; `normals` point outwards. A pixel is as deep as its
    centre: on a surface seen at a slant the landmark may lie half a pixel's slope from it, which is allowed for.
    """
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(1)
    column, row = np.clip(pixels.astype(int), 0, [camera.width - 1, camera.height - 1]).T
    there = depth[row, column]
    distance = camera.to_camera(points)[:, 2]
    towards = camera.centre - points
    cosine = (towards / np.linalg.norm(towards, axis=1, keepdims=True) * normals).sum(1)
    slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, 0.15)
    slack = _SLACK + slope * distance / camera.intrinsics[0, 0]
    visible = inside & (cosine > 0) & (there > 0) & (distance < there + slack)
    return Landmarks(points, pixels, visible)
