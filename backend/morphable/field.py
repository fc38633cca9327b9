"""The engine's second half: views to a tri-plane, in the place of the paper's separate reconstruction (section 4.3).

Views are small and show a person from a dozen sides, too few for a shape out of nothing. So the known shape goes first:
the fitted body with the layers that the portrait's outline tells, as the template engine has it. The views then settle
colours all round and move outlines; where they say something else than a layer does, it yields, and the body never.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy import ndimage

from backend.body_model.controls import control_vertices
from backend.meshing.bust import bust_inside
from backend.meshing.rasterizer import rasterize
from backend.morphable.engine import draw_views
from backend.radiance.canonical import Fovea, warp_grid
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import RenderConfig, render_view
from backend.radiance.supervision import PointSamples, View
from backend.template.engine import HALF_SIZE, build_volume, field_of_points, labelled_points, outer_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Bool, Float, Int

    from backend.body_model.fitting import BodyFit
    from backend.meshing.observation import Observation
    from backend.morphable.engine import DrawnViews
    from backend.morphable.model import MorphableDiffusion
    from backend.portrait.portrait import Portrait
    from backend.radiance.cameras import Camera
    from backend.radiance.triplane import TriPlane
    from backend.template.engine import TemplateSettings

_WHITE, _PAINTED = 240 / 255, 215 / 255
"""A pixel whose darkest channel is above the one is nobody (as in the authors' export), below the other somebody."""
_REACH = 0.06
"""Metres by which an outline may lie beyond the known shape's."""
_BEFORE = 0.03
"""Metres by which a shoulder that the bust leaves out stands before what it hides."""
_SURFACE = 0.012
"""Metres from the visible surface within which a point has a view's colour."""
_DOUBT = 0.5
"""Weight of "nothing here" where no view sees through."""
_DRAWN = 128
"""Pixels at which the known shape's depth is drawn at most."""
_QUICK = RenderConfig(coarse_samples=64, fine_samples=16)
_PORTRAIT = 192
"""Pixels of the portrait as a view."""
_IN_FRONT = 1e-3
"""A depth before the cube: what lies behind such a pixel is not seen (`supervision.crop_view`)."""


def generate_field(
    model: MorphableDiffusion,
    portrait: Portrait,
    fit: BodyFit,
    observation: Observation,
    settings: TemplateSettings,
    seed: int,
    *,
    expression: Mapping[str, float] | None = None,
    steps: int = 20,
    device: str = "auto",
    progress: Callable[[float], None] = lambda fraction: None,
) -> TriPlane:
    """The whole engine: `engine.draw_views`, then `fit_field`. Raises as the former."""
    drawn = draw_views(
        model,
        portrait,
        fit,
        seed=seed,
        expression=expression,
        steps=steps,
        device=device,
        progress=lambda part: progress(0.6 * part),
    )
    return fit_field(drawn, fit, observation, settings, seed, lambda part: progress(0.6 + 0.4 * part))


def fit_field(
    drawn: DrawnViews,
    fit: BodyFit,
    observation: Observation,
    settings: TemplateSettings,
    seed: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TriPlane:
    """The field of a person, in the pose of the portrait that `fit` and `observation` are of.

    Planes are those of the expression that was `drawn`; where that is not the portrait's, a warp leads from one to the
    other, so that portrait, field, mesh and rig stay together. `progress` gets the finished fraction and may raise.
    """
    model = fit.model
    view = dataclasses.replace(observation.view, vertices=drawn.vertices)
    there = dataclasses.replace(observation, view=view)
    volume = build_volume(model, there)
    progress(0.15)
    known = labelled_points(model, there, volume, settings.points, np.random.default_rng(seed))
    progress(0.35)
    shape = field_of_points(known, settings, seed, lambda part: progress(0.35 + 0.15 * part))
    faces = outer_faces(model)
    pictures = posed_pictures(drawn, shape, faces, lambda part: progress(0.5 + 0.1 * part))
    posed = fit.posed()
    is_as_seen = np.array_equal(posed, drawn.vertices)
    pictures += (portrait_picture(there, shape, faces, with_face=is_as_seen),)
    field = field_of_points(
        yielding(known, pictures), settings, seed, lambda part: progress(0.6 + 0.4 * part), pictures
    )
    if is_as_seen:
        return field
    controls = control_vertices(model)
    here, away = (torch.from_numpy(vertices[controls]).float() for vertices in (posed, drawn.vertices))
    straight = Fovea(strength=(0.0, 0.0, 0.0))
    return dataclasses.replace(field, warp=warp_grid(here, away, field.half_size, straight))


def posed_pictures(
    drawn: DrawnViews,
    shape: TriPlane,
    faces: Int[np.ndarray, "F 3"],
    progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[View, ...]:
    """The views with matte and depth: what is white is nobody, unless the body is there; depth is that of the known
    `shape`, carried on beyond its outline. `faces` are the body's outer triangles over `drawn.vertices`."""
    known = _KnownShape(shape, drawn.vertices, faces)
    views = []
    for number, (picture, camera) in enumerate(zip(drawn.pictures, drawn.cameras, strict=True)):
        matte = np.clip((_WHITE - picture.min(-1)) / (_WHITE - _PAINTED), 0, 1)
        views.append(known.posed(picture, matte, camera))
        progress((number + 1) / len(drawn.cameras))
    return tuple(views)


def portrait_picture(
    observation: Observation, shape: TriPlane, faces: Int[np.ndarray, "F 3"], *, with_face: bool = True
) -> View:
    """The portrait as one more view, whose matte is better than any that was drawn; the face is no part of it where
    another expression was drawn."""
    camera = observation.view.camera.resized(_PORTRAIT, _PORTRAIT)
    small = lambda image: cv2.resize(image.astype(np.float32), (_PORTRAIT,) * 2, interpolation=cv2.INTER_AREA)  # noqa: E731
    matte = small(observation.person)
    over_white = small(observation.view.image * observation.person[..., None]) + 1 - matte[..., None]
    known = _KnownShape(shape, observation.view.vertices, faces)
    shown = observation.known & (with_face | ~observation.face)
    return known.posed(over_white, matte, camera, small(shown) > 0.99, fill=False)


class _KnownShape:
    """The `shape` that goes first, and the whole body in it, of which its bust leaves the shoulders out."""

    def __init__(self, shape: TriPlane, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        self._shape, self._vertices, self._faces = shape, vertices, faces
        self._grid = OccupancyGrid.build(shape, 64)

    def posed(
        self,
        picture: Float[np.ndarray, "S S 3"],
        matte: Float[np.ndarray, "S S"],
        camera: Camera,
        valid: Bool[np.ndarray, "S S"] | None = None,
        *,
        fill: bool = True,
    ) -> View:
        """`picture`, over white, as a view of a person; `valid` is false where it shows nothing at all. With `fill` the
        body shows in it wherever it should."""
        depth, body = self._depths(camera)
        if not (depth > 0).any():
            return View(picture, np.zeros_like(depth), np.zeros_like(depth), camera)
        away = ndimage.distance_transform_edt(depth <= 0, return_indices=True)
        assert away is not None
        to_shape, nearest = away
        filled = depth[tuple(nearest)]
        matte = matte.copy()
        if fill:
            matte[ndimage.binary_erosion(np.isfinite(body) & (depth > 0))] = 1
        metres = float(np.median(depth[depth > 0])) / camera.intrinsics[0, 0]
        matte[np.asarray(to_shape) * metres > _REACH] = 0
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        places = camera.unproject(np.stack([columns, rows], -1), filled)
        hidden = (bust_inside(places.reshape(-1, 3), HALF_SIZE) < 0).reshape(depth.shape) & (matte > 0)
        hidden |= body < filled - _BEFORE
        if valid is not None:
            hidden |= ~valid
        straight = (picture - (1 - matte[..., None])) / np.maximum(matte[..., None], 0.1)
        known = np.where(hidden, _IN_FRONT, np.where(matte > 0, filled, 0))
        return View(straight.clip(0, 1).astype(np.float32), matte.astype(np.float32), known.astype(np.float32), camera)

    def _depths(self, camera: Camera) -> tuple[Float[np.ndarray, "S S"], Float[np.ndarray, "S S"]]:
        """Of the shape (metres, 0 where it is not) and of the body (infinite where it is not)."""
        small = camera.resized(min(camera.width, _DRAWN), min(camera.height, _DRAWN))
        seen = render_view(self._shape, small, occupancy=self._grid, config=_QUICK)
        size = (camera.width, camera.height)
        depth = cv2.resize(np.where(seen.alpha > 0.5, seen.depth, 0), size, interpolation=cv2.INTER_NEAREST)
        screen = np.c_[camera.project(self._vertices), camera.to_camera(self._vertices)[:, 2]]
        return depth, rasterize(screen, self._faces, camera.height, camera.width).depth


def yielding(samples: PointSamples, pictures: Sequence[View]) -> PointSamples:
    """`samples` without what the pictures know better: layers through which they see, free space through which none
    does, and the colours of the surfaces that they show."""
    through, shown = np.zeros(len(samples.points), int), np.zeros(len(samples.points), bool)
    for view in pictures:
        rows, columns, inside = _pixels(view.camera, samples.points)
        matte, depth = view.alpha[rows, columns], view.depth[rows, columns]
        through += inside & (depth == 0) & (matte < 0.1)
        off = np.abs(view.camera.to_camera(samples.points.astype(np.float64))[:, 2] - depth)
        shown |= inside & (matte > 0.9) & (off < _SURFACE)
    matter = samples.occupancy > 0.5
    # Views go on below the bust and beside it, the field does not.
    sure = (through > 0) | (bust_inside(samples.points.astype(np.float64), HALF_SIZE) < 0)
    weight = np.where(matter, through < 2, np.where(sure, 1.0, _DOUBT))
    return dataclasses.replace(
        samples,
        occupancy_weights=(samples.occupancy_weights * weight).astype(np.float32),
        colour_weights=(samples.colour_weights * ~shown).astype(np.float32),
    )


def _pixels(camera: Camera, points: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, " n"]]:
    """Row, column, and whether the point lies in the picture."""
    columns, rows = np.floor(camera.project(points.astype(np.float64))).astype(int).T
    inside = (rows >= 0) & (rows < camera.height) & (columns >= 0) & (columns < camera.width)
    return rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1), inside
