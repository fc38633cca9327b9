"""The last layers of networks that are shown the portrait on the mesh: what the U-Net says of blocks becomes pixels.

Blocks are too coarse to say where a mesh ends and hair begins, so a network that adds to the portrait on the mesh
leaves a line along its outline. Here pixel by pixel is chosen what holds: one of the layers that were laid, or what was
drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from backend.morphable.projection import CHANNELS, LAYERS, as_pictures

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
            nn.Conv2d(_WIDTH, 3 + 1 + len(LAYERS), 3, padding=1),
        )

    def forward(
        self,
        features: Float[Tensor, "M f S S"],
        noisy: Float[Tensor, "M 3 S S"],
        drawn: Float[Tensor, "M channels S S"],
    ) -> Float[Tensor, "M 3 S S"]:
        """Colours in about [-1, 1]."""
        told = torch.cat([features, noisy, drawn], 1)
        found = self.layers(told.contiguous(memory_format=torch.channels_last))  # a third faster on processors
        of_each = torch.cat([(features[:, :3] + found[:, :3])[:, None], as_pictures(drawn)], 1)
        return (found[:, 3:].softmax(1)[:, :, None] * of_each).sum(1)
