"""Training of the latent space: a portrait and what is said of it come to lie together; it stops and goes on anywhere.

CLIP's loss, with one change: a text is true of many portraits and a portrait makes many texts true, so the target of
each row is spread evenly over all that are true in the batch (multi-positive cross-entropy), in both directions. On
top, the prompts of each attribute compete with each other for every portrait (`questions`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.latent import LatentConfig, TrainedLatent
from backend.training import team
from backend.training.augment import on_grey, recrop, vary_light
from backend.training.questions import QUESTIONS, answers
from backend.training.stage import Stage

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from backend.rodin.latent import LatentSpace
    from backend.training.people import People


@dataclasses.dataclass(frozen=True)
class LatentStageConfig:
    """The recipe. `steps` of `batch` people, two pictures, a caption and a prompt each; `agreement` weighs that the two
    pictures of a person agree, `questions` that portraits are told apart by attribute. The last `held_back` people (at
    most a fifth of all) are not learned from."""

    model: LatentConfig = dataclasses.field(default_factory=LatentConfig)
    steps: int = 1000
    batch: int = 48
    rate: float = 1.5e-3
    warm_up: int = 50
    final_rate: float = 0.02
    weight_decay: float = 0.05
    average: float = 0.99
    agreement: float = 0.3
    questions: float = 1.0
    held_back: int = 64
    seed: int = 0


class LatentNetworks(nn.Module):
    """Both encoders and the learned sharpness (log of CLIP's inverse temperature) of texts and of pictures."""

    def __init__(self, config: LatentConfig, vocabulary: list[str]) -> None:
        super().__init__()
        self.latent = TrainedLatent(config, vocabulary)
        # Convolutions of pictures are a third faster with the channels innermost.
        self.latent.pictures.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.sharpness = nn.Parameter(torch.full((2,), math.log(1 / 0.07)))


class LatentStage(Stage[LatentNetworks, LatentStageConfig]):
    """Both encoders under training. `learned` is how many of the people are learned from, the first ones."""

    def __init__(self, people: People, config: LatentStageConfig, device: torch.device | str = "cpu") -> None:
        vocabulary = people.prompts.vocabulary()
        super().__init__(config, device, lambda: LatentNetworks(config.model, vocabulary), {"vocabulary": vocabulary})
        self.people = people
        self.learned = len(people) - min(config.held_back, len(people) // 5)
        self.answers = answers(people.prompts.facts)

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, prompts, latent = self.config, self.people.prompts, self.model.latent
        # Words are drawn from a stream of each step's own: nothing of it has to be stored.
        rng = np.random.default_rng((config.seed, self.step_number, team.rank()))
        heads = rng.permutation(self.learned)[: config.batch].tolist()
        pictures = torch.cat([draw_pictures(self.people, heads, self.generator) for _ in range(2)])
        said = [prompts.caption(head, rng) for head in heads] + [prompts.prompt(head, rng) for head in heads]
        truth = prompts.truth(heads, said).to(self.device).repeat(2, 1)
        shown = F.normalize(latent.encode_pictures(pictures.contiguous(memory_format=torch.channels_last)), dim=-1)
        asked = [text for prompts in QUESTIONS.values() for text in prompts]
        texts = F.normalize(latent.encode_texts([*(one.text for one in said), *asked]), dim=-1)
        sharp = self.model.sharpness.clamp(max=math.log(100)).exp()
        count = len(heads)
        caption = contrast(sharp[0] * shown @ texts[:count].T, truth[:, :count])
        prompt = contrast(sharp[0] * shown @ texts[count : 2 * count].T, truth[:, count:])
        one, other = shown.chunk(2)
        agreement = contrast(sharp[1] * one @ other.T, torch.eye(count, dtype=torch.bool, device=self.device))
        scores = (sharp[0] * shown @ texts[2 * count :].T).split([len(one) for one in QUESTIONS.values()], 1)
        true_answers = [self.answers[attribute][heads].repeat(2).to(self.device) for attribute in QUESTIONS]
        question = torch.stack([decide(*pair) for pair in zip(scores, true_answers, strict=True)]).mean()
        figures = {"caption": caption, "prompt": prompt, "agreement": agreement, "question": question}
        return caption + prompt + config.agreement * agreement + config.questions * question, figures

    def averaged_space(self) -> TrainedLatent:
        """The running average of the encoders, for use."""
        return self.averaged_model().latent


def contrast(logits: Float[Tensor, "B T"], truth: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Cross-entropy over rows and over columns, each with its target spread evenly over what is true of it; rows and
    columns of which nothing is true do not count."""
    losses = []
    for scores, target in ((logits, truth), (logits.T, truth.T)):
        count = target.sum(1)
        entropy = -(F.log_softmax(scores, 1) * target).sum(1) / count.clamp(min=1)
        losses.append((entropy * (count > 0)).sum() / (count > 0).sum().clamp(min=1))
    return (losses[0] + losses[1]) / 2


def decide(logits: Float[Tensor, "B A"], answer: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Cross-entropy between the answers, in which all answers that occur count alike, however rare; -1 is no answer."""
    picked = F.one_hot(answer.clamp(min=0), logits.shape[1]) * (answer >= 0)[:, None]
    counts = picked.sum(0)
    entropy = -(F.log_softmax(logits, 1) * picked).sum(0) / counts.clamp(min=1)
    return entropy.sum() / (counts > 0).sum().clamp(min=1)


def draw_pictures(people: People, heads: list[int], generator: torch.Generator) -> Float[Tensor, "B 4 H W"]:
    """One picture of each head, portrait or frontal view: mirrored or not, cropped anew, in other light."""
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
    space: LatentSpace, people: People, heads: list[int], picture: int = 0, size: int = 64
) -> Float[Tensor, "N Z"]:
    """Points of one picture of each head, as it is."""
    device = space.device
    parts = [torch.tensor(heads[i : i + size]) for i in range(0, len(heads), size)]
    return torch.cat(
        [space.encode_pictures(on_grey(people.pictures[part, picture].to(device).float() / 255)) for part in parts]
    )
