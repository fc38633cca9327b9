"""Training of the base model; it stops and goes on at any step.

Two kinds of supervision: the fitted planes of the plane set, and points and rays of the views through the frozen
decoder, which care for what shows. Part of each batch is at the last time-step: there the network is a regressor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch

from backend.radiance.canonical import mirror_planes
from backend.rodin.base import BaseConfig, BaseModel, Condition, mirror_seen
from backend.rodin.schedule import add_noise, signal
from backend.training.augment import recrop, vary_light
from backend.training.losses import point_loss, ray_loss
from backend.training.stage import Stage, quick_in_bf16

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.rodin.aligned import Anchors
    from backend.rodin.weights import Rodin
    from backend.training.bank import HeadBank


Encode = Callable[["Float[Tensor, 'B 4 H W']"], "Float[Tensor, 'B Z']"]
"""Portraits on grey to points: a latent space's `encode_pictures`."""


class Drawing(Protocol):
    """What a recipe says of how conditions are drawn; `fit_noise` in metres is how far a body fit is off."""

    @property
    def point_alone(self) -> float: ...
    @property
    def nothing(self) -> float: ...
    @property
    def fit_noise(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class BaseStageConfig:
    """The recipe. `steps` of `batch` portraits; the part `at_noise` of a batch sees nothing but noise. Of the others,
    if anything is told of them, the part `own_guess` sees the network's own first guess under the noise, not the truth,
    as later steps of a sampler do. The part `point_alone` knows the latent point but no portrait, the part `nothing`
    neither; rays start after the part `ray_start` of the steps, unless finished weights go on."""

    model: BaseConfig = dataclasses.field(default_factory=BaseConfig)
    steps: int = 20_000
    batch: int = 8
    rate: float = 6e-4
    warm_up: int = 200
    final_rate: float = 0.02
    weight_decay: float = 0.01
    average: float = 0.999
    at_noise: float = 0.4
    own_guess: float = 0.0
    point_alone: float = 0.10
    nothing: float = 0.05
    plane_weight: float = 1.0
    point_weight: float = 1.0
    points: int = 3000
    ray_start: float = 0.3
    ray_weight: float = 12.0
    rays: int = 384
    ray_samples: int = 24
    fit_noise: float = 0.0015
    seed: int = 0


class BaseStage(Stage[BaseModel, BaseStageConfig]):
    """The base model under training. `encode` gives portraits their points; it is frozen and runs once per step, on the
    portraits as they were cropped and lit for it. `start` are finished weights to go on from: `planes` were then fitted
    to their decoder, and are normalised as theirs, and rays start at once."""

    def __init__(
        self,
        bank: HeadBank,
        planes: Tensor,
        decoder: Decoder,
        anchors: Anchors,
        encode: Encode,
        config: BaseStageConfig,
        start: Rodin | None = None,
    ) -> None:
        device = bank.rgb.device

        def make() -> BaseModel:
            model = BaseModel(config.model, anchors.to(device))
            if start is not None:
                model.load_state_dict(start.base.state_dict())
            return model

        super().__init__(config, device, make, {"set of people": bank.fingerprint()})
        self.bank, self.encode, self.decoder = bank, encode, decoder.requires_grad_(False)
        self.targets = planes
        # Finished weights know silhouettes already: without rays they would forget them.
        self.rays_from = 0.0 if start is not None else config.ray_start * config.steps
        if start is None:
            self.mean, self.spread = plane_statistics(planes)
        else:
            self.mean, self.spread = start.mean.to(device), start.spread.to(device)

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, generator, device = self.config, self.generator, self.device
        u = torch.rand(config.batch, generator=generator, device=device)
        heads = (u * len(self.bank)).long()
        mirrored = torch.rand(config.batch, generator=generator, device=device) < 0.5
        target = self._normalise(self.targets[heads].float())
        target = torch.where(mirrored[:, None, None, None, None], mirror_planes(target), target)
        condition = draw_condition(self.bank, heads, mirrored, config, generator, self.encode)
        t = torch.rand(config.batch, generator=generator, device=device)
        pure = torch.rand(config.batch, generator=generator, device=device) < config.at_noise
        t = torch.where(pure, torch.ones_like(t), t)
        noise = torch.randn(target.shape, generator=generator, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=quick_in_bf16(device)):
            known = self.model.encode(condition)
            under = self._under_noise(target, t, condition.keep_latent, known)
            guess = self.model(add_noise(under, noise, t), t, known)
        guess = guess.float()
        # Late steps, where most is signal, would otherwise drown in copying: their weight is bounded.
        kept = signal(t)
        weight = (kept / (1 - kept).clamp(min=1e-4)).clamp(0.2, 2.0)
        plane = ((guess - target).square().mean((1, 2, 3, 4)) * weight).mean()
        loss = config.plane_weight * plane
        figures = {"plane": plane}
        # Without a portrait nobody can know what this very head looks like: only the others are asked for it.
        told = condition.keep.nonzero()[:, 0]
        if len(told):
            planes = self.denormalise(guess)
            planes = torch.where(mirrored[:, None, None, None, None], mirror_planes(planes), planes)[told]
            heads = heads[told]
            warps = self.bank.warp(heads)
            use_rays = self.step_number >= self.rays_from
            points = self.bank.draw_points(heads, config.points // (2 if use_rays else 1), generator)
            point = point_loss(planes, warps, self.decoder, points)
            loss = loss + config.point_weight * point
            figures["point"] = point
            if use_rays:
                rays = self.bank.draw_rays(heads, config.rays, config.ray_samples, generator)
                ray = ray_loss(planes, warps, self.decoder, rays)
                loss = loss + config.ray_weight * ray
                figures["ray"] = ray
        return loss, figures

    def _under_noise(self, target: Tensor, t: Tensor, told: Tensor, known: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """What lies under the noise: the truth, or for some what the network guesses out of nothing but noise; but
        never for those of whom nothing is told, for that guess is nobody."""
        chance = torch.rand(len(target), generator=self.generator, device=self.device)
        own = (chance < self.config.own_guess) & (t < 1) & (told > 0)
        if not own.any():
            return target
        noise = torch.randn(target[own].shape, generator=self.generator, device=self.device)
        aligned, tokens, latent = known
        with torch.no_grad():
            first = self.model(noise, torch.ones_like(t[own]), (aligned[own], tokens[own], latent[own]))
        under = target.clone()
        under[own] = first.float()
        return under

    def _normalise(self, planes: Tensor) -> Tensor:
        return (planes - self.mean) / self.spread

    def denormalise(self, planes: Tensor) -> Tensor:
        """Normalised planes to those that the decoder reads."""
        return (planes * self.spread + self.mean).clamp(-1, 1)


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
    bank: HeadBank,
    heads: Tensor,
    mirrored: Tensor,
    config: Drawing,
    generator: torch.Generator,
    encode: Encode,
) -> Condition:
    """A portrait of each head, as a fit would see it: cropped anew, its light and sharpness changed, the body a little
    off; of some only the point is known, of a few the body alone."""
    device = bank.rgb.device
    batch = len(heads)
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    number = (uniform(batch) * bank.portraits.shape[1]).long()
    picture = bank.portraits[heads, number].float() / 255
    matrix, k = bank.portrait_world_to_camera[heads, number], bank.portrait_intrinsics[heads, number].clone()
    body = bank.body[heads]
    plain = picture, body, matrix, k
    choose = lambda other, own: torch.where(mirrored.view(-1, *[1] * (own.ndim - 1)), other, own)  # noqa: E731
    picture, body, matrix, k = map(choose, mirror_seen(*plain), plain)
    size = picture.shape[-1]
    # Another crop: zoomed by up to a sixth and moved by up to a sixteenth.
    zoom = torch.exp((uniform(batch) - 0.5) * 0.32)
    shift = (uniform(batch, 2) - 0.5) * (size / 8)
    picture, k = recrop(picture, k, zoom, shift)
    picture = vary_light(picture, generator)
    off = torch.randn((batch, 1, 3), generator=generator, device=device)
    own = torch.randn(body.shape, generator=generator, device=device)
    body = body + config.fit_noise * (off + 0.3 * own)
    kept = uniform(batch)
    keep_latent = (kept >= config.nothing).float()
    keep = (kept >= config.nothing + config.point_alone).float()
    with torch.no_grad():
        latent = encode(picture)
    return Condition(picture, latent, body, matrix, k, keep, keep_latent)
