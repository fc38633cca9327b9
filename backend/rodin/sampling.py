"""From a portrait to planes: one step, or many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.rodin.schedule import STEPS, scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.base import BaseModel, Condition


@torch.no_grad()
def regress(model: BaseModel, condition: Condition, generator: torch.Generator) -> Float[Tensor, "B 3 C S S"]:
    """The network's best guess of the normalised planes, in one step from nothing but noise."""
    noise = _noise(model, len(condition.picture), generator)
    return model(noise, torch.ones(len(noise), device=noise.device), model.encode(condition))


@torch.no_grad()
def sample(
    model: BaseModel,
    condition: Condition,
    generator: torch.Generator,
    *,
    steps: int = 10,
    guidance: float = 1.3,
    eta: float = 1.0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B 3 C S S"]:
    """Normalised planes by DDIM (RodinHD: 10 steps, eta 1) with classifier-free guidance (Rodin, section 3.2).

    `progress` gets the finished fraction after each step and may raise to cancel.
    """
    import dataclasses

    batch = len(condition.picture)
    planes = _noise(model, batch, generator)
    told = model.encode(condition)
    untold = (
        model.encode(dataclasses.replace(condition, keep=torch.zeros_like(condition.keep))) if guidance != 1 else None
    )
    plan = scheduler()
    plan.set_timesteps(steps, device=planes.device)
    for number, step in enumerate(plan.timesteps):
        time = ((step + 1) / STEPS).float().expand(batch).to(planes.device)
        clean = model(planes, time, told)
        if untold is not None:
            without = model(planes, time, untold)
            clean = without + guidance * (clean - without)
        planes = plan.step(clean, step, planes, eta=eta, generator=generator).prev_sample
        progress((number + 1) / steps)
    return planes


def _noise(model: BaseModel, batch: int, generator: torch.Generator) -> Tensor:
    config = model.config
    shape = (batch, 3, config.channels, config.size, config.size)
    device = next(model.parameters()).device
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
