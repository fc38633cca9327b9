"""From noise to views: DDIM over all views of a subject together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.morphable.guidance import guided_prediction
from backend.morphable.schedule import scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

    from backend.morphable.model import Condition, MorphableDiffusion
    from backend.morphable.scene import Scene


@torch.no_grad()
def sample(
    model: MorphableDiffusion,
    scene: Scene,
    condition: Condition,
    generator: torch.Generator,
    *,
    steps: int = 50,
    guidance: float = 2.0,
    views_at_once: int = 8,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B N 3 H W"]:
    """Pictures in [0, 1] of all views of each scene, by a model in evaluation mode.

    `views_at_once` is a matter of memory alone. `progress` gets the finished fraction after each step and may raise to
    cancel.
    """
    config = model.config
    batch, views = scene.view_embedding.shape[:2]
    shape = (batch, views, config.map_channels, config.map_size, config.map_size)
    device = condition.latent.device

    def fresh_noise() -> Iterator[Tensor]:
        while True:
            yield torch.randn(shape, generator=generator, device=generator.device).to(device)

    latents = torch.empty(0)
    options = {"steps": steps, "guidance": guidance, "views_at_once": views_at_once}
    for number, state in enumerate(denoise(model, scene, condition, fresh_noise(), **options)):
        latents = state
        progress((number + 1) / steps)
    pictures = model.decode(latents.flatten(0, 1)).unflatten(0, (batch, views))
    return (pictures.clamp(-1, 1) + 1) / 2


@torch.no_grad()
def denoise(
    model: MorphableDiffusion,
    scene: Scene,
    condition: Condition,
    noise: Iterator[Float[Tensor, "B N C H W"]],
    *,
    steps: int = 50,
    guidance: float = 2.0,
    views_at_once: int = 8,
) -> Iterator[Float[Tensor, "B N C H W"]]:
    """The latents after each step. `noise` gives the first state, then what each step but the last adds (eta 1)."""
    plan = scheduler(steps, model.config.prediction)
    latents = next(noise)
    batch, views = latents.shape[:2]
    for step in plan.timesteps.tolist():
        time = torch.full((batch,), step, device=latents.device)
        volume = model.volume(latents, time, scene)
        predicted = torch.cat(
            [
                _prediction_of(model, scene, condition, latents, volume, time, indices, guidance)
                for indices in torch.arange(views, device=latents.device).split(views_at_once)
            ],
            1,
        )
        is_last = step == plan.timesteps[-1]
        added = torch.zeros_like(latents) if is_last else next(noise)
        latents = plan.step(predicted, step, latents, eta=1.0, variance_noise=added).prev_sample
        yield latents


def _prediction_of(
    model: MorphableDiffusion,
    scene: Scene,
    condition: Condition,
    latents: Tensor,
    volume: Tensor,
    time: Tensor,
    indices: Tensor,
    guidance: float,
) -> Float[Tensor, "B K C H W"]:
    """What is predicted of some of the views of every subject."""
    count = len(indices)
    frusta = model.frusta(volume, time, scene, indices.expand(len(latents), -1))
    single = latents[:, indices].flatten(0, 1)
    told = condition.of_views(indices).repeat(count)
    predicted = guided_prediction(model, single, time.repeat_interleave(count), told, frusta, guidance)
    return predicted.unflatten(0, (-1, count))
