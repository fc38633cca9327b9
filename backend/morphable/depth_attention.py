"""Each pixel of a view looks along its ray into the view's frustum features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from backend.morphable.target_encoder import GROUPS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

HEADS = 4


class DepthAttention(nn.Module):
    """Attention of one query per pixel over the D depths behind it. Depths are not numbered: order does not count."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.scale = (width // HEADS) ** -0.5
        self.to_q = nn.Conv2d(width, width, 1, bias=False)
        self.to_k = nn.Conv3d(context, width, 1, bias=False)
        self.to_v = nn.Conv3d(context, width, 1, bias=False)
        self.to_out = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"], context: Float[Tensor, "B K D H W"]) -> Float[Tensor, "B C H W"]:
        queries = self.to_q(x).flatten(2).transpose(1, 2).unflatten(-1, (HEADS, -1))
        to_key, to_value = (layer.weight.flatten(1).unflatten(0, (HEADS, -1)) for layer in (self.to_k, self.to_v))
        # Keys and values are linear in the context, so the one query goes to the context instead of the D depths to it.
        beside = context.contiguous(memory_format=torch.channels_last_3d).permute(0, 3, 4, 2, 1).flatten(1, 2)
        asked = torch.einsum("bphc,hck->bphk", queries, to_key)
        weights = (asked @ beside.transpose(-1, -2) * self.scale).softmax(-1)
        read = torch.einsum("bphk,hck->bhcp", weights @ beside, to_value)
        return self.to_out(read.flatten(1, 2).unflatten(-1, x.shape[-2:]))


class DepthBlock(nn.Module):
    """Depth attention between two projections, added to what came in.

    The last convolution starts at zero, so that training starts from the U-Net as it was.
    """

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        inner = 2 * context
        self.proj_in = nn.Sequential(nn.Conv2d(width, inner, 1), nn.GroupNorm(GROUPS, inner), nn.SiLU())
        self.proj_context = nn.Sequential(
            nn.Conv3d(context, context, 1, bias=False), nn.GroupNorm(GROUPS, context), nn.ReLU()
        )
        self.depth_attn = DepthAttention(inner, context)
        last = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        self.proj_out = nn.Sequential(
            nn.GroupNorm(GROUPS, inner), nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, inner), nn.ReLU(), last,
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "B C H W"], context: Float[Tensor, "B K D H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.proj_out(self.depth_attn(self.proj_in(x), self.proj_context(context)))
