"""Training of the refiner: pictures of fitted fields beside the renders that these were fitted to.

The fields are those of the stage "planes", so a picture and its render agree in everything but detail; blur and noise
make of them what generated fields look like. A critic that sees patches (ESRGAN, Wang et al. 2018) asks for the detail
that a mean of all likely ones would lack.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from backend.radiance.occupancy import OccupancyGrid
from backend.radiance.supervision import View, crop_view
from backend.rodin.refiner import SCALE, Refiner, RefinerConfig, draw_small, enlarged
from backend.training.judge_stage import blur
from backend.training.measure import field_of
from backend.training.stage import Stage, quick_in_bf16

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from jaxtyping import UInt8
    from torch import Tensor

    from backend.radiance.cameras import Camera
    from backend.radiance.decoder import Decoder
    from backend.training.bank import HeadBank


@dataclasses.dataclass(frozen=True)
class RefinerStageConfig:
    """The recipe: `steps` of `batch` patches, `patch` pixels of the small picture wide; after the part `critic_start`
    of the steps a critic joins in. The small pictures are blurred by up to `blurred` pixels and get up to `noise`."""

    model: RefinerConfig = dataclasses.field(default_factory=RefinerConfig)
    steps: int = 40_000
    batch: int = 16
    patch: int = 48
    rate: float = 5e-4
    warm_up: int = 100
    final_rate: float = 0.05
    weight_decay: float = 0.0
    average: float = 0.998
    blurred: float = 1.0
    noise: float = 0.02
    critic_start: float = 0.4
    critic_weight: float = 0.01
    critic_pace: float = 0.4
    critic_width: int = 32
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Pairs:
    """P pictures of fields and renders, `SCALE` times as large, of the same: sRGB times alpha, and alpha."""

    small: UInt8[Tensor, "P 4 s s"]
    large: UInt8[Tensor, "P 4 S S"]

    def __len__(self) -> int:
        return len(self.small)


@torch.no_grad()
def draw_pairs(
    bank: HeadBank, planes: Tensor, decoder: Decoder, report: Callable[[int], None] = lambda heads: None
) -> Pairs:
    """The pairs of all heads and views of a bank with their fitted planes; what lies outside of the fields' cube is in
    neither picture. `report` gets the number of finished heads.

    Raises `ValueError` when the pictures cannot be had a quarter as large.
    """
    size = bank.rgb.shape[-1]
    if size % SCALE:
        raise ValueError(f"its pictures have {size} pixels, which is no multiple of {SCALE}")
    small, large = [], []
    for head in range(len(bank)):
        field = field_of(bank, head, planes[head].float(), decoder)
        grid = OccupancyGrid.build(field)
        for view in range(bank.rgb.shape[1]):
            camera, render, counts = _render(bank, head, view)
            drawn = draw_small(field, camera.resized(size // SCALE, size // SCALE), grid)
            share = counts.reshape(size // SCALE, SCALE, size // SCALE, SCALE).mean((1, 3), dtype=np.float32)
            small.append(_bytes(drawn * share[..., None]))
            large.append(_bytes(render))
        report(head + 1)
    return Pairs(torch.stack(small), torch.stack(large))


def _render(bank: HeadBank, head: int, view: int) -> tuple[Camera, np.ndarray, np.ndarray]:
    """Camera, picture of the training set as `Pairs` has it, and which pixels count."""
    from backend.radiance.cameras import Camera

    height, width = bank.rgb.shape[-2:]
    matrix, lens = (part[head, view].double().cpu().numpy() for part in (bank.world_to_camera, bank.intrinsics))
    camera = Camera(matrix, lens, width, height)
    rgb = bank.rgb[head, view].permute(1, 2, 0).cpu().numpy() / np.float32(255)
    alpha = bank.alpha[head, view, 0].cpu().numpy() / np.float32(255)
    depth = bank.depth[head, view, 0].cpu().numpy() / np.float32(1000)
    seen, counts = crop_view(View(rgb, alpha, depth, camera), bank.half_size)
    alpha = (seen.alpha * counts)[..., None]
    return camera, np.concatenate([seen.rgb * alpha, alpha], -1), counts


def _bytes(picture: np.ndarray) -> UInt8[Tensor, "4 S S"]:
    return torch.from_numpy(np.rint(255 * picture.clip(0, 1)).astype(np.uint8)).permute(2, 0, 1)


class Critic(nn.Module):
    """Scores of patches, a grid of them, from a large picture and the enlarged one that it was made from."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [8, width, 2 * width, 3 * width]
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(sizes):
            layers += [spectral_norm(nn.Conv2d(one, other, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1)))

    def forward(self, picture: Tensor, told: Tensor) -> Tensor:
        return self.layers(torch.cat([picture, told], 1) * 2 - 1)


class Pair(nn.Module):
    """Refiner and critic: they are trained together and each for itself."""

    def __init__(self, config: RefinerStageConfig) -> None:
        super().__init__()
        self.refiner, self.critic = Refiner(config.model), Critic(config.critic_width)


class RefinerStage(Stage[Pair, RefinerStageConfig]):
    """Both networks under training on some pairs."""

    def __init__(self, pairs: Pairs, config: RefinerStageConfig, device: str = "cpu") -> None:
        told = {"pairs": [len(pairs), int(pairs.small[::7].long().sum())]}
        super().__init__(config, device, lambda: Pair(config), told)
        self.pairs = Pairs(pairs.small.to(device), pairs.large.to(device))
        # Where there is somebody: half of most pictures is empty.
        self._places = [each[3].nonzero().int() for each in self.pairs.small]

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

    def draw(self) -> tuple[Tensor, Tensor]:
        """Patches of this step: small ones, spoiled, and large ones; half of them in a mirror, in other light."""
        config, generator, device = self.config, self.generator, self.device
        uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
        side, size = config.patch, self.pairs.small.shape[-1]
        smalls, larges = [], []
        for picture, place, flip in zip(*(uniform(config.batch).tolist() for _ in range(3)), strict=True):
            number = int(picture * len(self.pairs))
            places = self._places[number]
            row, column = places[int(place * len(places))].tolist() if len(places) else (size // 2, size // 2)
            top, left = (min(max(at - side // 2, 0), size - side) for at in (row, column))
            small = self.pairs.small[number, :, top : top + side, left : left + side].float() / 255
            cut = [slice(SCALE * begin, SCALE * (begin + side)) for begin in (top, left)]
            large = self.pairs.large[number, :, cut[0], cut[1]].float() / 255
            smalls.append(small.flip(-1) if flip < 0.5 else small)
            larges.append(large.flip(-1) if flip < 0.5 else large)
        small, large = torch.stack(smalls), torch.stack(larges)
        light = torch.exp(0.6 * (uniform(config.batch, 3, 1, 1) - 0.5)) * torch.exp(
            0.6 * (uniform(config.batch, 1, 1, 1) - 0.7)
        )
        tinted = lambda picture: torch.cat([torch.minimum(picture[:, :3] * light, picture[:, 3:]), picture[:, 3:]], 1)  # noqa: E731
        small, large = tinted(small), tinted(large)
        small = blur(small, config.blurred * (2 * uniform(config.batch) - 1).clamp(min=0))
        noise = torch.randn(small.shape, generator=generator, device=device) * small[:, 3:]
        return (small + config.noise * uniform(config.batch, 1, 1, 1) ** 2 * noise).clamp(0, 1), large


@torch.no_grad()
def write_sheet(refiner: Refiner, pairs: Pairs, path: Path, count: int = 8) -> None:
    """Some pictures, each as large as its render: enlarged, refined, rendered; over white, cut to the middle."""
    from backend.evaluation.held_out import write_picture

    rows = []
    for number in range(0, len(pairs), max(1, len(pairs) // count)):
        small = pairs.small[number, None].float() / 255
        shown = torch.cat([enlarged(small), refiner(small), pairs.large[number, None].float() / 255])
        rows.append(np.hstack([middle(picture) for picture in shown]))
    write_picture(path, np.vstack(rows[:count]))


def middle(picture: Tensor) -> np.ndarray:
    """The middle half of a picture as `Pairs` has it, over white."""
    size = picture.shape[-1]
    cut = picture[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4].clamp(0, 1)
    return (cut[:3] + 1 - cut[3:]).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
