"""The last layers of networks that are shown the portrait on the mesh: what the U-Net says of blocks becomes pixels.

Blocks are too coarse to say where a mesh ends and hair begins, so a network that adds to the portrait on the mesh
leaves a line along its outline. Here pixel by pixel is chosen which of the two holds: what was laid, or what was drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from backend.morphable.projection import CHANNELS, as_picture

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

FEATURES = 8
"""Channels of a pixel that the U-Net gives: the colour that it would draw, and what else this network may know."""
_WIDTH = 16


class PixelHead(nn.Module):
    """Features, noisy view and portrait on the mesh to the clean view, all in whole pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(FEATURES + 3 + CHANNELS, _WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, 4, 3, padding=1),
        )

    def forward(
        self,
        features: Float[Tensor, "M f S S"],
        noisy: Float[Tensor, "M 3 S S"],
        drawn: Float[Tensor, "M 8 S S"],
    ) -> Float[Tensor, "M 3 S S"]:
        """Colours in about [-1, 1]."""
        told = torch.cat([features, noisy, drawn], 1)
        found = self.layers(told.contiguous(memory_format=torch.channels_last))  # a third faster on processors
        laid = found[:, 3:].sigmoid()
        return laid * as_picture(drawn) + (1 - laid) * (features[:, :3] + found[:, :3])
