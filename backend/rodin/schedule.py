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


def signal(time: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """alpha-bar: the part of the variance that is signal, 1 at time 0 and 0 at time 1."""
    angle = math.pi / 2 * (START + time * (1 - START))
    return (torch.cos(angle) / math.cos(math.pi / 2 * START)).clamp(0, 1) ** (2 * POWER)


def add_noise(
    clean: Float[Tensor, "B 3 C S S"], noise: Float[Tensor, "B 3 C S S"], time: Float[Tensor, "B"]
) -> Float[Tensor, "B 3 C S S"]:
    """Planes at `time`."""
    kept = signal(time)[:, None, None, None, None]
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def scheduler(**options: Any) -> Any:
    """A diffusers `DDIMScheduler` of this schedule for networks that predict the clean planes."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    kept = signal(torch.arange(STEPS + 1, dtype=torch.float64) / STEPS)
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
