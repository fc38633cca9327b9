"""Figures of merit during training: whole views of a bank against renders of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.evaluation.figures import psnr
from backend.radiance.cameras import Camera
from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.renderer import RenderConfig, render_view
from backend.radiance.supervision import View, crop_view
from backend.radiance.triplane import TriPlane
from backend.rodin import sampling
from backend.rodin.base import Condition
from backend.training.augment import on_grey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Bool, Float

    from backend.radiance.decoder import Decoder
    from backend.rodin.base import BaseModel
    from backend.training.bank import HeadBank
    from backend.training.base_stage import Encode

_SHEET = 256
"""Pixels along the side of a sheet's pictures, at most."""
QUICK = RenderConfig(coarse_samples=48, fine_samples=24)


def view_of(bank: HeadBank, head: int, view: int) -> tuple[Camera, Float[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """Camera, picture over white and which pixels count, see `seen_in_cube`: what lies outside is white."""
    seen, counts = seen_in_cube(bank, head, view)
    over_white = seen.rgb * seen.alpha[..., None] + 1 - seen.alpha[..., None]
    return seen.camera, over_white.astype(np.float32), counts


def seen_in_cube(bank: HeadBank, head: int, view: int) -> tuple[View, Bool[np.ndarray, "H W"]]:
    """A view of a bank without what lies outside the cube, which no planes can show, and which pixels count: those in
    which that does not hide the rest."""
    k = bank.intrinsics[head, view].double().cpu().numpy()
    height, width = bank.rgb.shape[-2:]
    camera = Camera(bank.world_to_camera[head, view].double().cpu().numpy(), k, width, height)
    rgb = bank.rgb[head, view].permute(1, 2, 0).cpu().numpy() / 255.0
    alpha, depth = bank.alpha[head, view, 0].cpu().numpy() / 255.0, bank.depth[head, view, 0].cpu().numpy() / 1000.0
    return crop_view(View(rgb, alpha, depth, camera), bank.half_size)


def field_of(bank: HeadBank, head: int, planes: torch.Tensor, decoder: Decoder) -> TriPlane:
    """Planes of one head as a field in posed space."""
    warp = None if bank.warps is None else bank.warps[head].float()
    return TriPlane(planes, decoder, bank.half_size, warp)


def render_head(
    bank: HeadBank, head: int, planes: torch.Tensor, decoder: Decoder, views: list[int]
) -> list[np.ndarray]:
    """Renders over white, H x W x 3, white where pixels do not count."""
    field = field_of(bank, head, planes, decoder)
    grid = OccupancyGrid.build(field, 64)
    drawn = []
    for view in views:
        camera, _, counts = view_of(bank, head, view)
        rgb = render_view(field, camera, occupancy=grid, background=(1, 1, 1), config=QUICK).rgb
        drawn.append(np.where(counts[..., None], rgb, np.float32(1)))
    return drawn


@torch.no_grad()
def regress(model: BaseModel, bank: HeadBank, encode: Encode, head: int, portrait: int = 0) -> torch.Tensor:
    """One step from nothing but noise: normalised planes of one head from one of its portraits, the true body."""
    pick = torch.tensor([head], device=bank.rgb.device)
    picture = on_grey(bank.portraits[pick, portrait].float() / 255)
    matrices = bank.portrait_world_to_camera[pick, portrait], bank.portrait_intrinsics[pick, portrait]
    told = torch.ones(1, device=picture.device)
    condition = Condition(picture, encode(picture), bank.body[pick], *matrices, told, told)
    return sampling.regress(model, condition, torch.Generator().manual_seed(0))[0]


def contact_sheet(
    bank: HeadBank,
    heads: list[int],
    make: Callable[[int], torch.Tensor],
    decoder: Decoder,
    path: Path,
    views: tuple[int, ...] = (0, 3, 4),
) -> float:
    """Portrait, if there is one, then truth and render of some views, one head per row; returns the mean PSNR of the
    renders, dB."""
    from backend.evaluation.held_out import write_picture

    rows, figures = [], []
    bank = bank.thinned(_SHEET)
    views = tuple(view for view in views if view < bank.rgb.shape[1])
    for head in heads:
        drawn = render_head(bank, head, make(head), decoder, list(views))
        true = [view_of(bank, head, view)[1] for view in views]
        figures += [psnr(a, b) for a, b in zip(drawn, true, strict=True)]
        first = []
        for picture in bank.portraits[head, :1]:
            side = picture.shape[-1] // true[0].shape[0]
            portrait = picture[:, ::side, ::side].permute(1, 2, 0).cpu().numpy() / 255
            first = [portrait[..., :3] * portrait[..., 3:] + 1 - portrait[..., 3:]]
        rows.append(np.hstack([*first, *[picture for pair in zip(true, drawn, strict=True) for picture in pair]]))
    write_picture(path, np.vstack(rows))
    return float(np.mean(figures))
