"""What training minimises, and how fast (section 4 of the paper; rates and warm-up as released)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from backend.morphable.schedule import scheduler

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.model import Condition, MorphableDiffusion
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
    target: Int[Tensor, "B"],
) -> Float[Tensor, "B C H W"]:
    """The noise that the model sees in one view of each subject; all noisy views make the volume."""
    batch, count = views.shape[:2]
    plan = scheduler()
    noisy = plan.add_noise(views.flatten(0, 1), noise.flatten(0, 1), steps.repeat_interleave(count))
    noisy = noisy.unflatten(0, (batch, count))
    volume = model.volume(noisy, steps, scene)
    frusta = model.frusta(volume, steps, scene, target[:, None])
    return model.noise(noisy[torch.arange(batch), target], steps, condition, frusta)


def training_loss(
    model: MorphableDiffusion,
    views: Float[Tensor, "B N C H W"],
    noise: Float[Tensor, "B N C H W"],
    steps: Int[Tensor, "B"],
    scene: Scene,
    condition: Condition,
    target: Int[Tensor, "B"],
) -> Float[Tensor, ""]:
    """Mean square error of the noise in the target views."""
    predicted = predict_target(model, views, noise, steps, scene, condition, target)
    return F.mse_loss(predicted, noise[torch.arange(len(noise)), target])


def parameter_groups(model: MorphableDiffusion) -> list[dict[str, Any]]:
    """For AdamW: the U-Net slowly, what is new ten times faster. Autoencoder and CLIP stay as they are."""
    new = [model.time_embedding, model.spatial_volume, model.frustum_net]
    if model.autoencoder is None:
        new.append(model.image_encoder)
    return [
        {"params": list(model.denoiser.parameters()), "lr": UNET_RATE},
        {"params": [parameter for part in new for parameter in part.parameters()], "lr": CONDITIONING_RATE},
    ]


def rate_factor(step: int) -> float:
    """What the learning rates are multiplied with at an optimiser's step: a linear warm-up, then 1."""
    return min(1.0, _START + (1 - _START) * step / _WARM_UP)
