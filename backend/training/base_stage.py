"""Training of the base model; it stops and goes on at any step.

Two kinds of supervision: the fitted planes of the plane set, and points and rays of the views through the frozen
decoder, which care for what shows. Part of each batch is at the last time-step: there the network is a regressor.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.radiance.canonical import mirror_body, mirror_planes
from backend.rodin.base import BaseConfig, BaseModel, Condition
from backend.rodin.schedule import add_noise, signal
from backend.training.losses import point_loss, ray_loss
from backend.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.rodin.aligned import Anchors
    from backend.training.bank import HeadBank


@dataclasses.dataclass(frozen=True)
class BaseStageConfig:
    """The recipe. `steps` of `batch` portraits; the part `at_noise` of a batch sees nothing but noise, the part
    `dropped` no portrait; rays start after the part `ray_start` of the steps."""

    model: BaseConfig = dataclasses.field(default_factory=BaseConfig)
    steps: int = 20_000
    batch: int = 8
    rate: float = 6e-4
    warm_up: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    average: float = 0.999
    at_noise: float = 0.4
    dropped: float = 0.08
    plane_weight: float = 1.0
    point_weight: float = 1.0
    points: int = 3000
    ray_start: float = 0.3
    ray_weight: float = 12.0
    rays: int = 384
    ray_samples: int = 24
    fit_noise: float = 0.0015
    seed: int = 0


class BaseStage:
    """The network under training, its running average, and where it is."""

    def __init__(
        self,
        bank: HeadBank,
        planes: Tensor,
        decoder: Decoder,
        anchors: Anchors,
        config: BaseStageConfig,
    ) -> None:
        self.bank, self.config, self.decoder = bank, config, decoder.requires_grad_(False)
        self.device = bank.rgb.device
        self.targets = planes
        self.mean, self.spread = plane_statistics(planes)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        torch.manual_seed(config.seed)
        self.model = BaseModel(config.model, anchors.to(self.device)).to(self.device)
        self.averaged = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.step_number, self.seconds = 0, 0.0

    def run(
        self, *, until: int | None = None, report: Callable[[int, dict[str, float]], None] = lambda s, f: None
    ) -> None:
        """Go on to step `until`, or to the end."""
        end = min(until or self.config.steps, self.config.steps)
        while self.step_number < end:
            begun = time.perf_counter()
            figures = self._step()
            self.seconds += time.perf_counter() - begun
            self.step_number += 1
            report(self.step_number, figures)

    def _step(self) -> dict[str, float]:
        config, generator, device = self.config, self.generator, self.device
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        u = torch.rand(config.batch, generator=generator, device=device)
        heads = (u * len(self.bank)).long()
        mirrored = torch.rand(config.batch, generator=generator, device=device) < 0.5
        target = self._normalise(self.targets[heads].float())
        target = torch.where(mirrored[:, None, None, None, None], mirror_planes(target), target)
        condition = draw_condition(self.bank, heads, mirrored, config, generator)
        t = torch.rand(config.batch, generator=generator, device=device)
        pure = torch.rand(config.batch, generator=generator, device=device) < config.at_noise
        t = torch.where(pure, torch.ones_like(t), t)
        noise = torch.randn(target.shape, generator=generator, device=device)
        bf16 = device.type == "cuda"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            guess = self.model(add_noise(target, noise, t), t, self.model.encode(condition))
        guess = guess.float()
        # Late steps, where most is signal, would otherwise drown in copying: their weight is bounded.
        kept = signal(t)
        weight = (kept / (1 - kept).clamp(min=1e-4)).clamp(0.2, 2.0)
        plane = ((guess - target).square().mean((1, 2, 3, 4)) * weight).mean()
        loss = config.plane_weight * plane
        figures = {"plane": float(plane.detach())}
        # Without a portrait nobody can know what this very head looks like: only the others are asked for it.
        told = condition.keep.nonzero()[:, 0]
        if len(told):
            planes = self.denormalise(guess)
            planes = torch.where(mirrored[:, None, None, None, None], mirror_planes(planes), planes)[told]
            heads = heads[told]
            warps = self.bank.warp(heads)
            use_rays = self.step_number >= config.ray_start * config.steps
            points = self.bank.draw_points(heads, config.points // (2 if use_rays else 1), generator)
            point = point_loss(planes, warps, self.decoder, points)
            loss = loss + config.point_weight * point
            figures["point"] = float(point.detach())
            if use_rays:
                rays = self.bank.draw_rays(heads, config.rays, config.ray_samples, generator)
                ray = ray_loss(planes, warps, self.decoder, rays)
                loss = loss + config.ray_weight * ray
                figures["ray"] = float(ray.detach())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._average()
        return figures

    def _rate(self) -> float:
        config, step = self.config, self.step_number
        warm = min(1.0, (step + 1) / config.warm_up)
        fraction = step / config.steps
        return (
            config.rate
            * warm
            * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * fraction)))
        )

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.config.average, (self.step_number + 1) / (self.step_number + 10))
        for name, value in self.model.state_dict().items():
            self.averaged[name].lerp_(value, 1 - keep)

    def _normalise(self, planes: Tensor) -> Tensor:
        return (planes - self.mean) / self.spread

    def denormalise(self, planes: Tensor) -> Tensor:
        """Normalised planes to those that the decoder reads."""
        return (planes * self.spread + self.mean).clamp(-1, 1)

    def averaged_model(self) -> BaseModel:
        """The running average, for use."""
        model = BaseModel(self.config.model, self.model.anchors).to(self.device)
        model.load_state_dict(self.averaged)
        return model.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Everything that the next run needs, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.items()}
        tensors["generator"] = self.generator.get_state()
        plain = {"step": self.step_number, "seconds": self.seconds, "config": dataclasses.asdict(self.config)}
        save_state(folder / STATE, tensors, self.optimiser, plain)

    def load(self, folder: Path) -> bool:
        """Go on where `save` left off; False when there is nothing to go on with.

        Raises `ValueError` when it belongs to another recipe.
        """
        if not (folder / STATE).exists():
            return False
        tensors, plain = load_state(folder / STATE, self.optimiser, self.device)
        if plain["config"] != json.loads(json.dumps(dataclasses.asdict(self.config))):
            raise ValueError(f"{folder / STATE} was made with another recipe: choose another folder")
        part = lambda prefix: {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}  # noqa: E731
        self.model.load_state_dict(part("model."))
        self.averaged = part("averaged.")
        self.generator.set_state(tensors["generator"].cpu())
        self.step_number, self.seconds = plain["step"], plain["seconds"]
        return True


def plane_statistics(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of all planes (3, C, S, S), and one spread per plane and channel (3, C, 1, 1)."""
    mean = torch.zeros(planes.shape[1:], device=planes.device)
    for part in planes.split(64):
        mean += (part.float() + mirror_planes(part.float())).sum(0) / 2
    mean /= len(planes)
    variance = torch.zeros(planes.shape[1:3], device=planes.device)
    for part in planes.split(64):
        variance += (part.float() - mean).square().mean((-1, -2)).sum(0)
    return mean, (variance / len(planes)).sqrt().clamp(min=1e-3)[..., None, None]


def draw_condition(
    bank: HeadBank, heads: Tensor, mirrored: Tensor, config: BaseStageConfig, generator: torch.Generator
) -> Condition:
    """A portrait of each head, as a fit would see it: cropped anew, its light and sharpness changed, the body a little
    off."""
    device = bank.rgb.device
    batch = len(heads)
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    number = (uniform(batch) * bank.portraits.shape[1]).long()
    picture = bank.portraits[heads, number].float() / 255
    matrix, k = bank.portrait_world_to_camera[heads, number], bank.portrait_intrinsics[heads, number].clone()
    body = bank.body[heads]
    flip = mirrored[:, None, None, None]
    picture = torch.where(flip, picture.flip(-1), picture)
    reflect = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], device=device))
    matrix = torch.where(mirrored[:, None, None], reflect @ matrix @ reflect, matrix)
    size = picture.shape[-1]
    k[:, 0, 2] = torch.where(mirrored, size - k[:, 0, 2], k[:, 0, 2])
    body = torch.where(mirrored[:, None, None], mirror_body(body), body)
    # Another crop: zoomed by up to a sixth and moved by up to a sixteenth.
    zoom = torch.exp((uniform(batch) - 0.5) * 0.32)
    shift = (uniform(batch, 2) - 0.5) * (size / 8)
    picture, k = recrop(picture, k, zoom, shift)
    rgb, alpha = picture[:, :3], picture[:, 3:]
    gain = torch.exp((uniform(batch, 3, 1, 1) - 0.5) * 0.16 + (uniform(batch, 1, 1, 1) - 0.5) * 0.3)
    rgb = (rgb * gain).clamp(0, 1) ** torch.exp((uniform(batch, 1, 1, 1) - 0.5) * 0.3)
    soft = F.avg_pool2d(F.pad(rgb, (1, 1, 1, 1), mode="replicate"), 3, 1)
    rgb = torch.lerp(rgb, soft, uniform(batch, 1, 1, 1) * 0.9)
    rgb = rgb + torch.randn(rgb.shape, generator=generator, device=device) * uniform(batch, 1, 1, 1) * 0.03
    rgb = rgb.clamp(0, 1) * alpha + 0.5 * (1 - alpha)
    off = torch.randn((batch, 1, 3), generator=generator, device=device)
    own = torch.randn(body.shape, generator=generator, device=device)
    body = body + config.fit_noise * (off + 0.3 * own)
    keep = (uniform(batch) >= config.dropped).float()
    picture = torch.cat([rgb, alpha], 1)
    return Condition(picture, body, matrix, k, keep)


def recrop(picture: Tensor, k: Tensor, zoom: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
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
