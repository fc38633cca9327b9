"""The volume that the template engine believes in: the fitted body, with hair and garment as layers over it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.bust import bust_inside
from backend.meshing.distance import SurfaceSamples
from backend.meshing.rasterizer import rasterize
from backend.template.covers import Cover, carve, cover_height, signed_mask_distance

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from backend.meshing.texture import View

SKIN, HAIR, GARMENT = 0, 1, 2


_BELIEVED = {HAIR: 0.0055, GARMENT: 0.008}


@dataclasses.dataclass
class TemplateVolume:
    """Signed height of any point under the outermost surface, and which layer it belongs to.

    `outer_faces` are the outer skin and the eyeballs of the posed body, `cover_faces` those of them that layers rest
    on. `covers` maps `HAIR` and `GARMENT` to their layers; `masks` to their soft masks in `view`; `person` is the
    matte, `known` false outside the picture.
    """

    view: View
    outer_faces: Int[np.ndarray, "F 3"]
    cover_faces: Int[np.ndarray, "f 3"]
    covers: dict[int, Cover]
    masks: dict[int, Float[np.ndarray, "H W"]]
    person: Float[np.ndarray, "H W"]
    known: Bool[np.ndarray, "H W"]
    half_size: float

    def __post_init__(self) -> None:
        camera, vertices = self.view.camera, self.view.vertices
        self.samples = SurfaceSamples.spread(vertices, self.outer_faces, 0.004)
        self._cover_samples = SurfaceSamples.spread(vertices, self.cover_faces, 0.004)
        screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
        self.body_depth = rasterize(screen, self.outer_faces, camera.height, camera.width).depth
        self._person_distance = signed_mask_distance(self.person)
        self._class_distance = {k: signed_mask_distance(mask) for k, mask in self.masks.items()}

    def evaluate(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Height in metres (positive inside, exact only near the surface), layer, and nearest sample (-1 if far)."""
        distance, nearest = self.samples.query(points, limit=0.12)
        value = np.where(np.isfinite(distance), -distance, -0.12)
        layer = np.full(len(points), SKIN)
        over = np.flatnonzero((distance > -0.02) & (distance < 0.1))
        cover_distance, cover_nearest = self._cover_samples.query(points[over], limit=0.12)
        for kind, cover in self.covers.items():
            height = np.full(len(points), -1.0)
            height[over] = cover_height(cover, self._cover_samples, cover_distance, cover_nearest)
            candidates = np.flatnonzero((height > -0.03) & (height > value))
            allowed = carve(
                points[candidates],
                self.view.camera,
                self.body_depth,
                self._class_distance[kind],
                self._person_distance,
                self.known,
            )
            # Right over the skin a layer is believed even where the body reaches beyond the outline.
            allowed = np.where(distance[candidates] < _BELIEVED[kind], np.inf, allowed)
            height[candidates] = np.minimum(height[candidates], allowed)
            above = np.zeros(len(points), bool)
            above[candidates] = height[candidates] > value[candidates]
            value[above], layer[above] = height[above], kind
        return np.minimum(value, bust_inside(points, self.half_size)), layer, nearest
