"""The template engine: the fitted body and layers measured from the portrait's outline, as a tri-plane radiance field.

No learned prior. It is the floor that every other engine must beat.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from backend.meshing.mesh import Mesh
from backend.meshing.texture import mirror_vertices, sample_image, sample_nearest, vertex_tone
from backend.template.covers import CoverPrior, measure_cover
from backend.template.volume import GARMENT, HAIR, SKIN, TemplateVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, Int

    from backend.meshing.observation import Observation
    from backend.radiance.fitting import FitConfig
    from backend.radiance.supervision import PointSamples
    from backend.radiance.supervision import View as PosedPicture
    from backend.radiance.triplane import TriPlane

HALF_SIZE = 0.25
_BAND = 0.012
"""Points this close to the surface (metres) get a colour."""
_OVERLAP = 0.005
# How much of the time is over once the volume stands, and once the points are labelled; the rest goes to the planes.
_VOLUME_SHARE, _POINTS_SHARE = 0.12, 0.65


@dataclasses.dataclass(frozen=True)
class TemplateSettings:
    """Size of the fit: labelled points, and steps and plane sizes of the field."""

    points: int = 260_000
    steps: int = 260
    level_sizes: tuple[int, ...] = (32, 64, 128)


def outer_faces(model: BodyModel) -> Int[np.ndarray, "F 3"]:
    """Skin without the lining of the mouth and the eye sockets, and the eyeballs: what the head looks like outside."""
    topology = model.topology
    skin = topology.faces[topology.parts["skin"]]
    inner = topology.regions["mouth_interior"] > 0.5
    eyes = np.concatenate([topology.faces[topology.parts[part]] for part in ("eye_left", "eye_right")])
    return np.concatenate([skin[~inner[skin].any(1)], eyes])


def build_volume(model: BodyModel, observation: Observation) -> TemplateVolume:
    """Measure hair and garment on the posed body of `observation`."""
    faces = outer_faces(model)
    template, regions = model.template, model.topology.regions
    masks = {HAIR: observation.hair, GARMENT: observation.garment}
    # Layers reach a little too far over bare skin, so that their textures can cut the true border out of them: it is
    # finer than any grid.
    masks = {kind: observation.grown(mask, _OVERLAP) for kind, mask in masks.items()}
    hair_prior = CoverPrior(regions["scalp"], thickness=0.016, facing_limit=0.016, least=0.005, evidence=(0.1, 0.5))
    # Hair hangs over ears, it does not follow their folds.
    smooth_faces = faces[(regions["ears"] < 0.5)[faces].all(1)]
    hair = measure_cover(observation.view, smooth_faces, masks[HAIR], observation.person, observation.known, hair_prior)
    below_collar = np.clip((-0.125 - template[:, 2] - 0.35 * (template[:, 1] - 0.03)) / 0.02, 0, 1)
    garment_prior = CoverPrior(below_collar, thickness=0.010, facing_limit=0.014, least=0.006, evidence=(0.02, 0.15))
    garment = measure_cover(
        observation.view, faces, masks[GARMENT], observation.person, observation.known, garment_prior
    )
    return TemplateVolume(
        observation.view,
        faces,
        smooth_faces,
        {HAIR: hair, GARMENT: garment},
        masks,
        observation.person,
        observation.known,
        HALF_SIZE,
    )


def fit_field(
    model: BodyModel,
    observation: Observation,
    settings: TemplateSettings,
    seed: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TriPlane:
    """The template's radiance field of one person. `progress` gets the finished fraction and may raise to stop."""
    volume = build_volume(model, observation)
    progress(_VOLUME_SHARE)
    samples = labelled_points(model, observation, volume, settings.points, np.random.default_rng(seed))
    progress(_POINTS_SHARE)
    return field_of_points(
        samples, settings, seed, lambda fraction: progress(_POINTS_SHARE + (1 - _POINTS_SHARE) * fraction)
    )


def field_of_points(
    samples: PointSamples,
    settings: TemplateSettings,
    seed: int,
    progress: Callable[[float], None] = lambda fraction: None,
    views: Sequence[PosedPicture] = (),
) -> TriPlane:
    """A field of labelled points and, where there are any, posed pictures."""
    import torch

    from backend.radiance.fitting import FitConfig, fit_triplane

    starts = tuple(np.linspace(0, 0.4, len(settings.level_sizes)).tolist())
    config: FitConfig = FitConfig(
        half_size=HALF_SIZE, level_sizes=settings.level_sizes, level_starts=starts, steps=settings.steps
    )
    generator = torch.Generator().manual_seed(seed)
    return fit_triplane(samples, views, config=config, generator=generator, progress=progress)


def labelled_points(
    model: BodyModel, observation: Observation, volume: TemplateVolume, count: int, generator: np.random.Generator
) -> PointSamples:
    """Points with occupancy and colour: two thirds around the surface, the rest all over the cube."""
    from backend.radiance.supervision import PointSamples

    spread = generator.uniform(-HALF_SIZE, HALF_SIZE, (count // 3, 3))
    spread_value, spread_layer, spread_nearest = volume.evaluate(spread)
    # Points near the surface are found by moving around those that are near it already.
    near = spread[np.abs(spread_value) < 0.02]
    around = near[generator.integers(0, len(near), count - len(spread))]
    around = np.clip(around + generator.normal(0, 0.006, around.shape), -HALF_SIZE, HALF_SIZE)
    around_value, around_layer, around_nearest = volume.evaluate(around)
    points = np.concatenate([spread, around])
    value = np.concatenate([spread_value, around_value])
    layer = np.concatenate([spread_layer, around_layer])
    nearest = np.concatenate([spread_nearest, around_nearest])
    # A soft step over 2 mm keeps the level set smooth on planes with texels of 4 mm.
    occupancy = 1 / (1 + np.exp(-np.clip(value / 0.001, -12, 12)))
    colours = _colours(model, observation, volume, points, layer, nearest)
    return PointSamples(
        points.astype(np.float32),
        occupancy.astype(np.float32),
        colours.astype(np.float32),
        np.ones(len(points), np.float32),
        (np.abs(value) < _BAND).astype(np.float32),
    )


def _colours(
    model: BodyModel,
    observation: Observation,
    volume: TemplateVolume,
    points: Float[np.ndarray, "n 3"],
    layer: Int[np.ndarray, " n"],
    nearest: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3"]:
    """Colour of the surface near each point: the picture where it shows that layer, its typical tone elsewhere."""
    view, faces = observation.view, volume.outer_faces
    mesh = Mesh(view.vertices, faces, np.zeros((1, 2)), np.zeros_like(faces))
    tone = vertex_tone(mesh, view, faces, mirror_vertices(model.template))
    result = volume.samples.at_samples(tone)[np.maximum(nearest, 0)]
    pixels = view.camera.project(points)
    image = sample_image(view.image, pixels)
    # In front of the body, or at its visible surface: what the picture shows there is this point.
    behind = view.camera.to_camera(points)[:, 2] - sample_nearest(volume.body_depth, pixels, np.inf)
    shows = {SKIN: view.skin, HAIR: observation.hair, GARMENT: observation.garment}
    for kind, mask in shows.items():
        chosen = layer == kind
        seen = np.maximum(mask, 0 if kind == SKIN else view.skin)  # a layer's overlap looks like what it lies on
        shown = chosen & (behind < 0.004) & (sample_image(seen[..., None], pixels)[:, 0] > 0.6)
        if kind != SKIN and (mask > 0.6).any():
            result[chosen] = np.median(view.image[mask > 0.6], 0)
        result[shown] = image[shown]
    return result
