"""How the networks are told the time-step and the direction of a view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

TIME_SIZE = 256
VIEW_SIZE = 4


def wave_embedding(steps: Int[Tensor, "B"], size: int, period: float = 10000.0) -> Float[Tensor, "B size"]:
    """Cosines, then sines, of `steps` (0 to 999) at size/2 frequencies from 1 down to almost 1/period."""
    half = size // 2
    rates = torch.exp(-math.log(period) * torch.arange(half, device=steps.device, dtype=torch.float32) / half)
    angles = steps[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimeEmbedding(nn.ModuleList):
    """Time-step to the vector that steers all conditioning networks; the U-Net has one of its own."""

    def __init__(self) -> None:
        super().__init__([nn.Linear(TIME_SIZE, TIME_SIZE), nn.SiLU(), nn.Linear(TIME_SIZE, TIME_SIZE)])

    def forward(self, steps: Int[Tensor, "B"]) -> Float[Tensor, "B 256"]:
        embedding = wave_embedding(steps, TIME_SIZE)
        for layer in self:
            embedding = layer(embedding)
        return embedding


def view_embedding(
    target_azimuth: Float[Tensor, "B N"],
    target_elevation: Float[Tensor, "B N"],
    input_azimuth: Float[Tensor, "B 1"],
    input_elevation: Float[Tensor, "B 1"],
) -> Float[Tensor, "B N 4"]:
    """Direction of each target view seen from the portrait's, all angles in radians.

    The authors trained with every angle 0, so for their weights it has to be 0 (`no_view_embedding`).
    """
    turn = target_azimuth - input_azimuth
    return torch.stack([target_elevation - input_elevation, turn.sin(), turn.cos(), torch.zeros_like(turn)], -1)


def no_view_embedding(batch: int, views: int) -> Float[Tensor, "B N 4"]:
    """What the networks were told in training: all views are in the same direction."""
    zeros = torch.zeros(batch, views)
    return view_embedding(zeros, zeros, zeros[:, :1], zeros[:, :1])
