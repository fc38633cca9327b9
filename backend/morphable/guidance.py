"""Classifier-free guidance: further in the direction in which portrait and mesh push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.morphable.model import Condition, MorphableDiffusion


def guided_prediction(
    model: MorphableDiffusion,
    views: Float[Tensor, "M C H W"],
    steps: Int[Tensor, "M"],
    condition: Condition,
    frusta: Sequence[Float[Tensor, "M F D H W"]],
    scale: float,
) -> Float[Tensor, "M C H W"]:
    """What is predicted of the views, with and without everything that is known of them in one batch.

    "Without" means that latent, vector, frustum features and the portrait on the mesh are all zero. A scale of 1 leaves
    it out.
    """
    if scale == 1:
        return model.predict(views, steps, condition, frusta)
    both = condition.beside(condition.dropped())
    doubled = [torch.cat([each, torch.zeros_like(each)]) for each in frusta]
    told, untold = model.predict(views.repeat(2, 1, 1, 1), steps.repeat(2), both, doubled).chunk(2)
    return untold + scale * (told - untold)
