"""The U-Net over planes that base diffusion and upsampler share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from backend.rodin.plane_layers import PlaneAttention, PlaneBlock, PlaneConv, PlaneNorm, enlarge, shrink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


class PlaneUNet(nn.Module):
    """Planes of `inputs` channels to planes of `outputs`, steered by an embedding and by tokens.

    `widths` and `blocks` per level, finest first; each level has half the size of the one before. Levels from
    `attention_from` on attend to all texels and to the tokens. Texels also know where they are: a learned image of the
    finest size is added to the input. With `patch` the finest level works on blocks of patch x patch texels.
    `checkpointed` trains in less memory: what is between the blocks is kept, what is inside computed again.
    """

    def __init__(
        self,
        size: int,
        inputs: int,
        outputs: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        attention_from: int,
        embedding: int,
        tokens: int,
        dropout: float = 0.0,
        kind: str = "aware",
        patch: int = 1,
        checkpointed: bool = False,
    ) -> None:
        super().__init__()
        self.patch, self.checkpointed = patch, checkpointed
        self.enter = PlaneConv(inputs * patch**2, widths[0])
        self.place = nn.Parameter(0.02 * torch.randn(3, widths[0], size // patch, size // patch))
        block = lambda a, b: PlaneBlock(a, b, embedding, dropout=dropout, kind=kind)  # noqa: E731
        attend = lambda level: PlaneAttention(widths[level], tokens) if level >= attention_from else None  # noqa: E731
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, (wide, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.ModuleList()
            for _ in range(count):
                stage.append(_Step(block(width, wide), attend(level)))
                width = wide
                skips.append(width)
            self.down.append(stage)
            if level < len(widths) - 1:
                skips.append(width)
        self.middle = nn.ModuleList(
            [_Step(block(width, width), attend(len(widths) - 1)), _Step(block(width, width), None)]
        )
        for level in reversed(range(len(widths))):
            stage = nn.ModuleList()
            for _ in range(blocks[level] + 1):
                stage.append(_Step(block(width + skips.pop(), widths[level]), attend(level)))
                width = widths[level]
            self.up.append(stage)
        self.leave_norm, self.leave = PlaneNorm(width), PlaneConv(width, outputs * patch**2)
        nn.init.zeros_(self.leave.conv.weight)
        nn.init.zeros_(self.leave.conv.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, planes: Float[Tensor, "B 3 C S S"], embedding: Float[Tensor, "B E"], tokens: Float[Tensor, "B T K"]
    ) -> Float[Tensor, "B 3 D S S"]:
        if self.patch > 1:
            planes = F.pixel_unshuffle(planes, self.patch)
        x = self.enter(planes) + self.place
        kept = [x]
        for level, stage in enumerate(self.down):
            for step in stage:  # pyright: ignore[reportGeneralTypeIssues]
                x = self._take(step, x, embedding, tokens)
                kept.append(x)
            if level < len(self.down) - 1:
                x = shrink(x)
                kept.append(x)
        for step in self.middle:
            x = self._take(step, x, embedding, tokens)
        for number, stage in enumerate(self.up):
            for step in stage:  # pyright: ignore[reportGeneralTypeIssues]
                x = self._take(step, torch.cat([x, kept.pop()], 2), embedding, tokens)
            if number < len(self.up) - 1:
                x = enlarge(x)
        x = self.leave(F.silu(self.leave_norm(x)))
        return F.pixel_shuffle(x, self.patch) if self.patch > 1 else x

    def _take(self, step: nn.Module, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(step, x, embedding, tokens, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return step(x, embedding, tokens)


class _Step(nn.Module):
    def __init__(self, block: PlaneBlock, attention: PlaneAttention | None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return self.attention(x, tokens) if self.attention is not None else x


def wave_embedding(values: Float[Tensor, "B"], size: int) -> Float[Tensor, "B size"]:
    """Sines and cosines of `values` in [0, 1], as for time-steps up to 1000."""
    rates = torch.exp(-math.log(10000) * torch.arange(size // 2, device=values.device) / (size // 2))
    angles = 1000 * values[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
