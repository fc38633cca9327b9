"""The tri-plane set: all heads fitted jointly with one decoder; it stops and goes on at any step.

Each head's planes are a sum of levels (coarse ones converge first and fill what nobody saw) over a base that all heads
share. Points come first, rays after with part of the points kept (`backend.radiance.fitting` says why). While they are
decoded, planes are sometimes made smaller and back, or noisy: the decoder then reads low-resolution and generated
planes too (Rodin, section 3.1).
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

from backend.radiance.decoder import CLASSES, Decoder, DecoderConfig
from backend.radiance.regularisers import roughness, sparsity
from backend.radiance.triplane import resize_planes
from backend.training.bank import HeadBank, batches
from backend.training.losses import point_loss, ray_loss
from backend.training.state import STATE, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class PlaneSetConfig:
    """The recipe; batch sizes are per head and step. A head is visited `visits` times, rays start after the part
    `ray_start` of them."""

    decoder: DecoderConfig = dataclasses.field(default_factory=lambda: DecoderConfig(classes=len(CLASSES)))
    levels: tuple[int, ...] = (16, 32, 64)
    visits: int = 40
    heads_per_step: int = 16
    points: int = 3000
    ray_start: float = 0.5
    rays: int = 384
    ray_samples: int = 24
    points_kept: float = 0.3
    ray_weight: float = 20.0
    plane_rate: float = 2e-2
    shared_rate: float = 5e-3
    final_rate: float = 0.05
    sparse_weight: float = 1e-4
    smooth_weight: float = 0.02
    smooth_density_weight: float = 0.05
    regularise_every: int = 4
    rescale_probability: float = 0.25
    rescale_sizes: tuple[int, ...] = (32, 48)
    plane_noise: float = 0.01
    seed: int = 0


class PlaneSet:
    """Planes of N heads under training: levels and their Adam moments per head, a shared base and the decoder.

    A given `decoder` stays as it is. With `start`, planes of the coarsest level's size, the heads go on from those, and
    the base is left out: so large planes grow from small ones.
    """

    def __init__(
        self,
        bank: HeadBank,
        config: PlaneSetConfig,
        *,
        decoder: Decoder | None = None,
        start: Float[Tensor, "N 3 C s s"] | None = None,
    ) -> None:
        self.bank, self.config = bank, config
        self.device = bank.rgb.device
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.trains_decoder = decoder is None
        made = decoder or Decoder.initialised(config.decoder, torch.Generator().manual_seed(config.seed))
        self.decoder = made.to(self.device).requires_grad_(self.trains_decoder)
        channels = config.decoder.channels
        shape = lambda size: (len(bank), 3, channels, size, size)  # noqa: E731
        self.levels = [torch.zeros(shape(size), device=self.device) for size in config.levels]
        if start is not None:
            self.levels[0] = start.detach().to(self.device).float().clone()
        self.moments = [(torch.zeros_like(level), torch.zeros_like(level)) for level in self.levels]
        self.seen = torch.zeros(len(bank), device=self.device)
        size = config.levels[-1]
        noise = torch.randn((3, channels, size, size), generator=torch.Generator().manual_seed(1))
        self.base = torch.nn.Parameter((0.05 * noise * (start is None)).to(self.device), requires_grad=start is None)
        shared = [self.base, *(self.decoder.parameters() if self.trains_decoder else [])]
        self.optimiser = torch.optim.Adam(shared, config.shared_rate, betas=(0.9, 0.99))
        self.step_number = 0
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        """Of the whole fit."""
        return self.config.visits * math.ceil(len(self.bank) / self.config.heads_per_step)

    def planes(self, heads: Tensor) -> Float[Tensor, "B 3 C S S"]:
        """Finished planes of some heads."""
        return self._compose([level[heads] for level in self.levels])

    def _compose(self, levels: list[Tensor]) -> Tensor:
        total = levels[0]
        for level in levels[1:]:
            flat = F.interpolate(total.flatten(0, 1), level.shape[-2:], mode="bilinear", align_corners=False)
            total = flat.reshape(level.shape) + level
        return (total + self.base).clamp(-1, 1)

    def run(self, *, until: int | None = None, report: Callable[[int, float], None] = lambda step, loss: None) -> None:
        """Go on to step `until`, or to the end."""
        end = min(until or self.steps, self.steps)
        per_visit = math.ceil(len(self.bank) / self.config.heads_per_step)
        while self.step_number < end:
            visit, skip = divmod(self.step_number, per_visit)
            order = torch.Generator().manual_seed(self.config.seed * 7919 + visit)
            for number, heads in enumerate(batches(len(self.bank), self.config.heads_per_step, order)):
                if number < skip:
                    continue
                if self.step_number >= end:
                    return
                begun = time.perf_counter()
                loss = self._step(heads.to(self.device))
                self.seconds += time.perf_counter() - begun
                self.step_number += 1
                report(self.step_number, loss)

    def _step(self, heads: Tensor) -> float:
        config, generator = self.config, self.generator
        fraction = self.step_number / self.steps
        decay = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * fraction))
        parts = [level[heads].requires_grad_(True) for level in self.levels]
        planes = self._compose(parts)
        loss = planes.new_zeros(())
        if self.step_number % config.regularise_every == 0:
            split = self.decoder.config.colour_channels
            priors = config.sparse_weight * sparsity(planes - self.base)
            priors = priors + config.smooth_weight * roughness(planes[:, :, :split])
            priors = priors + config.smooth_density_weight * roughness(planes[:, :, split:])
            loss = loss + config.regularise_every * priors
        decoded, warps = self._perturb(planes), self.bank.warp(heads)
        rays = fraction >= config.ray_start
        kept = config.points_kept if rays else 1.0
        points = self.bank.draw_points(heads, int(config.points * kept), generator)
        data = kept * point_loss(decoded, warps, self.decoder, points)
        if rays:
            drawn = self.bank.draw_rays(heads, config.rays, config.ray_samples, generator)
            data = data + config.ray_weight * ray_loss(decoded, warps, self.decoder, drawn)
        loss = loss + len(heads) * data
        loss.backward()
        self._update(heads, parts, config.plane_rate * decay)
        self.optimiser.param_groups[0]["lr"] = config.shared_rate * decay
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(data.detach())

    @torch.no_grad()
    def _update(self, heads: Tensor, parts: list[Tensor], rate: float) -> None:
        """Adam on the visited heads alone: the others' moments wait."""
        self.seen[heads] += 1
        count = self.seen[heads][:, None, None, None, None]
        for level, (first, second), part in zip(self.levels, self.moments, parts, strict=True):
            gradient = part.grad
            assert gradient is not None
            m = first[heads].lerp_(gradient, 0.1)
            v = second[heads].mul_(0.99).addcmul_(gradient, gradient, value=0.01)
            first[heads], second[heads] = m, v
            step = (m / (1 - 0.9**count)) / ((v / (1 - 0.99**count)).sqrt() + 1e-8)
            level[heads] = part.detach() - rate * step

    def _perturb(self, planes: Tensor) -> Tensor:
        config = self.config
        draw = torch.rand(2, generator=self.generator, device=self.device).tolist()
        if draw[0] < config.rescale_probability:
            size = config.rescale_sizes[int(draw[1] * len(config.rescale_sizes))]
            planes = resize_planes(resize_planes(planes, size), planes.shape[-1])
        noise = torch.randn(planes.shape, generator=self.generator, device=self.device)
        return planes + config.plane_noise * noise

    # Stopping and going on

    def save(self, folder: Path) -> None:
        """Everything that the next run needs, whole or not at all."""
        tensors = {"seen": self.seen, "base": self.base.data, "generator": self.generator.get_state()}
        for number, (level, (first, second)) in enumerate(zip(self.levels, self.moments, strict=True)):
            tensors |= {f"level.{number}": level, f"first.{number}": first, f"second.{number}": second}
        tensors |= {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        plain = {"step": self.step_number, "seconds": self.seconds, "config": dataclasses.asdict(self.config)}
        save_state(folder / STATE, tensors, self.optimiser, plain)

    def load(self, folder: Path) -> bool:
        """Go on where `save` left off; False when there is nothing to go on with.

        Raises `ValueError` when it belongs to another recipe.
        """
        if not (folder / STATE).exists():
            return False
        tensors, plain = load_state(folder / STATE, self.optimiser, self.device)
        same = plain["config"] == json.loads(json.dumps(dataclasses.asdict(self.config)))
        if not same or len(tensors["seen"]) != len(self.bank):
            raise ValueError(f"{folder / STATE} was made with another recipe: choose another folder")
        numbers = range(len(self.levels))
        self.levels = [tensors[f"level.{n}"] for n in numbers]
        self.moments = [(tensors[f"first.{n}"], tensors[f"second.{n}"]) for n in numbers]
        self.seen = tensors["seen"]
        self.base.data.copy_(tensors["base"])
        decoder = {name.removeprefix("decoder."): v for name, v in tensors.items() if name.startswith("decoder.")}
        self.decoder.load_state_dict(decoder)
        self.generator.set_state(tensors["generator"].cpu())
        self.step_number, self.seconds = plain["step"], plain["seconds"]
        return True
