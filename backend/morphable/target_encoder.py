"""The noisy-view encoder: what a noisy latent has to say to the other views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from backend.morphable.embeddings import TIME_SIZE, VIEW_SIZE

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

GROUPS = 8
"""Of every group norm in the conditioning networks."""


class SteeredBlock(nn.Module):
    """A residual block. Time and view are added to what is convolved, not to what is carried past it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time_embed = nn.Conv2d(TIME_SIZE, width, 1)
        self.view_embed = nn.Conv2d(VIEW_SIZE, width, 1)
        self.conv = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor, time: Float[Tensor, "B 256 1 1"], view: Float[Tensor, "B 4 1 1"]) -> Tensor:
        return x + self.conv(x + self.time_embed(time) + self.view_embed(view))


class TargetEncoder(nn.Module):
    """Noisy latents to feature maps of the same size, each view by itself."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.init_conv = nn.Conv2d(inputs, width, 3, padding=1)
        self.out_conv0, self.out_conv1, self.out_conv2 = SteeredBlock(width), SteeredBlock(width), SteeredBlock(width)
        self.final_out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(
        self, noisy: Float[Tensor, "B C H W"], time: Float[Tensor, "B 256"], view: Float[Tensor, "B 4"]
    ) -> Float[Tensor, "B F H W"]:
        time, view = time[:, :, None, None], view[:, :, None, None]
        x = self.init_conv(noisy)
        for block in (self.out_conv0, self.out_conv1, self.out_conv2):
            x = block(x, time, view)
        return self.final_out(x)
