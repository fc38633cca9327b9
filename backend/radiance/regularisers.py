"""The three priors of the fit (Rodin, RodinHD's forms): sparse planes, smooth planes, compact density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from backend.radiance.triplane import sample_planes

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.decoder import Decoder


def sparsity(planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, ""]:
    """Mean absolute value, summed over planes and avatars."""
    return planes.abs().mean((2, 3, 4)).sum()


def roughness(planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, ""]:
    """Squared total variation, mean per plane, summed over planes and avatars."""
    rows = (planes[..., 1:, :] - planes[..., :-1, :]).square().mean((2, 3, 4))
    columns = (planes[..., :, 1:] - planes[..., :, :-1]).square().mean((2, 3, 4))
    return 2 * (rows + columns).sum()


def density_variation(
    planes: Float[Tensor, "B 3 C H W"], decoder: Decoder, generator: torch.Generator, count: int = 1000
) -> Float[Tensor, ""]:
    """Change of density (per cube unit) under a small random step, and a little of the density itself: no floaters.

    `count` uniform points per avatar and a step of sd 0.004 cube units; mean over points, summed over avatars.
    """
    shape = (len(planes), count, 3)
    points = torch.rand(shape, generator=generator, device=generator.device).to(planes.device) * 2 - 1
    steps = torch.randn(shape, generator=generator, device=generator.device).to(planes.device) * 0.004
    features = sample_planes(planes[:, :, decoder.config.colour_channels :], torch.cat([points, points + steps], 1))
    here, there = decoder.density(decoder.density_logits(features)[0]).split(count, 1)
    return ((here - there).abs().mean(1) + 0.001 * here.abs().mean(1)).sum()
