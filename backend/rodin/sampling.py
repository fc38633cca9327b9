"""From a condition to planes: one step, or many, with any mixture of conditions (classifier-free guidance)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.radiance.canonical import mirror_planes
from backend.rodin.schedule import STEPS, add_noise, scheduler, step_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.base import BaseModel, Condition

Mixture = list[tuple[float, "Condition"]]
"""Conditions and the weights of what the network guesses under each; of edits, some are negative; they sum to 1."""


@torch.no_grad()
def regress(model: BaseModel, condition: Condition, generator: torch.Generator) -> Float[Tensor, "B 3 C S S"]:
    """The network's guess of the normalised planes, in one step from nothing but noise."""
    noise = draw_noise(model, len(condition.picture), generator)
    return model(noise, torch.ones(len(noise), device=noise.device), model.encode(condition))


def regress_both_ways(model: BaseModel, condition: Condition, generator: torch.Generator) -> Float[Tensor, "B 3 C S S"]:
    """The mean of the guess for the people and of that for the mirrored people, turned back: a little closer to the
    truth than either."""
    guess = regress(model, condition, generator)
    return (guess + mirror_planes(regress(model, condition.mirrored(), generator))) / 2


def guided(condition: Condition, portrait: float = 1.0, latent: float = 1.0) -> Mixture:
    """Guidance by the point and by the portrait, each with a strength of its own:

    x0 = x0(body) + latent (x0(point) - x0(body)) + portrait (x0(portrait, point) - x0(point)).

    With both strengths alike this is Rodin's guidance (section 3.2), with both 1 there is none.
    """
    return [
        (portrait, condition),
        (latent - portrait, condition.without_portrait()),
        (1 - latent, condition.without_all()),
    ]


def sample(
    model: BaseModel,
    condition: Condition,
    generator: torch.Generator,
    *,
    steps: int = 10,
    guidance: float = 1.0,
    latent_guidance: float = 1.0,
    eta: float = 0.0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B 3 C S S"]:
    """Normalised planes by DDIM (RodinHD: 10 steps), guided by the portrait and by the point.

    RodinHD adds new noise in every step (eta 1); of our networks samples without it, and without guidance, are closer
    to the truth.

    `progress` gets the finished fraction after each step and may raise to cancel.
    """
    mixture = guided(condition, guidance, latent_guidance)
    return sample_mixture(model, mixture, generator, steps=steps, eta=eta, progress=progress)


@torch.no_grad()
def sample_mixture(
    model: BaseModel,
    mixture: Mixture,
    generator: torch.Generator,
    *,
    steps: int = 10,
    eta: float = 1.0,
    planes: Float[Tensor, "B 3 C S S"] | None = None,
    depth: float = 1.0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B 3 C S S"]:
    """Normalised planes by DDIM, from noise, or from `planes` after noise has taken them to the time `depth`.

    All conditions of the mixture go through the network as one batch; those of weight 0 are left out.
    """
    mixture = [(weight, condition) for weight, condition in mixture if abs(weight) > 1e-9]
    count, batch = len(mixture), len(mixture[0][1].picture)
    parts = [model.encode(condition) for _, condition in mixture]
    aligned, tokens, latent = (torch.cat(each) for each in zip(*parts, strict=True))
    weights = torch.tensor([weight for weight, _ in mixture], device=latent.device)[:, None, None, None, None, None]
    noisy = draw_noise(model, batch, generator)
    plan = scheduler()
    plan.set_timesteps(steps, device=noisy.device)
    timesteps = plan.timesteps
    if planes is not None and depth < 1:
        timesteps = timesteps[(timesteps + 1) / STEPS <= depth + 1e-6]
        if not len(timesteps):
            return planes
        noisy = add_noise(planes, noisy, ((timesteps[0] + 1) / STEPS).float().expand(batch))
    for number, step in enumerate(timesteps):
        time = ((step + 1) / STEPS).float().expand(count * batch).to(noisy.device)
        guesses = model(noisy.repeat(count, 1, 1, 1, 1), time, (aligned, tokens, latent))
        clean = (weights * guesses.unflatten(0, (count, batch))).sum(0)
        noisy = step_back(plan, clean, step, noisy, generator, eta)
        progress((number + 1) / len(timesteps))
    return noisy


def draw_noise(model: BaseModel, batch: int, generator: torch.Generator) -> Float[Tensor, "B 3 C S S"]:
    """Planes of nothing but noise."""
    config = model.config
    shape = (batch, 3, config.channels, config.size, config.size)
    device = next(model.parameters()).device
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
