"""Portraits as cameras of all kinds would have taken them: cropped anew, in other light, soft and noisy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def vary_light(picture: Float[Tensor, "B 4 H W"], generator: torch.Generator) -> Float[Tensor, "B 4 H W"]:
    """Straight sRGB and alpha to the same on grey, with another exposure, tint, contrast, sharpness and noise."""
    device, batch = picture.device, len(picture)
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    rgb, alpha = picture[:, :3], picture[:, 3:]
    gain = torch.exp((uniform(batch, 3, 1, 1) - 0.5) * 0.16 + (uniform(batch, 1, 1, 1) - 0.5) * 0.3)
    rgb = (rgb * gain).clamp(0, 1) ** torch.exp((uniform(batch, 1, 1, 1) - 0.5) * 0.3)
    soft = F.avg_pool2d(F.pad(rgb, (1, 1, 1, 1), mode="replicate"), 3, 1)
    rgb = torch.lerp(rgb, soft, uniform(batch, 1, 1, 1) * 0.9)
    rgb = rgb + torch.randn(rgb.shape, generator=generator, device=device) * uniform(batch, 1, 1, 1) * 0.03
    return on_grey(torch.cat([rgb.clamp(0, 1), alpha], 1))


def on_grey(picture: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 4 H W"]:
    """Straight sRGB and alpha as a condition has them: grey where there is nobody."""
    rgb, alpha = picture[:, :3], picture[:, 3:]
    return torch.cat([rgb * alpha + 0.5 * (1 - alpha), alpha], 1)


def recrop(
    picture: Float[Tensor, "B C H W"], k: Float[Tensor, "B 3 3"], zoom: Float[Tensor, "B"], shift: Float[Tensor, "B 2"]
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B 3 3"]]:
    """The picture enlarged by `zoom` about its middle and moved by `shift` pixels, with its intrinsics."""
    batch, _, height, width = picture.shape
    axis = (torch.arange(width, device=picture.device) + 0.5) / width * 2 - 1
    rows = (torch.arange(height, device=picture.device) + 0.5) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(rows, axis, indexing="ij")[::-1], -1)[None].expand(batch, -1, -1, -1)
    moved = shift * 2 / width
    grid = (grid - moved[:, None, None]) / zoom[:, None, None, None]
    drawn = F.grid_sample(picture, grid, padding_mode="zeros", align_corners=False)
    k = k.clone()
    k[:, 0, 0], k[:, 1, 1] = k[:, 0, 0] * zoom, k[:, 1, 1] * zoom
    k[:, 0, 2] = (k[:, 0, 2] - width / 2) * zoom + width / 2 + shift[:, 0]
    k[:, 1, 2] = (k[:, 1, 2] - height / 2) * zoom + height / 2 + shift[:, 1]
    return drawn, k
