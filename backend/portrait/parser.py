"""A small network that says what each pixel of a crop shows, learned from rendered heads.

It sees the aligned crop alone, in which head and shoulders always lie alike, and so also tells this person from others.
What it says is soft and coarse; `segmentation` joins it with the picture's own colours, which know the borders.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.residual import ResidualBlock
from backend.weights.network_file import load_network, save_network

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Bool, Float
    from torch import Tensor

PICTURE = 128
"""Pixels along the side of what the network sees."""
CLASSES = ("background", "hair", "skin", "garment")
"""Headwear counts as hair; brows, eyes, lips, beard and glasses as skin; other people are background."""
_KIND = "parser"


@dataclasses.dataclass(frozen=True)
class ParserConfig:
    """Channels at 64, 32, 16 and 8 pixels."""

    widths: tuple[int, ...] = (32, 64, 96, 128)


class HeadParser(nn.Module):
    """Crops to logits of `CLASSES`: a U-Net over blocks of 2 x 2 pixels.

    The fourth channel of a crop is 1 inside the picture and 0 where it goes on beyond that.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        pairs = list(itertools.pairwise(widths))
        self.enter = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(16, widths[0], 3, padding=1), ResidualBlock(widths[0])
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), ResidualBlock(b)) for a, b in pairs
        )
        self.middle = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(nn.Sequential(nn.Conv2d(a + b, a, 3, padding=1), ResidualBlock(a)) for a, b in pairs)
        self.leave = nn.Sequential(nn.SiLU(), nn.Conv2d(widths[0], 4 * len(CLASSES), 3, padding=1), nn.PixelShuffle(2))

    def forward(self, crops: Float[Tensor, "B 4 S S"]) -> Float[Tensor, "B 4 S S"]:
        maps = [self.enter(crops * 2 - 1)]
        for level in self.down:
            maps.append(level(maps[-1]))
        x = self.middle(maps.pop())
        for level, finer in zip(reversed(self.up), reversed(maps), strict=True):
            x = level(torch.cat([finer, F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        return self.leave(x)


@torch.no_grad()
def parse(
    parser: HeadParser, image: Float[np.ndarray, "S S 3"], inside: Bool[np.ndarray, "S S"]
) -> Float[np.ndarray, "128 128 4"]:
    """Probabilities of `CLASSES`: the mean of what the network says of the crop and of its mirror image."""
    small = cv2.resize(np.dstack([image, inside]).astype(np.float32), (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    crop = torch.from_numpy(small).permute(2, 0, 1)
    said = parser(torch.stack([crop, crop.flip(-1)])).softmax(1)
    return ((said[0] + said[1].flip(-1)) / 2).permute(1, 2, 0).numpy()


def save_parser(path: Path, parser: HeadParser) -> None:
    """Write a parser, whole or not at all."""
    save_network(path, _KIND, parser, dataclasses.asdict(parser.config))


@functools.cache
def load_parser(path: Path) -> HeadParser:
    """Read what `save_parser` wrote; the same file is read once. Raises `MaquetteError` (MODEL_MISSING) for others."""
    make = lambda told: HeadParser(ParserConfig(tuple(told["widths"])))  # noqa: E731
    return load_network(path, _KIND, make, trained_by="parser", stage="portrait")
