"""Layers over tri-planes, tensors B x 3 x C x H x W in the order and orientation of `backend.radiance.triplane`.

A plane is padded by its own border, never by its neighbour in the roll-out, so nothing bleeds from one into another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class PlaneConv(nn.Module):
    """A k x k convolution of each plane with a kernel of its own (the roll-out's convolution, without its seams)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.conv = nn.Conv2d(3 * inputs, 3 * outputs, kernel, stride, groups=3)

    def forward(self, planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 D h w"]:
        x = planes.flatten(1, 2)
        if self.pad:
            x = F.pad(x, (self.pad,) * 4, mode="replicate")
        x = self.conv(x)
        return x.unflatten(1, (3, -1))


class MixedConv(nn.Module):
    """What 3D-aware convolution is measured against: the planes' channels concatenated as if their pixels agreed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * inputs, 3 * outputs, 3)

    def forward(self, planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 D H W"]:
        x = F.pad(planes.flatten(1, 2), (1, 1, 1, 1), mode="replicate")
        return self.conv(x).unflatten(1, (3, -1))


class AwareConv(nn.Module):
    """3D-aware convolution (Rodin, section 3.2): a 3 x 3 convolution of [own plane; strip; strip].

    A texel of a plane is a line in space, which the two other planes see as a line too: each other plane is averaged
    along that line, which leaves a strip along the axis that both share, repeated over the plane. A 3 x 3 convolution
    of a repeated strip is a convolution along the strip alone, so the strips go through 1-D kernels before they are
    repeated: the same layer, at a third of the cost. The kernels of the strips start at zero.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own = PlaneConv(inputs, outputs)
        self.along_columns = nn.Conv1d(3 * inputs, 3 * outputs, 3, groups=3, bias=False)
        self.along_rows = nn.Conv1d(3 * inputs, 3 * outputs, 3, groups=3, bias=False)
        for strips in (self.along_columns, self.along_rows):
            nn.init.zeros_(strips.weight)

    def forward(self, planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 D H W"]:
        columns, rows = shared_strips(planes)
        a = self.along_columns(F.pad(columns.flatten(1, 2), (1, 1), mode="replicate")).unflatten(1, (3, -1))
        b = self.along_rows(F.pad(rows.flatten(1, 2), (1, 1), mode="replicate")).unflatten(1, (3, -1))
        return self.own(planes) + a[..., None, :] + b[..., None]


def shared_strips(planes: Float[Tensor, "B 3 C H W"]) -> tuple[Float[Tensor, "B 3 C W"], Float[Tensor, "B 3 C H"]]:
    """For each plane, what the others know along its columns' axis and along its rows' axis."""
    over_rows, over_columns = planes.mean(-2), planes.mean(-1)
    x_of_xy, x_of_xz, y_of_yz = over_rows.unbind(1)
    y_of_xy, z_of_xz, z_of_yz = over_columns.unbind(1)
    columns = torch.stack([x_of_xz, x_of_xy, y_of_xy], 1)
    rows = torch.stack([y_of_yz, z_of_yz, z_of_xz], 1)
    return columns, rows


class PlaneNorm(nn.Module):
    """Group normalisation, each group within one plane."""

    def __init__(self, channels: int, groups: int = 4) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(3 * groups, 3 * channels)

    def forward(self, planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 C H W"]:
        return self.norm(planes.flatten(1, 2)).unflatten(1, (3, -1))


class PlaneBlock(nn.Module):
    """Residual block with adaptive normalisation: the embedding scales and shifts the second normalisation.

    `kind`: "aware", "plain" (no exchange between planes) or "mixed" (channels concatenated).
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, *, dropout: float = 0.0, kind: str = "aware") -> None:
        super().__init__()
        self.norm_in, self.norm_out = PlaneNorm(inputs), PlaneNorm(outputs)
        self.conv_in = MixedConv(inputs, outputs) if kind == "mixed" else PlaneConv(inputs, outputs)
        second = {"aware": AwareConv, "plain": PlaneConv, "mixed": MixedConv}[kind]
        self.conv_out = second(outputs, outputs)
        self.modulate = nn.Linear(embedding, 2 * outputs)
        self.dropout = nn.Dropout(dropout)
        self.skip = PlaneConv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "B 3 C H W"], embedding: Float[Tensor, "B E"]) -> Float[Tensor, "B 3 D H W"]:
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulate(F.silu(embedding))[:, None, :, None, None].chunk(2, 2)
        hidden = self.norm_out(hidden) * (1 + scale) + shift
        return self.skip(x) + self.conv_out(self.dropout(F.silu(hidden)))


class PlaneAttention(nn.Module):
    """Attention of all texels of the three planes to each other and to the portrait's tokens."""

    def __init__(self, channels: int, tokens: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = PlaneNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.condition = nn.Linear(tokens, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, planes: Float[Tensor, "B 3 C H W"], tokens: Float[Tensor, "B T K"]) -> Float[Tensor, "B 3 C H W"]:
        batch, _, channels, height, width = planes.shape
        x = self.norm(planes).permute(0, 1, 3, 4, 2).reshape(batch, -1, channels)
        q, k, v = self.project(x).chunk(3, -1)
        more_k, more_v = self.condition(tokens).chunk(2, -1)
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        mixed = F.scaled_dot_product_attention(
            split(q), split(torch.cat([k, more_k], 1)), split(torch.cat([v, more_v], 1))
        )
        x = self.out(mixed.transpose(1, 2).flatten(2))
        return planes + x.reshape(batch, 3, height, width, channels).permute(0, 1, 4, 2, 3)


def shrink(planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 C h w"]:
    """Half the size: mean of 2 x 2 texels."""
    return F.avg_pool2d(planes.flatten(1, 2), 2).unflatten(1, (3, -1))


def enlarge(planes: Float[Tensor, "B 3 C H W"]) -> Float[Tensor, "B 3 C h w"]:
    """Twice the size, bilinear, so that texel centres stay where they are."""
    doubled = F.interpolate(planes.flatten(1, 2), scale_factor=2, mode="bilinear", align_corners=False)
    return doubled.unflatten(1, (3, -1))
