"""The engine: a portrait and its body fit, or a text, or nothing, become planes in canonical space, and with the body's
warp a field; words change it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from backend.body_model.controls import control_vertices
from backend.portrait.head_crop import head_crop
from backend.radiance.canonical import warp_grid
from backend.radiance.likeness import Likeness
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import render_view
from backend.radiance.triplane import TriPlane, resize_planes
from backend.rodin.condition import condition_of, condition_without_portrait
from backend.rodin.editing import NEUTRAL, edit_latent, edit_planes, where_it_matters
from backend.rodin.prior import sample_prior
from backend.rodin.sampling import regress_both_ways, sample
from backend.rodin.upsampler import enlarged, upsample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait
    from backend.rodin.base import Condition
    from backend.rodin.weights import Rodin


FEW_STEPS = 2
"""Of sampling people whom nobody has taken a picture of. The second step makes sharp what the first one guesses; so far
every further one adds clouds and blotches (`maquette evaluate words` shows them)."""


def _ignore(fraction: float) -> None:
    pass


class Invented(NamedTuple):
    """A person whom nobody has taken a picture of: the field, the body model's identity parameters, and the point of
    the latent space, which an edit starts from."""

    field: TriPlane
    identity: Float[np.ndarray, " I"]
    latent: Float[Tensor, "1 Z"]


def generate_field(
    rodin: Rodin,
    portrait: Portrait,
    fit: BodyFit,
    seed: int,
    *,
    steps: int = 1,
    guidance: float = 1.0,
    latent_guidance: float = 1.0,
    likeness: bool = True,
    progress: Callable[[float], None] = _ignore,
) -> TriPlane:
    """The radiance field of the person. One step is the network's best guess, more steps are a sample.

    With `likeness` the visible surface takes the portrait's colours. `progress` gets the finished fraction and may
    raise to cancel.
    """
    condition = portrait_condition(rodin, portrait, fit)
    planes = _sample(rodin, condition, seed, steps, guidance, latent_guidance, lambda part: progress(0.7 * part))
    field = _field(rodin, fit.model, condition, planes, seed)
    if likeness:
        field = with_likeness(field, portrait, fit)
    progress(1.0)
    return field


def generate_from_prompt(
    rodin: Rodin,
    model: BodyModel,
    prompt: str,
    seed: int,
    *,
    steps: int = FEW_STEPS,
    prompt_guidance: float = 2.0,
    guidance: float = 2.0,
    progress: Callable[[float], None] = _ignore,
) -> Invented:
    """A person of whom `prompt` is true, with a body that fits, in a neutral expression.

    `prompt_guidance` is the prior's, `guidance` that of the planes by the point.
    """
    text = rodin.latent_space().encode_texts([prompt])
    return _invent(rodin, model, text, seed, steps, prompt_guidance, guidance, progress)


def generate_unconditional(
    rodin: Rodin,
    model: BodyModel,
    seed: int,
    *,
    steps: int = FEW_STEPS,
    guidance: float = 1.3,
    progress: Callable[[float], None] = _ignore,
) -> Invented:
    """Any person."""
    return _invent(rodin, model, None, seed, steps, 1.0, guidance, progress)


def edit_field(
    rodin: Rodin,
    field: TriPlane,
    condition: Condition,
    target: str,
    seed: int,
    *,
    after: Sequence[str] = (),
    source: str = NEUTRAL,
    latent_strength: float = 2.0,
    strength: float = 2.0,
    depth: float = 0.8,
    steps: int = 4,
    progress: Callable[[float], None] = _ignore,
) -> TriPlane:
    """`field`, changed from `source` to `target` ("bald", "a woman with red hair"); the body and its warp stay.

    Its likeness goes: the portrait shows what was.

    `condition` is the one that it was generated from: `portrait_condition` or `point_condition`. `after` are the edits
    that `field` has had since. `latent_strength` is how far the point moves with each edit, `strength` and `depth` are
    those of `editing.edit_planes`.
    """
    # The condition pulls back to who was generated, so the point moves along the earlier edits again: they stay.
    edited = condition.latent
    for words in (*after, target):
        space, prior = rodin.latent_space(), rodin.latent_prior()
        edited = edit_latent(space, prior, edited, words, source=source, strength=latent_strength)
    before = rodin.normalise(resize_planes(field.planes, rodin.base.config.size))[None]
    planes = edit_planes(
        rodin.base,
        condition,
        edited,
        torch.Generator().manual_seed(seed),
        strength=strength,
        planes=before,
        depth=depth,
        steps=steps,
        progress=progress,
    )
    planes = where_it_matters(before, planes)
    return dataclasses.replace(field, planes=_decodable(rodin, condition, planes, seed)[0], likeness=None)


def edit_in_turn(
    rodin: Rodin,
    field: TriPlane,
    condition: Condition,
    edits: Sequence[str],
    seed: int,
    progress: Callable[[float], None] = _ignore,
) -> TriPlane:
    """`field` after one of the `edits` and the next; see `edit_field`."""
    for number, words in enumerate(edits):
        done: Callable[[float], None] = lambda part, number=number: progress((number + part) / len(edits))  # noqa: E731
        field = edit_field(rodin, field, condition, words, seed, after=edits[:number], progress=done)
    return field


def portrait_condition(rodin: Rodin, portrait: Portrait, fit: BodyFit) -> Condition:
    """What the base model is told of a portrait."""
    config = rodin.base.config
    no_point = lambda picture: picture.new_zeros(len(picture), config.latent_size)  # noqa: E731
    encode = rodin.latent_space().encode_pictures if config.latent else no_point
    return condition_of(portrait, fit, config.picture, encode)


def point_condition(
    rodin: Rodin, model: BodyModel, latent: Float[Tensor, "1 Z"], identity: Float[np.ndarray, " I"]
) -> Condition:
    """What the base model is told of a person without a portrait, in a neutral expression."""
    body = torch.from_numpy(model.neutral(identity)[control_vertices(model)]).float()
    return condition_without_portrait(latent, body[None], rodin.base.config.picture)


def _invent(
    rodin: Rodin,
    model: BodyModel,
    text: Float[Tensor, "1 Z"] | None,
    seed: int,
    steps: int,
    prompt_guidance: float,
    guidance: float,
    progress: Callable[[float], None],
) -> Invented:
    generator = torch.Generator().manual_seed(seed)
    latent, drawn = sample_prior(rodin.latent_prior(), text, generator, guidance=prompt_guidance)
    low, high = (np.array([getattr(p, end) for p in model.identity_parameters]) for end in ("low", "high"))
    identity = drawn[0].double().numpy().clip(low, high)
    condition = point_condition(rodin, model, latent, identity)
    planes = _sample(rodin, condition, seed, steps, guidance, guidance, progress)
    return Invented(_field(rodin, model, condition, planes, seed), identity, latent)


def _sample(
    rodin: Rodin,
    condition: Condition,
    seed: int,
    steps: int,
    guidance: float,
    latent_guidance: float,
    progress: Callable[[float], None],
) -> Float[Tensor, "1 3 C S S"]:
    generator = torch.Generator().manual_seed(seed)
    if steps == 1:
        planes = regress_both_ways(rodin.base, condition, generator)
        progress(1.0)
        return planes
    options = {"guidance": guidance, "latent_guidance": latent_guidance}
    return sample(rodin.base, condition, generator, steps=steps, **options, progress=progress)


def _field(
    rodin: Rodin, model: BodyModel, condition: Condition, planes: Float[Tensor, "1 3 C S S"], seed: int
) -> TriPlane:
    rest = torch.from_numpy(model.template[control_vertices(model)]).float()
    warp = warp_grid(condition.body[0], rest, rodin.half_size, rodin.fovea)
    return TriPlane(_decodable(rodin, condition, planes, seed)[0], rodin.decoder, rodin.half_size, warp)


def _decodable(
    rodin: Rodin, condition: Condition, planes: Float[Tensor, "1 3 C s s"], seed: int
) -> Float[Tensor, "1 3 C S S"]:
    """The base model's planes as the decoder reads them, enlarged where there is an upsampler."""
    low = rodin.denormalise(planes)
    if rodin.upsampler is None or rodin.detail is None:
        return low
    detail = upsample(rodin.upsampler, planes, condition, torch.Generator().manual_seed(seed + 1))
    return (enlarged(low, rodin.upsampler.config.size) + detail * rodin.detail).clamp(-1, 1)


def with_likeness(field: TriPlane, portrait: Portrait, fit: BodyFit, size: int = 256) -> TriPlane:
    """`field` with what the portrait, as `size` x `size` pixels, shows beyond its colours."""
    premultiplied, alpha, camera = head_crop(portrait, fit.camera, size)
    colour = premultiplied / np.maximum(alpha, 1e-3)[..., None]
    drawn = render_view(field, camera, occupancy=OccupancyGrid.build(field, 64))
    return dataclasses.replace(field, likeness=Likeness.between(colour.clip(0, 1), alpha, drawn, camera))
