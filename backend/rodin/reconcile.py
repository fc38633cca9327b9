"""Hair and garment of a generated field, brought in line with the picture where the picture shows them.

A sampled field knows what hair looks like from behind, but its outline is a few millimetres off everywhere. The
template engine measures the outline and knows nothing else. Together: inside the outline of the visible layer there is
matter at least as high as was measured, outside of it there is none, and what the picture hides is the field's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.meshing.mesh import vertex_normals
from backend.meshing.texture import harmonic, sample_nearest, smoothstep
from backend.template.covers import carve, signed_mask_distance
from backend.template.engine import build_volume
from backend.template.volume import SKIN, bust_inside

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from backend.body_model.base import BodyModel
    from backend.meshing.observation import Observation
    from backend.radiance.matter import Matter

_STEEP = 0.012
"""Metres over which opacity goes from 0 to 1, for heights and opacities to be comparable."""
_LEAST = 0.005
"""Metres by which a cover stands off the body at least: where the field has it a little lower, skin would show."""
_AROUND = (-0.008, -0.002, 0.004)
"""Heights over the skin, in metres, at which the field is asked whether it is covered there."""
_SHOULDERS, _LOWER = -0.125, -0.014
"""Below this height of the canonical body its shoulders may stand higher than they do in the field, by so much more."""
_SHOWN = 0.3
"""Of a bare patch on the shoulders, the part of what faces the camera that has to show, or else it is a gap."""
_BEYOND = 0.008
"""Metres by which the visible layer may stand higher than was measured."""
_BEFORE = 0.006
"""Matter that lies at most this far behind the front of the body belongs to the visible layer, metres."""


class Reconciled:
    """The covers of `matter` on the body posed as in `observation`."""

    def __init__(self, matter: Matter, model: BodyModel, observation: Observation) -> None:
        self._matter = matter
        self._volume = build_volume(model, observation)
        self._layers = np.max(list(self._volume.masks.values()), 0)
        self._layer_distance = signed_mask_distance(self._layers)
        self._person_distance = signed_mask_distance(observation.person)
        self._observation = observation
        self._least = self._least_heights(model, observation.view.vertices)
        self._on_shoulders = self._volume.samples.at_samples((model.template[:, 2] < _SHOULDERS) * 1.0) > 0.5

    def covers(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Opacity in [0, 1] of hair, headwear and garment at points in metres."""
        learned = (self._matter.covers(points) - 0.5) * _STEEP
        camera = self._observation.view.camera
        distance, nearest = self._volume.samples.query(points, limit=_LEAST + 0.5 * _STEEP)
        over = np.flatnonzero(nearest >= 0)
        least = self._least[nearest[over]]
        learned[over] = np.maximum(learned[over], least - np.maximum(distance[over], 0))
        near = learned > -0.45 * _STEEP
        allowed = np.full(len(points), 1.0)
        allowed[near] = carve(
            points[near],
            camera,
            self._volume.body_depth,
            self._layer_distance,
            self._person_distance,
            self._observation.known,
        )
        # Where a shoulder reaches beyond the outline it is the body that is too wide: it stays dressed.
        dressed = (least > 0.5 * _LEAST) & self._on_shoulders[nearest[over]]
        allowed[over[dressed]] = 1.0
        height = np.minimum(learned, allowed)
        shown = np.flatnonzero(self._shown(points))
        measured, layer, _ = self._volume.evaluate(points[shown])
        # How far a fringe reaches towards the camera no outline tells: it stays near what was measured.
        height[shown] = np.clip(height[shown], np.where(layer == SKIN, -1.0, measured), measured + _BEYOND)
        height = np.minimum(height, bust_inside(points, self._volume.half_size))
        return np.clip(0.5 + height / _STEEP, 0, 1)

    def _least_heights(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " n"]:
        """Least height of a cover at each sample of the body, metres; -1 where the field has the body bare."""
        faces = self._volume.outer_faces
        used = np.unique(faces)
        normals = vertex_normals(vertices, faces)[used]
        deeper = np.where(model.template[used, 2] < _SHOULDERS, _LOWER, 0.0)
        steps = np.array(_AROUND)[:, None] + deeper * (np.array(_AROUND) < 0)[:, None]
        asked = (vertices[used] + steps[..., None] * normals).reshape(-1, 3)
        opacity = np.zeros(len(vertices))
        opacity[used] = self._matter.covers(asked).reshape(len(_AROUND), -1).max(0)
        smooth = harmonic(faces, np.ones(len(vertices)), opacity[:, None], len(vertices))[:, 0]
        covered = smoothstep(0.5, 0.7, smooth)
        covered[self._gaps(model, vertices, covered <= 0)] = 1.0
        return self._volume.samples.at_samples(np.where(covered > 0, _LEAST * covered, -1.0))

    def _gaps(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"], bare: Bool[np.ndarray, " V"]) -> np.ndarray:
        """Vertices of bare patches on the shoulders that garment surrounds and the picture does not show: there the
        field's shoulders are lower than the body's, and nobody meant a hole."""
        faces = self._volume.outer_faces
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = edges[bare[edges].all(1)]
        graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(bare), len(bare)))
        _, patch = connected_components(graph, directed=False)
        view = self._observation.view
        facing = (vertex_normals(vertices, faces) * (view.camera.centre - vertices)).sum(1) > 0
        shown = facing & (sample_nearest(self._observation.bare, view.camera.project(vertices), 0.0) > 0.5)
        size = patch.max() + 1
        kept = np.bincount(patch[shown], minlength=size) > _SHOWN * np.bincount(patch[facing], minlength=size)
        kept[patch[model.template[:, 2] >= _SHOULDERS]] = True
        return bare & ~kept[patch]

    def _shown(self, points: Float[np.ndarray, "n 3"]) -> np.ndarray:
        """Where the picture shows a layer at the point or before it."""
        camera = self._observation.view.camera
        pixels = camera.project(points)
        depth = camera.to_camera(points)[:, 2]
        inside = sample_nearest(self._layers.astype(np.float32), pixels, 0.0) > 0.3
        return inside & (depth < sample_nearest(self._volume.body_depth, pixels, 0.0) + _BEFORE)
