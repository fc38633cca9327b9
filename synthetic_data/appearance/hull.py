"""What clothes are cut from, the hull around the body, and the head that hangs over their collars."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance import collars, cutting
from synthetic_data.appearance.atlas import ValueNoise, smoothstep
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.pieces import boundary_edges
from synthetic_data.identity import GarmentSpec
from synthetic_data.surface import Patch, extract, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Head:
    """Where the head hangs over a collar: points of the skin and their normals."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]

    @classmethod
    def of(cls, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> Head:
        skin = model.topology.faces[model.topology.parts["skin"]]
        used = np.unique(skin)
        return cls(vertices[used], vertex_normals(vertices, skin)[used])

    @functools.cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points)

    def room(self, edge: collars.Edge, most: float) -> Float[np.ndarray, " n"]:
        """How far a collar may stand up from each point of its edge before it meets jaw or chin, at most `most`."""
        heights = np.linspace(0, most + 0.004, 24)
        at = edge.points[:, None] + heights[:, None] * edge.up + 0.004 * edge.out[:, None]
        nearest = self._tree.query(at)[1]
        clear = ((at - self.points[nearest]) * self.normals[nearest]).sum(-1) > 0.002
        free = np.where(clear.all(1), most, heights[(~clear).argmax(1)] - 0.004)
        # A chin lowers the collar all around it, not in a notch.
        mode = "wrap" if edge.closed else "nearest"
        free = ndimage.minimum_filter1d(free, 9, mode=mode)
        return np.clip(ndimage.gaussian_filter1d(free, 3, mode=mode), 0.002, most)

    def lean(self, edge: collars.Edge, rise: Float[np.ndarray, " n"], air: float) -> Float[np.ndarray, " n"]:
        """Metres outwards per metre upwards of a collar that stands `rise` high with about `air` metres to the neck."""
        top = edge.points + rise[:, None] * edge.up
        nearest = self._tree.query(top)[1]
        gap = ((top - self.points[nearest]) * self.normals[nearest]).sum(-1)
        mode = "wrap" if edge.closed else "nearest"
        return np.clip(ndimage.gaussian_filter1d((air - gap) / np.maximum(rise, 0.01), 5, mode=mode), -1.0, 0.2)


def make_hull(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: GarmentSpec) -> Patch:
    """The refined hull, lifted clear of the skin, looser towards the hem, with a few soft folds.

    The attribute "above" is the way from the skin to the hull.
    """
    topology = model.topology
    triangles = topology.parts["garment"]
    faces = topology.faces[triangles]
    uvs = topology.uvs[topology.uv_faces[triangles]]
    hull = extract(vertices, faces, uvs, {"template": model.template}).refined(2)
    template = hull.attributes["template"]
    normals = vertex_normals(hull.vertices, hull.faces)
    loose = smoothstep(-0.12, -0.25, template[:, 2])
    fold = ValueNoise(spec.seed % 65536)(template * [1.6, 1.6, 0.7], 16, 2) - 0.5
    lift = 0.006 + loose * (0.002 + 0.006 * spec.fit + (0.004 + 0.010 * spec.fit) * fold)
    points = hull.vertices + lift[:, None] * normals
    skin = topology.faces[topology.parts["skin"]]
    used = np.unique(skin)
    _, nearest = KDTree(vertices[used]).query(points)
    skin_normals = vertex_normals(vertices, skin)[used][nearest]
    height = ((points - vertices[used][nearest]) * skin_normals).sum(1)
    points = points + np.clip(0.0045 - height, 0, 0.03)[:, None] * skin_normals
    above = np.clip(height, 0.0045, 0.03)[:, None] * skin_normals
    return dataclasses.replace(hull, vertices=points, attributes={**hull.attributes, "above": above})


def skin_border(model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "n 3"]:
    """Points close together along the line where the bust's cut goes through the skin."""
    skin = model.topology.faces[model.topology.parts["skin"]]
    cut = clip(extract(vertices, skin, np.zeros((len(skin), 3, 2))), cutting.bust(model.template)[np.unique(skin)])
    edges = boundary_edges(cut.faces)
    edges = edges[(np.abs(cut.attributes["cut"][edges, 0]) < 1e-5).all(1)]
    a, b = cut.vertices[edges[:, 0]], cut.vertices[edges[:, 1]]
    return np.concatenate([a + t * (b - a) for t in np.linspace(0, 0.875, 8)])
