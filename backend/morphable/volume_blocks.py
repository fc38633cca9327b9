"""The block that both 3D networks are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from backend.morphable.embeddings import TIME_SIZE, VIEW_SIZE
from backend.morphable.target_encoder import GROUPS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class VolumeBlock(nn.Module):
    """Add time (and view), normalise, activate, convolve: to the same size, to half of it, or `up` to twice of it."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, up: bool = False, view: bool = True) -> None:
        super().__init__()
        self.t_conv = nn.Conv3d(TIME_SIZE, inputs, 1)
        self.v_conv = nn.Conv3d(VIEW_SIZE, inputs, 1) if view else None
        self.norm = nn.GroupNorm(GROUPS, inputs)
        self.conv: nn.Module = (
            nn.ConvTranspose3d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
            if up
            else nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        )

    def forward(
        self, x: Float[Tensor, "B C Z Y X"], time: Float[Tensor, "B 256"], view: Float[Tensor, "B 4"] | None = None
    ) -> Float[Tensor, "B D z y x"]:
        x = x + self.t_conv(time[:, :, None, None, None])
        if self.v_conv is not None:
            assert view is not None
            x = x + self.v_conv(view[:, :, None, None, None])
        return self.conv(F.silu(self.norm(x)))
