"""Two small networks that judge heads, made from the training people alone and by no engine.

The *verifier* says whether two pictures show the same person, from any side; the *classifier* says what a person looks
like, in the words of `synthetic_data.captions`. Both see 128 x 128 pixels over white. What counts as a person is the
training set's notion: face, hair and clothes together.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.residual import ResidualBlock
from backend.weights.network_file import load_network, save_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

PICTURE = 128
ATTRIBUTES = (
    "sex", "age", "skin", "hair", "hair colour", "beard", "glasses", "headwear", "garment", "garment colour",
)  # fmt: skip
"""What the classifier tells; keys of `synthetic_data.captions.attributes`."""
COVERING = ("beanie", "turban", "headscarf")
"""Headwear that hides the hair: what nobody sees is asked of nobody."""
_KIND = "judge"
_ORIGIN = {"trained_by": "judges", "stage": "evaluate"}


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """Channels at 32, 16, 8 and 4 pixels, and the size of the verifier's embedding."""

    widths: tuple[int, ...] = (32, 64, 128, 192)
    embedding: int = 128


class Trunk(nn.Module):
    """Pictures to feature maps, one per level; patches of 4 x 4 pixels are the first channels."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, widths[0], 3, padding=1), ResidualBlock(widths[0])
        )
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), ResidualBlock(b))
            for a, b in itertools.pairwise(widths)
        )

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        maps = [self.enter(pictures * 2 - 1)]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps


class Verifier(nn.Module):
    """Pictures of heads to unit vectors; those of one person point the same way."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.widths)
        wide = config.widths[-1]
        self.project = nn.Sequential(nn.SiLU(), nn.Linear(wide, wide), nn.SiLU(), nn.Linear(wide, config.embedding))

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        return F.normalize(self.project(self.trunk(pictures)[-1].mean((2, 3))), dim=1)

    def features(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """What the Fréchet distance is measured on: mean and deviation of every channel of every level. The first
        levels see texture and sharpness, the last ones who it is."""
        maps = [level.flatten(2) for level in self.trunk(pictures)]
        return torch.cat([part for level in maps for part in (level.mean(2), level.std(2))], 1)


class Classifier(nn.Module):
    """Pictures of heads to logits of the words that `vocabulary` lists for every attribute."""

    def __init__(self, config: JudgeConfig, vocabulary: dict[str, list[str]]) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.trunk = Trunk(config.widths)
        self.heads = nn.Linear(config.widths[-1], sum(map(len, vocabulary.values())))

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, "B K"]]:
        logits = self.heads(F.silu(self.trunk(pictures)[-1].mean((2, 3))))
        return dict(
            zip(self.vocabulary, logits.split([len(words) for words in self.vocabulary.values()], 1), strict=True)
        )


@torch.no_grad()
def similarity(
    verifier: Verifier, one: Float[Tensor, "B 3 H W"], other: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, " B"]:
    """Cosine between the embeddings of B pairs of pictures: 1 for the same person."""
    return (verifier(one) * verifier(other)).sum(1)


@torch.no_grad()
def attributes(classifier: Classifier, pictures: Float[Tensor, "B 3 H W"]) -> dict[str, str]:
    """The likeliest word for every attribute of the one person that all the pictures show."""
    return {
        name: classifier.vocabulary[name][int(logits.log_softmax(1).mean(0).argmax())]
        for name, logits in classifier(pictures).items()
    }


def as_batch(pictures: Float[np.ndarray, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Pictures as the judges take them."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32))


def vocabulary_of(people: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The words that occur among the attributes of some people; attributes that they lack are left out."""
    found = {name: sorted({str(person[name]) for person in people if name in person}) for name in ATTRIBUTES}
    return {name: words for name, words in found.items() if words}


def visible(person: dict[str, Any], name: str) -> bool:
    """Whether pictures of a person can show this attribute."""
    return not (name in ("hair", "hair colour") and person.get("headwear") in COVERING)


def save_judge(path: Path, judge: Verifier | Classifier) -> None:
    """Write a judge, whole or not at all."""
    told: dict[str, Any] = {"config": dataclasses.asdict(judge.config)}
    if isinstance(judge, Classifier):
        told["vocabulary"] = judge.vocabulary
    save_network(path, _KIND, judge, told)


def load_verifier(path: Path) -> Verifier:
    """Read what `save_judge` wrote. Raises `MaquetteError` (MODEL_MISSING) when that is not there."""
    return load_network(path, _KIND, lambda told: Verifier(_config(told)), **_ORIGIN)


def load_classifier(path: Path) -> Classifier:
    """Read what `save_judge` wrote. Raises `MaquetteError` (MODEL_MISSING) when that is not there."""
    return load_network(path, _KIND, lambda told: Classifier(_config(told), told["vocabulary"]), **_ORIGIN)


def _config(told: dict[str, Any]) -> JudgeConfig:
    return JudgeConfig(tuple(told["config"]["widths"]), told["config"]["embedding"])
