"""People out of nothing, or out of a text: diffusion over the latent point and the body together (Rodin, section 3.2).

Rodin samples its latent vector with a small diffusion of its own. Here the vector also holds the identity parameters of
the body model, so that an old man's point comes with an old man's head. A text steers it through classifier-free
guidance. Both halves are normalised: mean off, divided by the spread, each number by itself.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.latent import on_sphere
from backend.rodin.schedule import STEPS, scheduler, signal, step_back
from backend.rodin.unet import wave_embedding

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

START, POWER = 0.0, 1.0
"""The usual cosine (see `schedule`): numbers of a vector are not redundant as the texels of planes are."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """Sizes: Z, identity parameters of the body model, width and number of the residual blocks."""

    latent: int = 128
    identity: int = 141
    width: int = 512
    blocks: int = 4
    embedding: int = 256


class LatentPrior(nn.Module):
    """Noisy vector, time and text to the clean vector (x0), all normalised."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        size = config.latent + config.identity
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.time = nn.Sequential(
            nn.Linear(128, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        self.text = nn.Linear(config.latent, config.embedding)
        self.no_text = nn.Parameter(torch.zeros(config.embedding))
        self.enter = nn.Linear(size, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.embedding) for _ in range(config.blocks))
        self.leave = nn.Linear(config.width, size)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        vectors: Float[Tensor, "B N"],
        time: Float[Tensor, "B"],
        text: Float[Tensor, "B Z"],
        keep_text: Float[Tensor, "B"],
    ) -> Float[Tensor, "B N"]:
        """`time` in [0, 1]; samples with `keep_text` 0 are told nothing."""
        told = torch.where(keep_text[:, None] > 0, self.text(text), self.no_text)
        embedding = self.time(wave_embedding(time, 128)) + told
        x = self.enter(vectors)
        for block in self.blocks:
            x = block(x, embedding)
        # The best guess for numbers that depend on nothing is the noisy one scaled down: only the rest is learned.
        kept = signal(time, START, POWER)[:, None]
        return kept.sqrt() * vectors + (1 - kept).sqrt() * self.leave(F.silu(x))

    def normalise(self, latent: Float[Tensor, "B Z"], identity: Float[Tensor, "B I"]) -> Float[Tensor, "B N"]:
        """The vector of a person."""
        return (torch.cat([latent, identity], 1) - self.mean) / self.spread

    def measure(self, latent: Float[Tensor, "M Z"], identity: Float[Tensor, "M I"]) -> None:
        """Take mean and spread of these people for the normalisation."""
        vectors = torch.cat([latent, identity], 1)
        self.mean.copy_(vectors.mean(0))
        self.spread.copy_(vectors.std(0).clamp(min=1e-3))


class _Block(nn.Module):
    """Residual block with adaptive normalisation; starts as nothing."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(F.silu(embedding)).chunk(2, 1)
        return x + self.outer(F.silu(self.inner(self.norm(x) * (1 + scale) + shift)))


@torch.no_grad()
def sample_prior(
    prior: LatentPrior,
    text: Float[Tensor, "1 Z"] | None,
    generator: torch.Generator,
    count: int = 1,
    *,
    guidance: float = 2.0,
    steps: int = 50,
) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N I"]]:
    """Points and identity parameters of `count` people, of whom `text` is true; of any people when it is None.

    DDIM with eta 1; `guidance` 1 samples people as the text describes them, more makes them more typical of it.
    """
    device, split = prior.mean.device, prior.config.latent
    shape = (count, len(prior.mean))
    vectors = torch.randn(shape, generator=generator, device=generator.device).to(device)
    told = torch.zeros((count, split), device=device) if text is None else text.to(device).expand(count, -1)
    keep = torch.full((count,), float(text is not None), device=device)
    guided = text is not None and guidance != 1
    plan = scheduler(START, POWER)
    plan.set_timesteps(steps, device=device)
    for step in plan.timesteps:
        time = ((step + 1) / STEPS).float().expand(count).to(device)
        if guided:
            both = prior(
                vectors.repeat(2, 1), time.repeat(2), told.repeat(2, 1), torch.cat([keep, torch.zeros_like(keep)])
            )
            with_text, without = both.chunk(2)
            clean = without + guidance * (with_text - without)
        else:
            clean = prior(vectors, time, told, keep)
        vectors = step_back(plan, clean, step, vectors, generator)
    people = vectors * prior.spread + prior.mean
    return on_sphere(people[:, :split]), people[:, split:]
