"""The portrait as one vector: CLIP's image tower (ViT-L/14), under OpenAI's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
PICTURE = 224


def clip_pixels(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 224 224"]:
    """Pictures in [-1, 1] as CLIP wants them. Resized with `align_corners`, as when the weights were trained."""
    small = F.interpolate(pictures, (PICTURE, PICTURE), mode="bicubic", align_corners=True)
    mean, deviation = pictures.new_tensor(_MEAN), pictures.new_tensor(_DEVIATION)
    return ((small + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "gelu": _QuickGELU(), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False)[0]
        hidden = self.ln_2(x)
        for layer in self.mlp.values():
            hidden = layer(hidden)
        return x + hidden


class ImageEncoder(nn.Module):
    """Pictures to vectors, not normalised to unit length. The defaults are ViT-L/14."""

    def __init__(
        self, *, width: int = 1024, layers: int = 24, heads: int = 16, outputs: int = 768, patch: int = 14
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn((PICTURE // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*(_Block(width, heads) for _ in range(layers)))})
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, outputs))

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 K"]:
        """`pictures` in [-1, 1], of any size; one token each, for cross-attention."""
        x = self.conv1(clip_pixels(pictures)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer["resblocks"](self.ln_pre(x))
        return self.ln_post(x[:, :1]) @ self.proj
