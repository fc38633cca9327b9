"""Training of the refiner: renders, and what is left of them when they are drawn as softly as fields are.

A field's picture is blurred by its planes' texels, by the mean that a guess is, and speckled by both; blur and noise of
many strengths stand for that, so that the small picture agrees with the render in everything but detail (as in
Real-ESRGAN, Wang et al. 2021). A critic that sees patches (ESRGAN, Wang et al. 2018) asks for the detail that a mean of
all likely ones would lack.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backend.rodin.refiner import SCALE, Refiner, RefinerConfig, enlarged
from backend.training.judge_stage import blur
from backend.training.stage import Stage, quick_in_bf16

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from jaxtyping import Float, UInt8
    from torch import Tensor


_MARGIN = 8
"""Pixels of the small picture around a patch that blur may bring in."""


@dataclasses.dataclass(frozen=True)
class RefinerStageConfig:
    """The recipe: `steps` of `batch` patches, `patch` pixels of the small picture wide; after the part `critic_start`
    of the steps a critic joins in. The small pictures are blurred by deviations between those of `blurred`, pixels, and
    get up to `speckles` of noise, half of it in spots of several pixels."""

    model: RefinerConfig = dataclasses.field(default_factory=RefinerConfig)
    steps: int = 40_000
    batch: int = 16
    patch: int = 48
    rate: float = 5e-4
    warm_up: int = 100
    final_rate: float = 0.2
    weight_decay: float = 0.0
    average: float = 0.998
    blurred: tuple[float, float] = (0.3, 2.6)
    speckles: float = 0.04
    critic_start: float = 0.8
    critic_weight: float = 0.03
    critic_pace: float = 2.0
    critic_width: int = 32
    seed: int = 0


def load_renders(folder: Path, count: int | None = None) -> UInt8[Tensor, "P 4 S S"]:
    """All views of the first `count` people of a packed set: sRGB times alpha, and alpha.

    Raises `OSError` or `ValueError` when there are none, or none that can be had a quarter as large.
    """
    from synthetic_data.packed import PackedHeads

    heads = PackedHeads(folder)
    rows: list[Tensor] = []
    for number in range(len(heads) if count is None else min(count, len(heads))):
        item = heads[number]
        if "rgb" not in item:
            raise ValueError("it has no views")
        rows += [*torch.cat([item["rgb"] * item["alpha"], item["alpha"]], 1).mul(255).round().byte()]
    if (size := rows[0].shape[-1]) % SCALE:
        raise ValueError(f"its pictures have {size} pixels, which is no multiple of {SCALE}")
    return torch.stack(rows)


class Critic(nn.Module):
    """Scores of patches, a grid of them, from a large picture and the enlarged one that it was made from."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [8, width, 2 * width, 3 * width]
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(sizes):
            layers += [nn.Conv2d(one, other, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, picture: Float[Tensor, "B 4 S S"], told: Float[Tensor, "B 4 S S"]) -> Float[Tensor, "B 1 s s"]:
        return self.layers(torch.cat([picture, told], 1) * 2 - 1)


class Pair(nn.Module):
    """Refiner and critic: they are trained together and each for itself."""

    def __init__(self, config: RefinerStageConfig) -> None:
        super().__init__()
        self.refiner, self.critic = Refiner(config.model), Critic(config.critic_width)


class RefinerStage(Stage[Pair, RefinerStageConfig]):
    """Both networks under training on some renders, as `load_renders` has them.

    Raises `ValueError` when they are smaller than the recipe's patches.
    """

    def __init__(self, renders: UInt8[Tensor, "P 4 S S"], config: RefinerStageConfig, device: str = "cpu") -> None:
        size, least = renders.shape[-1], SCALE * (config.patch + 2 * _MARGIN)
        if size < least:
            raise ValueError(f"its pictures have {size} pixels, the recipe wants {least} at least")
        told = {"renders": [len(renders), int(renders[::7].long().sum())]}
        super().__init__(config, device, lambda: Pair(config), told)
        self.renders = renders.to(device)
        # Where there is somebody: half of most pictures is empty.
        self._places = [F.max_pool2d(each[3:].float(), 8)[0].nonzero().int() * 8 for each in self.renders]

    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.model.refiner.parameters())},
            {"params": list(self.model.critic.parameters()), "pace": self.config.critic_pace},
        ]

    def clipped(self) -> list[nn.Module]:
        return [self.model.refiner, self.model.critic]

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        small, large = self.draw()
        quick = torch.autocast(self.device.type, torch.bfloat16, enabled=quick_in_bf16(self.device))
        with quick:
            made = self.model.refiner(small).float()
        plain = (made - large).abs().mean()
        figures = {"error": plain, "as enlarged": (enlarged(small) - large).abs().mean()}
        if self.step_number < config.critic_start * config.steps:
            return plain, figures
        critic, told = self.model.critic, enlarged(small)
        with quick:
            critic.requires_grad_(False)
            wish = self._doubt(critic(made, told), critic(large, told))
            critic.requires_grad_(True)
            blame = self._doubt(critic(large, told), critic(made.detach(), told))
        return plain + config.critic_weight * wish + blame, figures | {"critic": blame}

    @staticmethod
    def _doubt(better: Tensor, worse: Tensor) -> Tensor:
        """How little `better` is told from `worse`, each against the mean of the others (relativistic average)."""
        better, worse = better.float(), worse.float()
        return (F.softplus(worse.mean() - better).mean() + F.softplus(worse - better.mean()).mean()) / 2

    def draw(self) -> tuple[Float[Tensor, "B 4 p p"], Float[Tensor, "B 4 P P"]]:
        """Patches of this step: small ones, spoiled, and large ones; half of them in a mirror, in other light."""
        config, generator, device = self.config, self.generator, self.device
        uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
        side, size = SCALE * (config.patch + 2 * _MARGIN), self.renders.shape[-1]
        rows = []
        for picture, place, flip in zip(*(uniform(config.batch).tolist() for _ in range(3)), strict=True):
            number = int(picture * len(self.renders))
            places = self._places[number]
            row, column = places[int(place * len(places))].tolist() if len(places) else (size // 2, size // 2)
            top, left = (min(max(at - side // 2, 0), size - side) for at in (row, column))
            patch = self.renders[number, :, top : top + side, left : left + side].float() / 255
            rows.append(patch.flip(-1) if flip < 0.5 else patch)
        large = torch.stack(rows)
        light = torch.exp(0.6 * (uniform(config.batch, 3, 1, 1) - 0.5) + 0.6 * (uniform(config.batch, 1, 1, 1) - 0.7))
        large = torch.cat([torch.minimum(large[:, :3] * light, large[:, 3:]), large[:, 3:]], 1)
        low, high = config.blurred
        small = blur(F.avg_pool2d(large, SCALE), low * (high / low) ** uniform(config.batch))
        noise = torch.randn(small.shape, generator=generator, device=device)
        spots = torch.randn((config.batch, 4, 16, 16), generator=generator, device=device)
        noise = noise + F.interpolate(spots, small.shape[-2:], mode="bilinear", align_corners=False)
        strength = config.speckles * uniform(config.batch, 1, 1, 1) ** 2
        small = (small + strength * noise * small[:, 3:]).clamp(0, 1)
        inner, outer = (slice(scale * _MARGIN, -scale * _MARGIN) for scale in (1, SCALE))
        return small[:, :, inner, inner], large[:, :, outer, outer]


@torch.no_grad()
def write_sheet(stage: RefinerStage, refiner: Refiner, path: Path) -> None:
    """Some patches of the step at hand: enlarged, refined, rendered; over white."""
    from backend.evaluation.held_out import write_picture

    small, large = stage.draw()
    columns = [torch.cat([*over_white(pictures)], 1) for pictures in (enlarged(small), refiner(small), large)]
    write_picture(path, torch.cat(columns, 2).permute(1, 2, 0).cpu().numpy().astype(np.float32))


def over_white(pictures: Float[Tensor, "*B 4 S S"]) -> Float[Tensor, "*B 3 S S"]:
    """Pictures of sRGB times alpha, and alpha, before a white ground."""
    return (pictures[..., :3, :, :] + 1 - pictures[..., 3:, :, :]).clamp(0, 1)
