"""Figures of merit during training: whole views of a bank against renders of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import RenderConfig, render_view
from backend.radiance.cameras import Camera
from backend.radiance.triplane import TriPlane

if TYPE_CHECKING:
    from jaxtyping import Float

    from backend.radiance.decoder import Decoder
    from backend.training.bank import HeadBank

QUICK = RenderConfig(coarse_samples=48, fine_samples=24)


def view_of(bank: HeadBank, head: int, view: int) -> tuple[Camera, Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """Camera, picture over white and alpha of one view."""
    k = bank.intrinsics[head, view].double().cpu().numpy()
    height, width = bank.rgb.shape[-2:]
    camera = Camera(bank.world_to_camera[head, view].double().cpu().numpy(), k, width, height)
    alpha = bank.alpha[head, view, 0].cpu().numpy() / 255.0
    rgb = bank.rgb[head, view].permute(1, 2, 0).cpu().numpy() / 255.0
    return camera, (rgb * alpha[..., None] + 1 - alpha[..., None]).astype(np.float32), alpha.astype(np.float32)


def field_of(bank: HeadBank, head: int, planes: torch.Tensor, decoder: Decoder) -> TriPlane:
    """Planes of one head as a field in posed space."""
    warp = None if bank.warps is None else bank.warps[head].float()
    return TriPlane(planes, decoder, bank.half_size, warp)


def render_head(bank: HeadBank, head: int, planes: torch.Tensor, decoder: Decoder, views: list[int]) -> list[np.ndarray]:
    """Renders over white, H x W x 3."""
    field = field_of(bank, head, planes, decoder)
    grid = OccupancyGrid.build(field, 64)
    return [
        render_view(field, view_of(bank, head, v)[0], occupancy=grid, background=(1, 1, 1), config=QUICK).rgb
        for v in views
    ]


def psnr(one: np.ndarray, other: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Of two pictures in [0, 1], all of them or where `mask` is set, dB."""
    error = (one - other) ** 2
    return float(-10 * np.log10(max(float(error.mean() if mask is None else error[mask].mean()), 1e-10)))
