"""What training minimises, and how fast (section 4 of the paper; rates and warm-up as released)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from backend.morphable.model import Condition
from backend.morphable.schedule import scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.model import MorphableDiffusion
    from backend.morphable.scene import Scene

UNET_RATE, CONDITIONING_RATE = 5e-5, 5e-4
_WARM_UP, _START = 100, 0.02


def predict_target(
    model: MorphableDiffusion,
    views: Float[Tensor, "B N C H W"],
    noise: Float[Tensor, "B N C H W"],
    steps: Int[Tensor, "B"],
    scene: Scene,
    condition: Condition,
    target: Int[Tensor, "B K"],
    chance: Float[Tensor, "B"] | None = None,
) -> Float[Tensor, "B K C H W"]:
    """What the model predicts of some views of each subject, one in the published training; all noisy views make the
    volume. Of a portrait on the mesh, `condition` holds what these target views show.

    `chance`, uniform in [0, 1), says what a subject is not told (`drop`); without it everything is told, as in the
    published training.
    """
    (batch, count), each = views.shape[:2], target.shape[1]
    plan = scheduler(prediction=model.config.prediction)
    noisy = plan.add_noise(views.flatten(0, 1), noise.flatten(0, 1), steps.repeat_interleave(count))
    noisy = noisy.unflatten(0, (batch, count))
    volume = model.volume(noisy, steps, scene)
    frusta = model.frusta(volume, steps, scene, target)
    condition = condition.repeat(each)
    if chance is not None:
        condition, frusta = drop(condition, frusta, chance.repeat_interleave(each))
    predicted = model.predict(_chosen(noisy, target).flatten(0, 1), steps.repeat_interleave(each), condition, frusta)
    return predicted.unflatten(0, (batch, each))


def training_loss(
    model: MorphableDiffusion,
    views: Float[Tensor, "B N C H W"],
    noise: Float[Tensor, "B N C H W"],
    steps: Int[Tensor, "B"],
    scene: Scene,
    condition: Condition,
    target: Int[Tensor, "B K"],
    chance: Float[Tensor, "B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean square error of what is predicted of the target views, their noise or themselves."""
    predicted = predict_target(model, views, noise, steps, scene, condition, target, chance)
    return F.mse_loss(predicted, _chosen(noise if model.config.prediction == "epsilon" else views, target))


def _chosen(views: Float[Tensor, "B N C H W"], target: Int[Tensor, "B K"]) -> Float[Tensor, "B K C H W"]:
    return views[torch.arange(len(views), device=views.device)[:, None], target]


def drop(
    condition: Condition, frusta: Sequence[Float[Tensor, "B F D H W"]], chance: Float[Tensor, "B"]
) -> tuple[Condition, tuple[Tensor, ...]]:
    """Zero for what guidance shall be able to leave out: a twentieth of the samples each lose everything, the latent
    with the portrait on the mesh, the frusta and the vector (`chance` from 0 upwards, in this order)."""
    part = (chance * 20).floor()
    told = [(part != 0) & (part != lost) for lost in (1, 2, 3)]
    latent, volume, vector = (each.to(condition.latent.dtype)[:, None, None] for each in told)
    drawn = None if condition.drawn is None else condition.drawn * latent[..., None]
    kept = Condition(condition.latent * latent[..., None], condition.vector * vector, drawn)
    return kept, tuple(each * volume[..., None, None] for each in frusta)


def parameter_groups(model: MorphableDiffusion) -> list[dict[str, Any]]:
    """For AdamW: the U-Net slowly, what is new ten times faster. Autoencoder and CLIP stay as they are."""
    new = [model.time_embedding, model.spatial_volume, model.frustum_net]
    if model.autoencoder is None:
        new.append(model.image_encoder)
    if model.config.projected:
        new.append(model.pixel_head)
    return [
        {"params": list(model.denoiser.parameters()), "lr": UNET_RATE},
        {"params": [parameter for part in new for parameter in part.parameters()], "lr": CONDITIONING_RATE},
    ]


def rate_factor(step: int) -> float:
    """What the learning rates are multiplied with at an optimiser's step: a linear warm-up, then 1."""
    return min(1.0, _START + (1 - _START) * step / _WARM_UP)
