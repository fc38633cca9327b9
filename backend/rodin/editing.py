"""Edits by words: a direction of the latent space, and the same person generated along it (Rodin, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.rodin.latent import on_sphere
from backend.rodin.prior import sample_prior
from backend.rodin.sampling import Mixture, guided, sample_mixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.base import BaseModel, Condition
    from backend.rodin.latent import LatentSpace
    from backend.rodin.prior import LatentPrior

NEUTRAL = "a person"
"""What an edit starts from when nothing is said of it."""


_MOST, _FAINT, _PLAIN = 0.995, 0.3, 0.6
"""The quantile of texels that change most, and the shares of its change at which an edit begins to count and counts in
full."""
_PEOPLE = 256
"""How many people the prior draws for each text."""


@torch.no_grad()
def edit_latent(
    space: LatentSpace,
    prior: LatentPrior,
    latent: Float[Tensor, "B Z"],
    target: str,
    *,
    source: str = NEUTRAL,
    strength: float = 2.0,
) -> Float[Tensor, "B Z"]:
    """z' = z + strength (E[z | target] - E[z | source]), brought back to the length of all points; the means are over
    people whom the prior draws of each text.

    Rodin takes the difference of the texts' own points. Texts and portraits lie in different parts of the space, and
    that difference leaves what portraits' points cover, which is all that the base model has learned.
    """
    to, away = (_typical(prior, text) for text in space.encode_texts([target, source]).split(1))
    return on_sphere(latent + strength * (to - away))


def where_it_matters(
    before: Float[Tensor, "B 3 C S S"], after: Float[Tensor, "B 3 C S S"]
) -> Float[Tensor, "B 3 C S S"]:
    """`after` where the planes change most, `before` elsewhere: what an edit is about changes far more than what it
    only drags along (as DiffEdit finds its masks)."""
    change = after - before
    size = F.avg_pool2d(change.square().mean(2).sqrt(), 5, 1, 2)
    most = size.flatten(1).quantile(_MOST, 1)[:, None, None, None]
    share = ((size / most.clamp(min=1e-6) - _FAINT) / (_PLAIN - _FAINT)).clamp(0, 1)
    return before + (share * share * (3 - 2 * share))[:, :, None] * change


def _typical(prior: LatentPrior, text: Float[Tensor, "1 Z"]) -> Float[Tensor, "1 Z"]:
    """The mean point of people as the text describes them; for all texts of the same noise, which then cancels."""
    people, _ = sample_prior(prior, text, torch.Generator().manual_seed(0), _PEOPLE)
    return people.mean(0, keepdim=True)


def edit_planes(
    model: BaseModel,
    condition: Condition,
    edited: Float[Tensor, "B Z"],
    generator: torch.Generator,
    *,
    strength: float = 1.0,
    planes: Float[Tensor, "B 3 C S S"] | None = None,
    depth: float = 0.8,
    guidance: float = 1.0,
    latent_guidance: float = 1.0,
    steps: int = 10,
    eta: float = 0.0,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B 3 C S S"]:
    """Normalised planes of the people in `condition`, changed as the point changes to `edited`:

    x0 = x0(portrait, z) + strength (x0(z') - x0(z)).

    The portrait, which shows what was, keeps the person; the difference of two guesses without it makes the change.
    From the person's own `planes`, noised to the time `depth` (0 leaves them as they are, 1 leaves nothing of them);
    without planes from nothing but noise, which with the same generator and a strength of 0 is `sampling.sample`.
    """
    if planes is not None and strength == 0:
        return planes
    before = condition.without_portrait()
    change: Mixture = [(strength, before.at(edited)), (-strength, before)]
    mixture = guided(condition, guidance, latent_guidance) + change
    return sample_mixture(
        model, mixture, generator, steps=steps, eta=eta, planes=planes, depth=depth, progress=progress
    )
