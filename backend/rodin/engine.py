"""The engine: a portrait and its body fit become planes in canonical space, and with the body's warp a field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.body_model.controls import control_vertices
from backend.radiance.canonical import warp_grid
from backend.radiance.triplane import TriPlane
from backend.rodin.condition import condition_of
from backend.rodin.sampling import regress, sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.body_model.fitting import BodyFit
    from backend.portrait.portrait import Portrait
    from backend.rodin.weights import Rodin


def generate_field(
    rodin: Rodin,
    portrait: Portrait,
    fit: BodyFit,
    seed: int,
    *,
    steps: int = 1,
    guidance: float = 1.3,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TriPlane:
    """The radiance field of the person. One step is the network's best guess, more steps are a sample.

    `progress` gets the finished fraction and may raise to cancel.
    """
    generator = torch.Generator().manual_seed(seed)
    condition = condition_of(portrait, fit, rodin.base.config.picture)
    if steps == 1:
        planes = regress(rodin.base, condition, generator)
    else:
        planes = sample(rodin.base, condition, generator, steps=steps, guidance=guidance, progress=progress)
    chosen = control_vertices(fit.model)
    rest = torch.from_numpy(fit.model.template[chosen]).float()
    warp = warp_grid(condition.body[0], rest, rodin.half_size, rodin.fovea)
    progress(1.0)
    return TriPlane(rodin.denormalise(planes)[0], rodin.decoder, rodin.half_size, warp)
