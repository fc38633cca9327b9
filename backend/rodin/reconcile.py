"""Hair and garment of a generated field, brought in line with the picture where the picture shows them.

A generated field knows where hair falls, at the sides and behind as well, but its outline is some millimetres off
everywhere. So it is stretched sideways to the outline that the picture shows, and cut off beyond it. Only what the
field lacks altogether is as the template engine measures it, which knows the outline and nothing else. What the picture
hides is the field's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.meshing.bust import bust_inside
from backend.meshing.levelset import evaluate_grid, extract
from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import rasterize
from backend.meshing.texture import facing, harmonic, mirror_vertices, sample_nearest, smoothstep, visibility
from backend.template.covers import carve, signed_mask_distance
from backend.template.engine import build_volume
from backend.template.volume import SKIN

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
_SKULL = -0.015
"""On the scalp it is asked this much deeper as well: a fit guesses how high a skull under hair is."""
_OFF_SKIN = 0.015
"""Metres from the body from which on matter is no skin: at the nape of long hair the field is not sure what it is."""
_STRETCHED = 0.03
"""Metres by which the field is stretched to an outline at most."""
_DROP = 0.12
"""Metres by which hair is stretched downwards at most."""
_EVEN = 0.008
"""Metres over which that is evened out."""
_RIM = 0.006
"""Metres inside its outline where the field is thick enough to be stretched: at the rim it is noise."""
_COARSE = 96
"""Grid along each edge of the cube with which the field's own outline is found, and gaps in what hangs."""
_FAINT = (0.2, 0.62)
"""Where the picture shows a layer, and the densest place behind a pixel has an opacity between these, it is raised to
the latter..."""
_RAISED = 0.015
"""... evenly over such a part of the picture's side."""
_GAP = (0.025, 0.055)
"""Half the width and half the height, in metres, of gaps in long hair that are closed..."""
_HANGING = -0.02
"""... below this height: hair hangs on, and does not begin anew on the shoulder."""
_SHOULDERS, _LOWER = -0.125, -0.014
"""Below this height of the canonical body its shoulders may stand higher than they do in the field, by so much more."""
_FACING = 0.2
"""Cosine to the camera from which on a picture says that skin is bare."""
_SHOWN = 0.3
"""Of a bare patch on the shoulders, the part of what faces the camera that has to show, or else it is a gap."""
_BEYOND = 0.006
"""Metres by which the visible layer may stand higher over the body than was measured..."""
_BESIDE = 0.014
"""... and beside the body above the brows. Further down hair hangs, and nobody has measured where."""
_HANGS = 0.06
"""Metres by which this grows until there is no limit."""
_RISE, _LOW = 0.03, -0.1
"""Metres inside the outline of the body over which the one goes over into the other, above the brows and below this
height; and metres below the brows from which on hair hangs."""
_BROWS, _HAIRLINE = 0.04, 0.085
"""Heights of the brows, and from which on hair in the picture lies on the skin however it faces, metres."""
_EYES, _TEMPLE = 0.02, 0.02
"""Height of the eyes; and how wide hair beside a temple, and how far from it, may be hair of the side, metres."""
_BEFORE = 0.006
"""Matter that lies at most this far behind the front of the body belongs to the visible layer, metres."""


class Reconciled:
    """The covers of `matter` on the body posed as in `observation`."""

    def __init__(self, matter: Matter, model: BodyModel, observation: Observation) -> None:
        self._matter = matter
        self._volume = build_volume(model, observation)
        self._scalp = model.topology.regions["scalp"] > 0.5
        self._forehead = ~self._scalp & (model.topology.regions["face"] > 0.5) & (model.template[:, 2] > _EYES)
        self._mirror = mirror_vertices(model.template)
        self._layers = np.max(list(self._volume.masks.values()), 0)
        self._layer_distance = signed_mask_distance(self._layers)
        self._person_distance = signed_mask_distance(observation.person)
        self._observation = observation
        told, layer, temples = self._seen(observation.view.vertices)
        self._least = self._least_heights(model, observation.view.vertices, told, layer)
        self._temples = self._volume.samples.at_samples(temples * 1.0)
        self._raise = np.ones(observation.person.shape, np.float32)
        self._raise = self._faint(evaluate_grid(self._learned, self._volume.half_size, _COARSE, 0.0))
        values = evaluate_grid(self._learned, self._volume.half_size, _COARSE, 0.0)
        self._gaps_in_hair = self._closed(values)
        self._lacking, self._sideways = self._off_outline(values)
        self._within, self._width = self._beside_body()
        loose = (model.template[:, 2] < _SHOULDERS) | self._scalp
        self._loose = self._volume.samples.at_samples(loose * 1.0) > 0.5

    def covers(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Opacity in [0, 1] of hair, headwear and garment at points in metres."""
        stretched = self._stretched(points)
        learned = np.maximum(self._learned(stretched), self._in_gaps(stretched))
        camera = self._observation.view.camera
        distance, nearest = self._volume.samples.query(points, limit=_LEAST + 0.5 * _STEEP)
        over = np.flatnonzero(nearest >= 0)
        least = self._least[nearest[over]]
        learned[over] = np.maximum(learned[over], least - np.maximum(distance[over], 0))
        # What the picture shows and the field lacks is as it was measured.
        shown = np.flatnonzero(self._shown(points))
        measured, layer, _ = self._volume.evaluate(points[shown])
        pixels = camera.project(points[shown])
        over_body = np.isfinite(sample_nearest(self._volume.body_depth, pixels, 0.0))
        fill = (sample_nearest(self._lacking, pixels, 0.0) > 0.5) & (layer != SKIN) & ~over_body
        learned[shown[fill]] = np.maximum(learned[shown[fill]], measured[fill])
        # How far a fringe reaches towards the camera no outline tells: it stays near what was measured.
        learned[shown] = np.minimum(learned[shown], measured + self._beyond(points[shown], pixels, over_body))
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
        # Where a shoulder or the skull reaches beyond the outline it is the body that is too large: it stays covered.
        dressed = (least > 0.5 * _LEAST) & self._loose[nearest[over]]
        allowed[over[dressed]] = 1.0
        allowed[near] = np.minimum(allowed[near], self._off_temples(points[near]))
        height = np.minimum(np.minimum(learned, allowed), bust_inside(points, self._volume.half_size))
        return np.clip(0.5 + height / _STEEP, 0, 1)

    def _beyond(
        self, points: Float[np.ndarray, "n 3"], pixels: Float[np.ndarray, "n 2"], over_body: Bool[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """How much higher than measured the visible layer may stand at points, metres: a little over the body; beside
        it more, and further down, where it hangs, anyhow. There is no step between the two."""
        height = points[:, 2]
        hangs = np.clip((_BROWS - height) / _RISE, 0, 1)
        beside = np.where(hangs < 1, _BESIDE + _HANGS * hangs, np.inf)
        rim = np.where(height < _LOW, _RISE, np.where(hangs > 0, 0.0, 0.5 * _BESIDE))
        inner = np.clip(1 - sample_nearest(self._within, pixels, 0.0) / _RISE, 0, 1)
        return np.where(over_body, np.maximum(rim * inner, _BEYOND), beside)

    def _off_temples(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How deep points lie outside what would be a strip of hair on a bare temple, metres."""
        nearest = self._volume.samples.query(points, limit=_TEMPLE)[1]
        narrow = sample_nearest(self._width, self._observation.view.camera.project(points), 0.0) < _TEMPLE
        bare = np.where(narrow & (nearest >= 0), self._temples[np.maximum(nearest, 0)], 0.0)
        return (0.5 - bare) * 2 * _STEEP

    def _learned(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """The field's opacity as if it were a height, metres; raised where it is faint."""
        off_skin = self._volume.samples.query(points, limit=_OFF_SKIN)[1] < 0
        raised = sample_nearest(self._raise, self._observation.view.camera.project(points), 1.0)
        return (np.minimum(self._matter.covers(points, off_skin) * raised, 1) - 0.5) * _STEEP

    def _in_gaps(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How far points lie in gaps of hanging hair, as heights, metres."""
        half = self._volume.half_size
        places = (points + half) * ((_COARSE - 1) / (2 * half))
        return ndimage.map_coordinates(self._gaps_in_hair, places.T, order=1, mode="nearest")

    def _closed(self, values: Float[np.ndarray, "R R R"]) -> Float[np.ndarray, "R R R"]:
        """How far grid points lie in gaps of hanging hair, as heights, metres: `values` are the field's."""
        half, step = self._volume.half_size, 2 * self._volume.half_size / (_COARSE - 1)
        hair = values > 0
        places = np.argwhere(hair) * step - half
        hair[hair] = self._matter.garment(places) < 0.5
        if not hair.any():
            return np.full(values.shape, -_STEEP)
        radii = np.array([_GAP[0], _GAP[0], _GAP[1]]) / step
        away = lambda mask: np.asarray(ndimage.distance_transform_edt(mask, sampling=1 / radii))  # noqa: E731
        closed = away(away(~hair) < 1) > 1
        heights = np.linspace(-half, half, _COARSE)
        closed &= ~hair & (heights < _HANGING)
        level = ndimage.gaussian_filter((closed | hair).astype(np.float32), 0.8) - 0.5
        return np.where(ndimage.binary_dilation(closed, iterations=2), 2 * _STEEP * level, -_STEEP)

    def _faint(self, values: Float[np.ndarray, "R R R"]) -> Float[np.ndarray, "H W"]:
        """By what the field's opacity is multiplied behind each pixel: beside the body the picture is sure that hair or
        cloth is there, where the field, unsure of how far away, has a little of it everywhere."""
        camera, half = self._observation.view.camera, self._volume.half_size
        every = max(1, camera.width // 200)
        beside = ((self._layers > 0.5) & np.isinf(self._volume.body_depth))[::every, ::every]
        rows, columns = np.nonzero(beside)
        pixels = np.stack([columns, rows], -1) * every + 0.5
        densest = np.zeros(len(pixels))
        for depth in camera.to_camera(np.zeros((1, 3)))[0, 2] + np.linspace(-half, half, 48):
            places = camera.unproject(pixels, np.full(len(pixels), depth))
            inside = (places + half) * ((_COARSE - 1) / (2 * half))
            height = ndimage.map_coordinates(values, inside.T, order=1, mode="constant", cval=-_STEEP)
            densest = np.maximum(densest, height / _STEEP + 0.5)
        low, high = _FAINT
        factor, count = np.zeros((2, *beside.shape), np.float32)
        factor[rows, columns] = np.where(densest > low, np.maximum(high / np.maximum(densest, low), 1), 1)
        count[rows, columns] = 1
        total, count = (cv2.GaussianBlur(part, (0, 0), _RAISED * len(part)) for part in (factor, count))
        mean = np.where(beside, total / np.maximum(count, 1e-3), 1).astype(np.float32)
        return cv2.resize(mean, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)

    def _off_outline(
        self, values: Float[np.ndarray, "R R R"]
    ) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W 2"]]:
        """Where the picture shows a layer that the field lacks; and of those pixels that lie beside the body, not far
        from the field's own outline, how far it is to there (columns, rows)."""
        camera = self._observation.view.camera
        vertices, faces = extract(values, self._volume.half_size, 0.0)
        screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
        own = rasterize(screen, faces, camera.height, camera.width).depth < self._volume.body_depth + _BEFORE
        lacking = (self._layers > 0.5) & ~own
        sideways = np.zeros((*lacking.shape, 2), np.float32)
        if not own.any():
            return lacking.astype(np.float32), sideways
        per_metre = camera.intrinsics[0, 0] / float(np.median(screen[:, 2]))
        core = np.asarray(ndimage.distance_transform_edt(own)) > _RIM * per_metre
        core = core if core.any() else own
        rows, columns = np.asarray(ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True))
        here = np.indices(lacking.shape)
        to_own = np.stack([columns - here[1], rows - here[0]], -1)
        away = np.linalg.norm(to_own, axis=-1) / per_metre - _RIM
        beside = lacking & np.isinf(self._volume.body_depth)
        reached = beside & (away < _STRETCHED)
        sideways[reached] = to_own[reached]
        # Hair hangs: further down it is as it is straight above.
        above = np.maximum.accumulate(np.where(core, here[0], -1), 0)
        drop = here[0] - above
        hangs = beside & ~reached & (above >= 0) & (drop < _DROP * per_metre) & (self._observation.hair > 0.5)
        sideways[hangs, 1] = -drop[hangs]
        reached |= hangs
        # Neighbours have other nearest pixels, at other depths: without this the stretched rim is all spikes.
        # Only among themselves: half of the way to the hair above would end in the gap.
        there = (own | reached).astype(np.float32)
        blur = lambda maps: cv2.GaussianBlur(maps, (0, 0), _EVEN * per_metre)  # noqa: E731
        sideways = blur(sideways) * (there / np.maximum(blur(there), 1e-3))[..., None]
        return (lacking & ~reached).astype(np.float32), sideways

    def _beside_body(self) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """How far pixels lie inside the outline of the body, and how wide the layer is that shows beside it there, or
        at the nearest place of the outline; metres."""
        body, metres = np.isfinite(self._volume.body_depth), 1 / self._observation.pixels_per_metre
        within = np.asarray(ndimage.distance_transform_edt(body), np.float32) * metres
        away = np.asarray(ndimage.distance_transform_edt(~body), np.float32) * metres
        width = away + np.maximum(self._layer_distance, 0) * metres
        beside = ~body & (self._layers > 0.5)
        if not beside.any():
            return within, np.zeros_like(within)
        rows, columns = np.asarray(ndimage.distance_transform_edt(~beside, return_distances=False, return_indices=True))
        return within, cv2.GaussianBlur(width[rows, columns], (0, 0), _EVEN / metres)

    def _stretched(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Where the field is asked instead of at `points`: at the same depth, inside its own outline."""
        camera = self._observation.view.camera
        pixels, depth = camera.project(points), camera.to_camera(points)[:, 2]
        row, column = (
            np.clip(pixels[:, k].astype(np.int64), 0, side - 1) for k, side in ((1, camera.height), (0, camera.width))
        )
        moved = self._sideways[row, column] * (depth / camera.intrinsics[0, 0])[:, None]
        return points + moved @ camera.world_to_camera[:2, :3]

    def _least_heights(
        self,
        model: BodyModel,
        vertices: Float[np.ndarray, "V 3"],
        told: Bool[np.ndarray, " V"],
        layer: Float[np.ndarray, " V"],
    ) -> Float[np.ndarray, " n"]:
        """Least height of a cover at each sample of the body, metres; -1 where the body is bare: of vertices that are
        `told` the picture decides, by `layer`, of others the field."""
        faces = self._volume.outer_faces
        used = np.unique(faces)
        normals = vertex_normals(vertices, faces)[used]
        deeper = np.where(model.template[used, 2] < _SHOULDERS, _LOWER, 0.0)
        steps = np.array(_AROUND)[:, None] + deeper * (np.array(_AROUND) < 0)[:, None]
        skull = np.where(self._scalp[used], _SKULL, steps[0])
        asked = (vertices[used] + np.vstack([steps, skull])[..., None] * normals).reshape(-1, 3)
        opacity = np.zeros(len(vertices))
        opacity[used] = self._matter.covers(asked).reshape(len(_AROUND) + 1, -1).max(0)
        smooth = harmonic(faces, np.ones(len(vertices)), opacity[:, None], len(vertices))[:, 0]
        sure = np.where(self._scalp, 0.3, 0.5)
        covered = smoothstep(0, 0.2, smooth - sure)
        covered[self._gaps(model, vertices, covered <= 0)] = 1.0
        covered[told] = layer[told]
        return self._volume.samples.at_samples(np.where(covered > 0, _LEAST * covered, -1.0))

    def _seen(
        self, vertices: Float[np.ndarray, "V 3"]
    ) -> tuple[Bool[np.ndarray, " V"], Float[np.ndarray, " V"], Bool[np.ndarray, " V"]]:
        """Of which vertices the picture tells whether they lie under a layer, whether they do, and which are those of a
        temple that is bare because the other one is."""
        view, faces = self._observation.view, self._volume.outer_faces
        turned = facing(view, vertices, vertex_normals(vertices, faces))
        pixels = view.camera.project(vertices)
        layer, bare = (sample_nearest(each, pixels, 0.0) > 0.5 for each in (self._layers, self._observation.bare))
        # Further down a rim of hair on temple or cheek is hair that hangs before it: there it makes no strip.
        needed = np.where(self._scalp | (vertices[:, 2] > _HAIRLINE), 0.0, 2 * _FACING)
        seen = visibility(view, faces, vertices, 0.004)
        told = (bare & (turned > _FACING)) | (layer & (turned > needed))
        # A strip of hair along the outline of a temple is hair of the side, if the other temple is bare.
        sure = seen & (turned > 2 * _FACING)
        temples = (sure & bare)[self._mirror] & ~(sure & layer) & self._forehead
        return told & seen & ~temples, layer * 1.0, temples

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
