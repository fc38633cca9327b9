"""How noise grows with time: RodinHD's cosine schedule, steeper than the usual one.

Planes are redundant, so a schedule made for pictures barely destroys them (RodinHD, section 3.3). Time is in [0, 1];
`scheduler` gives the same schedule to a diffusers sampler, whose last step is nothing but noise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

START, POWER = 0.2, 3.0
STEPS = 1000


def signal(time: Float[Tensor, "*b"], start: float = START, power: float = POWER) -> Float[Tensor, "*b"]:
    """alpha-bar: the part of the variance that is signal, 1 at time 0 and 0 at time 1. A `start` of 0 and a `power` of
    1 are the usual cosine."""
    angle = math.pi / 2 * (start + time * (1 - start))
    return (torch.cos(angle) / math.cos(math.pi / 2 * start)).clamp(0, 1) ** (2 * power)


def add_noise(
    clean: Float[Tensor, "B *n"],
    noise: Float[Tensor, "B *n"],
    time: Float[Tensor, "B"],
    start: float = START,
    power: float = POWER,
) -> Float[Tensor, "B *n"]:
    """What is left of planes, or of anything else, at `time`."""
    kept = signal(time, start, power).reshape(-1, *[1] * (clean.ndim - 1))
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def scheduler(start: float = START, power: float = POWER, **options: Any) -> Any:
    """A diffusers `DDIMScheduler` of this schedule for networks that predict what is clean."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    kept = signal(torch.arange(STEPS + 1, dtype=torch.float64) / STEPS, start, power)
    betas = (1 - kept[1:] / kept[:-1]).clamp(max=1.0)
    return DDIMScheduler(
        STEPS,
        trained_betas=betas.numpy(),
        prediction_type="sample",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        **options,
    )


def step_back(
    plan: Any,
    clean: Float[Tensor, "B *n"],
    step: Tensor,
    noisy: Float[Tensor, "B *n"],
    generator: torch.Generator,
    eta: float = 1.0,
) -> Float[Tensor, "B *n"]:
    """One step of the sampler towards `clean`. `eta` 0 adds no new noise, 1 as much as ancestral sampling."""
    # At exactly 1 what is left of the old noise is the root of a zero that rounding may put below zero.
    return plan.step(clean, step, noisy, eta=min(eta, 1 - 1e-6), generator=generator).prev_sample
