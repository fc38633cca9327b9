"""Training of the upsampler; it stops and goes on at any step.

It learns from heads that were fitted with large planes: what those hold beyond their own halves in size is the target,
and pictures through the frozen decoder say which of it shows (Rodin, section 3.3).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from backend.radiance.canonical import mirror_planes
from backend.radiance.triplane import resize_planes
from backend.rodin.schedule import add_noise
from backend.rodin.upsampler import Upsampler, UpsamplerConfig, enlarged
from backend.training.base_stage import draw_condition
from backend.training.losses import point_loss, ray_loss
from backend.training.stage import Stage, quick_in_bf16

if TYPE_CHECKING:
    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.rodin.aligned import Anchors
    from backend.training.bank import HeadBank


@dataclasses.dataclass(frozen=True)
class UpsamplerStageConfig:
    """The recipe; `disturb` is the greatest noise that the small planes are given, in their spreads."""

    model: UpsamplerConfig = dataclasses.field(default_factory=UpsamplerConfig)
    steps: int = 6000
    batch: int = 4
    rate: float = 4e-4
    warm_up: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    average: float = 0.999
    at_noise: float = 0.4
    point_alone: float = 0.0
    nothing: float = 0.1
    disturb: float = 0.5
    plane_weight: float = 1.0
    point_weight: float = 1.0
    points: int = 3000
    ray_weight: float = 12.0
    rays: int = 512
    ray_samples: int = 24
    fit_noise: float = 0.0015
    seed: int = 0


class UpsamplerStage(Stage[Upsampler, UpsamplerStageConfig]):
    """The upsampler under training.

    `planes` are the large ones of the bank's heads; `mean` and `spread` normalise the small ones as for the base model.
    """

    def __init__(
        self,
        bank: HeadBank,
        planes: Tensor,
        mean: Tensor,
        spread: Tensor,
        decoder: Decoder,
        anchors: Anchors,
        config: UpsamplerStageConfig,
    ) -> None:
        device = bank.rgb.device
        told = {"set of people": bank.fingerprint()}
        super().__init__(config, device, lambda: Upsampler(config.model, anchors.to(device)), told)
        self.bank, self.decoder = bank, decoder.requires_grad_(False)
        self.targets, self.mean, self.spread = planes, mean, spread
        self.detail_spread = detail_statistics(planes, config.model.low)

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, generator, device = self.config, self.generator, self.device
        uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
        heads = (uniform(config.batch) * len(self.bank)).long()
        mirrored = uniform(config.batch) < 0.5
        flip = mirrored[:, None, None, None, None]
        large = self.targets[heads].float()
        large = torch.where(flip, mirror_planes(large), large)
        low = resize_planes(large, config.model.low)
        target = (large - enlarged(low, config.model.size)) / self.detail_spread
        no_point = lambda picture: picture.new_zeros(len(picture), 1)  # noqa: E731
        condition = draw_condition(self.bank, heads, mirrored, config, generator, no_point)
        disturbed = uniform(config.batch)
        noise = torch.randn(low.shape, generator=generator, device=device)
        told = (low - self.mean) / self.spread + config.disturb * disturbed[:, None, None, None, None] * noise
        t = uniform(config.batch)
        t = torch.where(uniform(config.batch) < config.at_noise, torch.ones_like(t), t)
        noise = torch.randn(target.shape, generator=generator, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=quick_in_bf16(device)):
            guess = self.model(add_noise(target, noise, t), t, told, disturbed, self.model.see(condition))
        guess = guess.float()
        plane = (guess - target).square().mean()
        # The pictures see the fitted small planes with the guessed detail: errors of the base are not its to mend.
        planes = (enlarged(low, config.model.size) + guess * self.detail_spread).clamp(-1, 1)
        planes = torch.where(flip, mirror_planes(planes), planes)
        warps = self.bank.warp(heads)
        point = point_loss(planes, warps, self.decoder, self.bank.draw_points(heads, config.points, generator))
        rays = self.bank.draw_rays(heads, config.rays, config.ray_samples, generator)
        ray = ray_loss(planes, warps, self.decoder, rays)
        loss = config.plane_weight * plane + config.point_weight * point + config.ray_weight * ray
        return loss, {"plane": plane, "point": point, "ray": ray}


def detail_statistics(planes: Tensor, low: int) -> Tensor:
    """Spread of what planes lack when they are made small and large again, per plane and channel (3, C, 1, 1)."""
    total = torch.zeros(planes.shape[1:3], device=planes.device)
    for part in planes.split(32):
        whole = part.float()
        total += (whole - enlarged(resize_planes(whole, low), whole.shape[-1])).square().mean((-1, -2)).sum(0)
    return (total / len(planes)).sqrt().clamp(min=1e-3)[..., None, None]
