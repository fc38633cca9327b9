"""The upsampler (Rodin, section 3.3): large planes from the base model's, by a diffusion of what those lack.

It predicts the clean detail (x0), so that its guess can be drawn through the decoder and compared with pictures while
it learns. The base model's planes are never quite those that were fitted; in training they are disturbed as much
(conditioning augmentation), and the network is told by how much.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.schedule import STEPS, scheduler, step_back
from backend.rodin.unet import PlaneUNet, wave_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.rodin.aligned import Anchors
    from backend.rodin.base import Condition

_ALIGNED = 5
"""Colour, alpha and cosine of the surface to the camera, at a texel's first and last anchor."""


@dataclasses.dataclass(frozen=True)
class UpsamplerConfig:
    """Sizes. The default goes from 64 to 128 texels, on blocks of `patch` x `patch`; the recipe ``upsampler-paper`` to
    Rodin's 256 x 256 x 32."""

    size: int = 128
    low: int = 64
    channels: int = 16
    patch: int = 4
    widths: tuple[int, ...] = (96, 128, 160)
    blocks: tuple[int, ...] = (2, 2, 2)
    embedding: int = 256
    dropout: float = 0.0
    kind: str = "aware"
    checkpointed: bool = False


class Upsampler(nn.Module):
    """Noisy detail, time-step and small planes to clean detail, all normalised."""

    def __init__(self, config: UpsamplerConfig, anchors: Anchors) -> None:
        super().__init__()
        self.config, self.anchors = config, anchors
        self.unet = PlaneUNet(
            config.size,
            2 * config.channels + 2 * _ALIGNED,
            config.channels,
            widths=config.widths,
            blocks=config.blocks,
            attention_from=len(config.widths),
            embedding=config.embedding,
            tokens=1,
            dropout=config.dropout,
            kind=config.kind,
            patch=config.patch,
            checkpointed=config.checkpointed,
        )
        self.time = nn.Sequential(
            nn.Linear(256, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )

    def see(self, condition: Condition) -> Float[Tensor, "B 3 D S S"]:
        """What the portrait shows at the texels; once per sampling."""
        picture = condition.picture
        moves = self.anchors.moves(condition.body)
        plain = torch.cat([picture[:, :3] * picture[:, 3:], picture[:, 3:]], 1)
        size = (picture.shape[-2], picture.shape[-1])
        seen = self.anchors.see(moves, plain, condition.world_to_camera, condition.intrinsics, size)
        facing = self.anchors.facing(moves, condition.world_to_camera)
        keep = condition.keep[:, None, None, None, None, None]
        return (torch.cat([seen, facing], 3) * keep).flatten(2, 3)

    def forward(
        self,
        detail: Float[Tensor, "B 3 C S S"],
        time: Float[Tensor, "B"],
        low: Float[Tensor, "B 3 C s s"],
        disturbed: Float[Tensor, "B"],
        aligned: Float[Tensor, "B 3 D S S"],
    ) -> Float[Tensor, "B 3 C S S"]:
        """`time` as for the base model; `disturbed` in [0, 1] is how much noise `low` was given."""
        embedding = self.time(torch.cat([wave_embedding(time, 128), wave_embedding(disturbed, 128)], 1))
        whole = torch.cat([detail, enlarged(low, self.config.size), aligned.to(detail.dtype)], 2)
        return self.unet(whole, embedding, whole.new_zeros(len(whole), 0, 1))


def enlarged(planes: Float[Tensor, "B 3 C s s"], size: int) -> Float[Tensor, "B 3 C S S"]:
    """Bilinear, texel centres where they were: what large planes are when nothing more is known."""
    flat = F.interpolate(planes.flatten(1, 2), (size, size), mode="bilinear", align_corners=False)
    return flat.unflatten(1, (3, -1))


@torch.no_grad()
def upsample(
    model: Upsampler,
    low: Float[Tensor, "B 3 C s s"],
    condition: Condition,
    generator: torch.Generator,
    *,
    steps: int = 1,
    disturbed: float = 0.1,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "B 3 C S S"]:
    """Normalised detail for the planes `low`; one step is the best guess, more steps are a sample (RodinHD: 10).

    `disturbed` tells the network how far to mistrust `low`. `progress` gets the finished fraction and may raise.
    """
    config, batch = model.config, len(low)
    shape = (batch, 3, config.channels, config.size, config.size)
    detail = torch.randn(shape, generator=generator, device=generator.device).to(low.device)
    aligned, doubt = model.see(condition), low.new_full((batch,), disturbed)
    plan = scheduler()
    plan.set_timesteps(steps, device=low.device)
    for number, step in enumerate(plan.timesteps):
        time = ((step + 1) / STEPS).float().expand(batch).to(low.device)
        clean = model(detail, time, low, doubt, aligned)
        detail = step_back(plan, clean, step, detail, generator)
        progress((number + 1) / steps)
    return detail
