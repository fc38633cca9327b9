"""The space that portraits and texts share: its points steer the base model, its directions are edits.

Rodin takes CLIP's space (`backend.rodin.clip` reads it from the user's disk); the pair of encoders here is trained on
our own portraits and captions by the same loss (`backend.training.latent_stage`). A point is a vector of Z numbers and
length sqrt(Z), so that each number is about one in size.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.words import buckets, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

_UNKNOWN = 0


class LatentSpace(Protocol):
    """What portraits and texts are turned into; `size` is Z, points lie on `device`."""

    size: int

    @property
    def device(self) -> torch.device: ...

    def encode_pictures(self, pictures: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B Z"]:
        """Points of portraits: sRGB on grey, and alpha."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "B Z"]:
        """Points of descriptions."""
        ...


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """Sizes of the encoder pair: Z, the picture's side in pixels, widths of the levels of the picture's encoder (each
    half the size of the one before), and width, layers, heads and longest text (in words) of the text's."""

    size: int = 128
    picture: int = 128
    widths: tuple[int, ...] = (24, 48, 96, 160)
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    longest: int = 48
    buckets: int = 4096


class TrainedLatent(nn.Module):
    """The pair of encoders trained on our own portraits. `vocabulary`: words that are known as a whole."""

    def __init__(self, config: LatentConfig, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.config, self.size = config, config.size
        self.pictures = LatentEncoder(config)
        self.texts = TextEncoder(config, vocabulary)

    @property
    def device(self) -> torch.device:
        return self.texts.place.device

    def encode_pictures(self, pictures: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B Z"]:
        return self.pictures(pictures)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "B Z"]:
        return self.texts(texts)


class LatentEncoder(nn.Module):
    """A small convolutional network: a portrait to its point."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.picture = config.picture
        widths = (4, *config.widths)
        self.levels = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), _Bottleneck(b)) for a, b in itertools.pairwise(widths))
        )
        side, wide = config.picture // 2 ** len(config.widths), config.widths[-1]
        self.place = nn.Parameter(0.02 * torch.randn(wide, side, side))
        self.mix = nn.Sequential(_Bottleneck(wide), nn.GroupNorm(4, wide), nn.SiLU())
        self.out = nn.Linear(2 * wide, config.size)

    def forward(self, pictures: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B Z"]:
        if pictures.shape[-1] != self.picture:
            side = (self.picture, self.picture)
            pictures = F.interpolate(pictures, side, mode="bilinear", antialias=True, align_corners=False)
        x = self.mix(self.levels(pictures * 2 - 1) + self.place)
        return on_sphere(self.out(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)))


class TextEncoder(nn.Module):
    """A small transformer over the words of `backend.rodin.words`: a text to its point.

    A word is its row in a table plus the mean of the rows of its pieces; unknown words, misspelt ones among them, have
    only their pieces, which they share with the words they resemble.
    """

    def __init__(self, config: LatentConfig, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.vocabulary = tuple(vocabulary)
        self._numbers = {word: number for number, word in enumerate(self.vocabulary, _UNKNOWN + 1)}
        self._longest, self._buckets = config.longest, config.buckets
        wide = config.text_width
        self.table = nn.Embedding(len(self.vocabulary) + 1, wide)
        self.pieces = nn.EmbeddingBag(config.buckets, wide, mode="mean")
        self.place = nn.Parameter(0.02 * torch.randn(config.longest + 1, wide))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                wide, config.text_heads, 4 * wide, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.text_layers)
        )
        self.norm, self.out = nn.LayerNorm(wide), nn.Linear(wide, config.size)
        # At first a word is little more than its pieces, some twenty of them: so misspelt ones start near.
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.normal_(self.pieces.weight, std=0.4)

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "B Z"]:
        device = self.place.device
        said = [words(text)[: self._longest] for text in texts]
        longest = max(1, *map(len, said))
        flat = [word for one in said for word in one]
        taken = torch.tensor([[i < len(one) for i in range(longest)] for one in said], device=device)
        x = torch.zeros((len(said), longest, self.place.shape[1]), device=device)
        if flat:
            pieces = [_buckets(word, self._buckets) for word in flat]
            offsets = torch.tensor([0, *itertools.accumulate(map(len, pieces))][:-1], device=device)
            joined = torch.tensor([number for some in pieces for number in some], device=device)
            numbers = torch.tensor([self._numbers.get(word, _UNKNOWN) for word in flat], device=device)
            known = (numbers != _UNKNOWN).to(x.dtype)[:, None]
            x[taken] = self.table(numbers) * known + self.pieces(joined, offsets)
        # A start token gathers what is said; a text without words is that token alone.
        x = F.pad(x, (0, 0, 1, 0)) + self.place[: longest + 1]
        missing = F.pad(~taken, (1, 0), value=False)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=missing)
        return on_sphere(self.out(self.norm(x[:, 0])))


class _Bottleneck(nn.Module):
    """Residual block of kernels 1, 3, 1 at half the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.layers = nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, half, 1),
            nn.GroupNorm(4, half), nn.SiLU(), nn.Conv2d(half, half, 3, padding=1),
            nn.GroupNorm(4, half), nn.SiLU(), nn.Conv2d(half, width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def on_sphere(vectors: Float[Tensor, "*B Z"]) -> Float[Tensor, "*B Z"]:
    """The same directions at length sqrt(Z)."""
    return F.normalize(vectors, dim=-1) * math.sqrt(vectors.shape[-1])


@functools.lru_cache(maxsize=8192)
def _buckets(word: str, count: int) -> tuple[int, ...]:
    return tuple(buckets(word, count))
