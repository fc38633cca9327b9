"""Training of the prior: points of the people's portraits and their bodies, told of by texts; it stops and goes on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.rodin.prior import POWER, START, LatentPrior, PriorConfig
from backend.rodin.schedule import add_noise, signal
from backend.training.latent_stage import draw_pictures
from backend.training.stage import Stage

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.latent import LatentSpace
    from backend.training.people import People
    from backend.training.prompts import Prompts


@dataclasses.dataclass(frozen=True)
class PriorStageConfig:
    """The recipe. Each person has `points` points, of differently cropped and lit portraits; `untold` is the part of a
    batch that no text is told of. The latent and identity sizes of `model` follow from the data."""

    model: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    steps: int = 6000
    batch: int = 256
    rate: float = 5e-4
    warm_up: int = 100
    final_rate: float = 0.02
    weight_decay: float = 0.01
    average: float = 0.999
    untold: float = 0.2
    points: int = 8
    texts: int = 24
    seed: int = 0


class PriorStage(Stage[LatentPrior, PriorStageConfig]):
    """The prior under training.

    `latent` (N, P, Z) are P points and `texts` (N, T, Z) T texts of each person, `identity` (N, I) the bodies.
    """

    def __init__(
        self,
        latent: Float[Tensor, "N P Z"],
        identity: Float[Tensor, "N I"],
        texts: Float[Tensor, "N T Z"],
        config: PriorStageConfig,
    ) -> None:
        def make() -> LatentPrior:
            sizes = {"latent": latent.shape[-1], "identity": identity.shape[-1]}
            model = LatentPrior(dataclasses.replace(config.model, **sizes)).to(latent.device)
            model.measure(latent.flatten(0, 1), identity.repeat_interleave(latent.shape[1], 0))
            return model

        super().__init__(config, latent.device, make, {"set of people": len(latent)})
        self.latent, self.identity, self.texts = latent, identity, texts

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, generator, device = self.config, self.generator, self.device
        uniform = lambda: torch.rand(config.batch, generator=generator, device=device)  # noqa: E731
        heads = (uniform() * len(self.latent)).long()
        point = (uniform() * self.latent.shape[1]).long()
        said = (uniform() * self.texts.shape[1]).long()
        clean = self.model.normalise(self.latent[heads, point], self.identity[heads])
        keep = (uniform() >= config.untold).float()
        t = uniform()
        noise = torch.randn(clean.shape, generator=generator, device=device)
        guess = self.model(add_noise(clean, noise, t, START, POWER), t, self.texts[heads, said], keep)
        # The weight under which the network's own part, all beyond the scaled noisy vector, counts alike at any time.
        weight = 1 / (1 - signal(t, START, POWER)).clamp(min=1e-2)
        error = (guess - clean).square() * weight[:, None]
        split = self.model.config.latent
        figures = {"latent": error[:, :split].mean(), "identity": error[:, split:].mean()}
        return figures["latent"] + figures["identity"], figures


@torch.no_grad()
def points_of(
    space: LatentSpace, people: People, config: PriorStageConfig, device: torch.device | str = "cpu", part: int = 64
) -> Float[Tensor, "N P Z"]:
    """`config.points` points of each person, of pictures drawn anew for each."""
    generator = torch.Generator(device).manual_seed(config.seed)
    rows = []
    for start in range(0, len(people), part):
        heads = list(range(start, min(start + part, len(people))))
        drawn = [draw_pictures(people, heads, generator) for _ in range(config.points)]
        rows.append(torch.stack([space.encode_pictures(pictures) for pictures in drawn], 1))
    return torch.cat(rows)


@torch.no_grad()
def texts_of(space: LatentSpace, prompts: Prompts, count: int, config: PriorStageConfig) -> Float[Tensor, "N T Z"]:
    """`config.texts` texts of each of `count` people, every second one a short prompt."""
    rng = np.random.default_rng(config.seed)
    rows = []
    for head in range(count):
        said = [(prompts.caption, prompts.prompt)[n % 2](head, rng).text for n in range(config.texts)]
        rows.append(space.encode_texts(said))
    return torch.stack(rows)
