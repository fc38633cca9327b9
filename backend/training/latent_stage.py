"""Training of the latent space: a portrait and what is said of it come to lie together; it stops and goes on anywhere.

CLIP's loss, with one change: a text is true of many portraits and a portrait makes many texts true, so the target of
each row is spread evenly over all that are true in the batch (multi-positive cross-entropy), in both directions.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.training.augment import on_grey, recrop, vary_light
from backend.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float
    from torch import Tensor

    from backend.training.people import People


@dataclasses.dataclass(frozen=True)
class LatentStageConfig:
    """The recipe. `steps` of `batch` people, two pictures, a caption and a prompt each; `agreement` weighs that the two
    pictures of a person agree. The last `held_back` people (at most a fifth of all) are not learned from."""

    model: LatentConfig = dataclasses.field(default_factory=LatentConfig)
    steps: int = 1000
    batch: int = 48
    rate: float = 1.5e-3
    warm_up: int = 50
    final_rate: float = 0.02
    weight_decay: float = 0.05
    agreement: float = 0.3
    held_back: int = 64
    seed: int = 0


class LatentStage:
    """Both encoders under training, and where they are."""

    def __init__(self, people: People, config: LatentStageConfig, device: torch.device | str = "cpu") -> None:
        self.people, self.config, self.device = people, config, torch.device(device)
        self.learned = len(people) - min(config.held_back, len(people) // 5)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        torch.manual_seed(config.seed)
        self.model = TrainedLatent(config.model, people.prompts.vocabulary()).to(self.device)
        # Convolutions of pictures are a third faster with the channels innermost.
        self.model.pictures.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.sharpness = nn.Parameter(torch.full((2,), math.log(1 / 0.07), device=self.device))
        self.optimiser = torch.optim.AdamW(
            [
                {"params": self.model.parameters(), "weight_decay": config.weight_decay},
                {"params": [self.sharpness], "weight_decay": 0.0},
            ],
            config.rate,
            betas=(0.9, 0.98),
        )
        self.step_number, self.seconds = 0, 0.0

    def run(
        self, *, until: int | None = None, report: Callable[[int, dict[str, float]], None] = lambda s, f: None
    ) -> None:
        """Go on to step `until`, or to the end."""
        end = min(until or self.config.steps, self.config.steps)
        while self.step_number < end:
            begun = time.perf_counter()
            figures = self._step()
            self.seconds += time.perf_counter() - begun
            self.step_number += 1
            report(self.step_number, figures)

    def _step(self) -> dict[str, float]:
        config, prompts = self.config, self.people.prompts
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        # Words are drawn from a stream of each step's own: nothing of it has to be stored.
        rng = np.random.default_rng((config.seed, self.step_number))
        heads = rng.permutation(self.learned)[: config.batch].tolist()
        pictures = torch.cat([draw_pictures(self.people, heads, self.generator) for _ in range(2)])
        said = [prompts.caption(head, rng) for head in heads] + [prompts.prompt(head, rng) for head in heads]
        truth = prompts.truth(heads, said).to(self.device).repeat(2, 1)
        shown = F.normalize(self.model.encode_pictures(pictures.contiguous(memory_format=torch.channels_last)), dim=-1)
        texts = F.normalize(self.model.encode_texts([one.text for one in said]), dim=-1)
        sharp = self.sharpness.clamp(max=math.log(100)).exp()
        split = len(heads)
        caption = contrast(sharp[0] * shown @ texts[:split].T, truth[:, :split])
        prompt = contrast(sharp[0] * shown @ texts[split:].T, truth[:, split:])
        one, other = shown.chunk(2)
        same = torch.eye(split, dtype=torch.bool, device=self.device)
        agreement = contrast(sharp[1] * one @ other.T, same)
        (caption + prompt + config.agreement * agreement).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        figures = {"caption": caption, "prompt": prompt, "agreement": agreement}
        return {name: float(value.detach()) for name, value in figures.items()}

    def _rate(self) -> float:
        config, step = self.config, self.step_number
        warm = min(1.0, (step + 1) / config.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        return config.rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)

    def save(self, folder: Path) -> None:
        """Everything that the next run needs, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {"sharpness": self.sharpness, "generator": self.generator.get_state()}
        plain = {"step": self.step_number, "seconds": self.seconds, "config": dataclasses.asdict(self.config)}
        save_state(folder / STATE, tensors, self.optimiser, plain | {"vocabulary": self.model.texts.vocabulary})

    def load(self, folder: Path) -> bool:
        """Go on where `save` left off; False when there is nothing to go on with.

        Raises `ValueError` when it belongs to another recipe or to other captions.
        """
        if not (folder / STATE).exists():
            return False
        tensors, plain = load_state(folder / STATE, self.optimiser, self.device)
        if plain["config"] != json.loads(json.dumps(dataclasses.asdict(self.config))):
            raise ValueError(f"{folder / STATE} was made with another recipe: choose another folder")
        if plain["vocabulary"] != list(self.model.texts.vocabulary):
            raise ValueError(f"{folder / STATE} was made with other captions: choose another folder")
        prefix = "model."
        state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        self.model.load_state_dict(state)
        self.sharpness.data.copy_(tensors["sharpness"])
        self.generator.set_state(tensors["generator"].cpu())
        self.step_number, self.seconds = plain["step"], plain["seconds"]
        return True


def contrast(logits: Float[Tensor, "B T"], truth: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Cross-entropy over rows and over columns, each with its target spread evenly over what is true of it; rows and
    columns of which nothing is true do not count."""
    losses = []
    for scores, target in ((logits, truth), (logits.T, truth.T)):
        count = target.sum(1)
        entropy = -(F.log_softmax(scores, 1) * target).sum(1) / count.clamp(min=1)
        losses.append((entropy * (count > 0)).sum() / (count > 0).sum().clamp(min=1))
    return (losses[0] + losses[1]) / 2


def draw_pictures(people: People, heads: list[int], generator: torch.Generator) -> Float[Tensor, "B 4 H W"]:
    """One picture of each head, any of its portraits or frontal views: mirrored or not, cropped anew, in other light."""
    device, batch = generator.device, len(heads)
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    number = (uniform(batch) * people.pictures.shape[1]).long().cpu()
    picture = people.pictures[torch.tensor(heads), number].to(device).float() / 255
    flip = uniform(batch) < 0.5
    picture = torch.where(flip[:, None, None, None], picture.flip(-1), picture)
    zoom = torch.exp((uniform(batch) - 0.4) * 0.4)
    shift = (uniform(batch, 2) - 0.5) * (picture.shape[-1] / 8)
    picture, _ = recrop(picture, torch.zeros((batch, 3, 3), device=device), zoom, shift)
    return vary_light(picture, generator)


@torch.no_grad()
def plain_points(
    model: TrainedLatent, people: People, heads: list[int], picture: int = 0, size: int = 64
) -> Float[Tensor, "N Z"]:
    """Points of one picture of each head, as it is."""
    device = next(model.parameters()).device
    parts = [torch.tensor(heads[i : i + size]) for i in range(0, len(heads), size)]
    return torch.cat(
        [model.encode_pictures(on_grey(people.pictures[part, picture].to(device).float() / 255)) for part in parts]
    )
