"""The head as a groom meets it: what strands must stay outside of, and where a posed point is on the template."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.surface import Split, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float

MIDDLE = np.array([0.0, 0.005, 0.035])
"""The middle of the skull on the template, metres."""


@functools.lru_cache(maxsize=2)
def _collision_mesh(model: BodyModel) -> tuple[np.ndarray, Split, np.ndarray, np.ndarray, np.ndarray]:
    """Faces without the mouth, their split, its used vertices, those on the template, and which belong to the ears."""
    faces = model.topology.faces[model.topology.parts["skin"]]
    outside = model.topology.regions["mouth_interior"][faces].max(1) < 0.5
    split = Split.of(faces[outside], len(model.template))
    used = np.unique(split.faces)
    ears = split.linear(model.topology.regions["ears"][:, None])[used, 0]
    return faces, split, used, split.linear(model.template)[used], ears


@dataclasses.dataclass(frozen=True)
class Contact:
    """What is nearest to each point: distance above the skin, the skin's normal, and its place on the template."""

    height: Float[np.ndarray, " n"]
    normal: Float[np.ndarray, "n 3"]
    template: Float[np.ndarray, "n 3"]


class Head:
    """The skin of a posed head, with more room over the shoulders, where the garment lies.

    Long hair falls `over_ears`: there it is pushed to the side, whichever way an ear's skin faces.
    """

    def __init__(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"], *, over_ears: bool = False) -> None:
        faces, split, used, template, ears = _collision_mesh(model)
        normals = vertex_normals(vertices, faces)
        self._points = split.curved(vertices, normals)[used]
        self._normals = unit(split.linear(normals))[used]
        if over_ears:
            sideways = np.sign(template[:, :1]) * [1.0, 0, 0]
            self._normals = unit(self._normals * (1 - ears[:, None]) + sideways * ears[:, None])
        self._template = template
        self._extra = 0.013 * smoothstep(-0.105, -0.15, template[:, 2])
        if over_ears:
            # Long hair falls over a collar, which stands off the neck but leaves the throat free.
            collar = smoothstep(-0.035, -0.085, template[:, 2]) * smoothstep(-0.06, 0.0, template[:, 1])
            self._extra = np.maximum(
                1.4 * self._extra, collar * (0.020 + 0.012 * smoothstep(-0.20, -0.13, template[:, 2]))
            )
            # Around an ear it hangs in one curve from the temple to the nape, or the ear would show as a disc.
            ear = template[(ears > 0.5) & (template[:, 0] > 0)].mean(0)
            beside = np.exp(-(((template[:, 1:] - ear[1:]) / 0.045) ** 2).sum(1)) * (np.abs(template[:, 0]) > 0.045)
            self._extra = np.maximum(self._extra, 0.013 * beside * (1 - ears))
        self._tree = KDTree(self._points)
        skull = template[:, 2] > -0.03
        mean, mean_t = self._points[skull].mean(0), template[skull].mean(0)
        spread = template[skull] - mean_t
        self._scale = (spread * (self._points[skull] - mean)).sum(0) / (spread**2).sum(0)
        self._shift = mean - self._scale * mean_t
        self._radii = self._radial_map(skull & (ears < 0.1))

    def to_template(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Posed points in the proportions of the template; exact only in the mean."""
        return (points - self._shift) / self._scale

    def from_template(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Inverse of `to_template`."""
        return points * self._scale + self._shift

    def contact(self, points: Float[np.ndarray, "n 3"]) -> Contact:
        """The nearest skin of every point."""
        _, nearest = self._tree.query(points)
        normal = self._normals[nearest]
        height = ((points - self._points[nearest]) * normal).sum(1) - self._extra[nearest]
        return Contact(height, normal, self._template[nearest])

    def pushed(
        self,
        points: Float[np.ndarray, "n 3"],
        clearance: Float[np.ndarray, " n"],
        most: Float[np.ndarray, " n"] | None = None,
    ) -> tuple[Float[np.ndarray, "n 3"], Contact]:
        """Points moved to at least `clearance` metres above the skin, and at most `most` where given."""
        contact = self.contact(points)
        lacking = np.clip(clearance - contact.height, 0, 0.04)
        if most is not None:
            lacking = lacking - np.maximum(contact.height - np.maximum(most, clearance), 0)
        # On the shoulders hair slides to the front and the back, not outwards along the arms.
        low = smoothstep(-0.10, -0.14, contact.template[:, 2])[:, None]
        way = unit(contact.normal * (1 - low * [0.75, 0.0, 0.0]))
        along = np.maximum((way * contact.normal).sum(1), 0.4)
        return points + (lacking / along)[:, None] * way, contact

    def surface(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points on the skull (without ears) that lie in `directions` from its `MIDDLE`, in template proportions."""
        x, y, z = np.moveaxis(unit(directions), -1, 0)
        row = (np.arcsin(np.clip(z, -1, 1)) / np.pi + 0.5) * 31
        column = (np.arctan2(x, -y) / (2 * np.pi) + 0.5) * 64
        radius = map_coordinates(self._radii, [row, column], order=1, mode="nearest")
        return MIDDLE + radius[..., None] * unit(directions)

    def _radial_map(self, chosen: np.ndarray) -> Float[np.ndarray, "32 65"]:
        """Radius of the skull by elevation (rows, -90 to 90 degrees) and azimuth (columns, a full turn)."""
        offset = self.to_template(self._points[chosen]) - MIDDLE
        radius = np.linalg.norm(offset, axis=1)
        elevation, azimuth = np.meshgrid(
            np.linspace(-0.5, 0.5, 32) * np.pi, np.linspace(-1, 1, 65) * np.pi, indexing="ij"
        )
        level = np.cos(elevation)
        ways = np.stack([level * np.sin(azimuth), -level * np.cos(azimuth), np.sin(elevation)], -1)
        distance, nearest = KDTree(unit(offset)).query(ways, k=4)
        weight = 1 / (distance + 0.01)
        return (radius[nearest] * weight).sum(-1) / weight.sum(-1)
