"""The engine's first half: a portrait, its body fit and an expression become views that agree in 3D (section 4.3 of the
paper). `field` makes a tri-plane of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.api import ErrorCode
from backend.body_model.expressions import in_expression
from backend.body_model.linear import LinearHead
from backend.errors import MaquetteError
from backend.meshing.mesh import vertex_normals
from backend.morphable.heads import as_signed, into_world, over_white, skin_vertices
from backend.morphable.meshes import HEAD, published_placement
from backend.morphable.projection import above_cut, drawn_triangles, lay, shown_in, surface_of
from backend.morphable.sampler import sample
from backend.morphable.scene import make_scene
from backend.morphable.views import Views, face_views
from backend.portrait.head_crop import CENTRE, head_crop
from synthetic_data.cameras import orbit_rig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit
    from backend.morphable.config import MorphableConfig
    from backend.morphable.model import MorphableDiffusion
    from backend.portrait.portrait import Portrait
    from backend.radiance.cameras import Camera

_FOCAL = 1545.23757707405 / 256
_RADIUS = 4.5
"""Of the published weights' cameras: focal length in widths of the picture, and distance in units of the world."""
_SHOWN = 0.44
"""Metres across the portraits of the training set, whatever their focal length (`synthetic_data.record`)."""
_FINE = 256
"""Pixels of the crop that a small picture is made from by areas, as those of the training set are."""


@dataclasses.dataclass(frozen=True)
class DrawnViews:
    """N views of a person in one expression: `pictures` sRGB in [0, 1] over white; `cameras` in metres, head frame;
    `vertices` (metres) of the body in that expression; `shown`, the picture that the networks were given."""

    pictures: Float[np.ndarray, "N S S 3"]
    cameras: tuple[Camera, ...]
    vertices: Float[np.ndarray, "V 3"]
    shown: Float[np.ndarray, "S S 3"]


def require_body_model(config: MorphableConfig, name: str) -> None:
    """Refuse weights for heads of another body model than `name`, or for no heads: `MaquetteError` (BAD_REQUEST)."""
    if config.projection != "perspective":
        raise _refused("These weights draw whole bodies: take weights of heads.")
    if config.mesh_model != name:
        raise _refused(
            f"These weights know the vertices of the body model {config.mesh_model!r}, not those of {name!r}: "
            f"choose --body-model {config.mesh_model}."
        )


def draw_views(
    model: MorphableDiffusion,
    portrait: Portrait,
    fit: BodyFit,
    *,
    seed: int,
    expression: Mapping[str, float] | None = None,
    count: int | None = None,
    steps: int = 20,
    guidance: float | None = None,
    device: str = "auto",
    progress: Callable[[float], None] = lambda fraction: None,
) -> DrawnViews:
    """The person of `portrait` from `count` sides (those of `model.config` if not said), the character's right first.

    `expression` are weights of ARKit's shapes; None is the portrait's own. `steps` of DDIM with eta 1, `guidance` as in
    the paper, that of `model.config` if not said. `device` is one of `backend.api.DEVICES`; noise is drawn on the CPU,
    so a seed means the same on all. `progress` gets the finished fraction after each step and may raise to cancel.

    Raises `MaquetteError` (BAD_REQUEST) when the weights are for another body model or another number of views, or when
    there is no such device.
    """
    config = model.config
    require_body_model(config, fit.model.name)
    count = count or config.views
    if config.dense_branch and count != config.views:
        raise _refused(f"These weights draw {config.views} views, not {count}.")
    vertices = in_expression(fit, expression)
    if config.mesh_model == "anny":
        stage = _of_the_set(config, fit.model, vertices, count)
    else:
        stage = _as_published(config, fit, vertices, count)
    picture, camera = _picture_of(portrait, fit, config.image_size, stage)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, config.map_channels, config.map_size, config.map_size), generator=generator)
    place = _device(device)
    model = model.to(place)
    with torch.no_grad():
        signed = as_signed(picture)
        drawn = _drawn(config, fit, vertices, signed[0], camera, stage) if config.projected else None
        condition = model.condition(signed.to(place), noise.to(place), None if drawn is None else drawn.to(place))
    scene = make_scene(stage.views, torch.from_numpy(stage.mesh).float()[None].to(place), config)
    guidance = config.guidance if guidance is None else guidance
    drawn = sample(model, scene, condition, generator, steps=steps, guidance=guidance, progress=progress)[0]
    return DrawnViews(
        drawn.permute(0, 2, 3, 1).float().cpu().numpy(),
        stage.cameras,
        vertices,
        (picture[0].permute(1, 2, 0).float() / 255).numpy(),
    )


@dataclasses.dataclass(frozen=True)
class _Stage:
    """What the networks are shown: `mesh` in their world, seen by `views`, which are the `cameras` in metres, and a
    portrait that is `width` metres wide around `centre` (metres, head frame)."""

    mesh: Float[np.ndarray, "n 3"]
    views: Views
    cameras: tuple[Camera, ...]
    width: float
    centre: Float[np.ndarray, "3"]


def _of_the_set(config: MorphableConfig, model: BodyModel, vertices: Float[np.ndarray, "V 3"], count: int) -> _Stage:
    """As in training on our sets: their rig's cameras, from the character's right over the front to the left."""
    size, skin = config.image_size, skin_vertices(model)
    cameras = tuple(sorted(orbit_rig(size, count), key=lambda camera: np.arctan2(camera.centre[0], -camera.centre[1])))
    matrices, lenses = (
        torch.from_numpy(np.stack([getattr(camera, name) for camera in cameras])).float()
        for name in ("world_to_camera", "intrinsics")
    )
    lens, matrix = into_world(matrices, lenses, size, config)
    mesh = HEAD((model.template if config.meshless else vertices)[skin])
    return _Stage(mesh, Views(lens[None], matrix[None], "perspective", size), cameras, _SHOWN, np.array(CENTRE))


def _as_published(config: MorphableConfig, fit: BodyFit, vertices: Float[np.ndarray, "V 3"], count: int) -> _Stage:
    """As the authors' inference has it: a level half turn around the head, which fills the portrait."""
    assert isinstance(fit.model, LinearHead)
    placement = published_placement(fit.model, fit.identity)
    views = face_views(count, _RADIUS, _FOCAL * config.image_size, config.image_size)
    centre = placement.rotation.T @ -placement.shift / placement.scale
    width = _RADIUS / _FOCAL / placement.scale
    return _Stage(placement(vertices), views, tuple(placement.cameras(views)), width, centre)


def _picture_of(
    portrait: Portrait, fit: BodyFit, size: int, stage: _Stage
) -> tuple[UInt8[Tensor, "1 3 size size"], Camera]:
    """The portrait on white, and its camera in metres."""
    blocks = max(1, _FINE // size)
    colour, alpha, camera = head_crop(portrait, fit.camera, blocks * size, shown=stage.width, centre=stage.centre)
    straight = colour / np.maximum(alpha, 1e-3)[..., None]
    rgb, cover = (torch.from_numpy(each).float() for each in (straight.transpose(2, 0, 1)[None], alpha[None, None]))
    return over_white(rgb.clamp(0, 1), cover, size), camera.resized(size, size)


def _drawn(
    config: MorphableConfig,
    fit: BodyFit,
    vertices: Float[np.ndarray, "V 3"],
    picture: Float[Tensor, "3 S S"],
    camera: Camera,
    stage: _Stage,
) -> Float[Tensor, "1 N channels S S"]:
    """The portrait on the mesh as the views show it; the portrait has the expression of the fit, the mesh its own."""
    triangles = drawn_triangles(fit.model)
    before, now = (fit.model.template, fit.model.template) if config.meshless else (fit.posed(), vertices)
    size, half = config.image_size, config.half_texel
    from_head, pinhole = (torch.from_numpy(each).float()[None] for each in (camera.world_to_camera, camera.intrinsics))
    lens, matrix = (each[0].double().numpy() for each in into_world(from_head, pinhole, size, config))
    shown = shown_in(HEAD(before), triangles, lens, matrix, size, half)
    lenses, matrices = (each[0].double().numpy() for each in (stage.views.intrinsics, stage.views.world_to_camera))
    surface = surface_of(HEAD(now), triangles, above_cut(fit.model), lenses, matrices, size, half)
    normals = torch.from_numpy(vertex_normals(HEAD(now), triangles)).float()
    rotation = stage.views.world_to_camera[0, :, :, :3]
    return lay(picture, shown, normals, surface, torch.from_numpy(triangles).long(), rotation)[None]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "mps":
        raise _refused("The engine 'morphable' does not compute on mps: choose --device cpu.")
    if name == "cuda" and not torch.cuda.is_available():
        raise _refused("No CUDA device is here: choose --device auto or cpu.")
    return torch.device(name)


def _refused(sentence: str) -> MaquetteError:
    return MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="field")
