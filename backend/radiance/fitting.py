"""Fitting tri-planes to labelled points and to posed RGB-D views, one avatar or many with a shared decoder.

Points first: they say exactly where matter is, cost no ray marching and leave clean geometry. Then rays guided by the
known depth, which settle silhouettes and colour, with part of the points kept so that the surface stays closed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.radiance.decoder import Decoder, DecoderConfig
from backend.radiance.regularisers import density_variation, roughness, sparsity
from backend.radiance.renderer import ray_weights, spacing
from backend.radiance.supervision import PointBank, PointBatch, PointSamples, RayBank, RayBatch, View
from backend.radiance.triplane import DEFAULT_HALF_SIZE, TriPlane, resize_planes, sample_planes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

# Samples with less influence on their pixel than this do not ask for a colour.
_NEGLIGIBLE = 1e-3


@dataclasses.dataclass(frozen=True)
class FitTarget:
    """What is known about one avatar: labelled points, views, or both."""

    points: PointSamples | None = None
    views: tuple[View, ...] = ()


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """The recipe. Batch sizes are per avatar and step; `ray_start` is the fraction of the steps after which views are
    fitted by rays (points from views, or given ones, before), with `points_kept` times the points and their loss.

    The planes are a sum of images of the sizes `level_sizes`, enlarged bilinearly: coarse ones converge first and give
    sensible values where nothing was seen. Level k joins after the fraction `level_starts[k]` of the steps.

    The priors see whole planes and cost as much as thousands of points, so only each `regularise_every`-th step pays
    for them, with as many times their weight.
    """

    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    half_size: float = DEFAULT_HALF_SIZE
    level_sizes: tuple[int, ...] = (32, 64, 128)
    level_starts: tuple[float, ...] = (0.0, 0.15, 0.4)
    steps: int = 1000
    avatars_per_step: int = 8
    point_batch: int = 8192
    ray_start: float = 0.5
    points_kept: float = 0.3
    ray_batch: int = 2048
    ray_samples: int = 24
    plane_rate: float = 2e-2
    decoder_rate: float = 5e-3
    final_rate: float = 0.05
    colour_weight: float = 5.0
    alpha_weight: float = 0.5
    ray_weight: float = 20.0
    sparse_weight: float = 1e-4
    smooth_weight: float = 0.1
    smooth_density_weight: float = 1.0
    compact_weight: float = 0.0
    regularise_every: int = 4
    rescale_probability: float = 0.0
    rescale_sizes: tuple[int, ...] = (64,)
    plane_noise: float = 0.0


def fit_triplane(
    points: PointSamples | None = None,
    views: Sequence[View] = (),
    *,
    config: FitConfig | None = None,
    generator: torch.Generator,
    decoder: Decoder | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> TriPlane:
    """Fit one avatar; see `fit_triplanes`."""
    target = FitTarget(points, tuple(views))
    fitted = fit_triplanes(
        [target], config=config, generator=generator, decoder=decoder, device=device, progress=progress
    )
    return fitted[0]


def fit_triplanes(
    targets: Sequence[FitTarget],
    *,
    config: FitConfig | None = None,
    generator: torch.Generator,
    decoder: Decoder | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> list[TriPlane]:
    """Fit avatars jointly. A given `decoder` stays as it is; otherwise one is trained with the planes and shared.

    All randomness comes from `generator`. `progress` gets the finished fraction after each step and may raise to
    cancel. `config.decoder` counts only when no decoder is given.

    Raises `ValueError` when a target has neither points nor views.
    """
    config = config or FitConfig()
    if any(target.points is None and not target.views for target in targets):
        raise ValueError("each avatar needs labelled points or views")
    device = torch.device(device)
    frozen = decoder is not None
    decoder = (decoder or Decoder.initialised(config.decoder, generator)).to(device)
    decoder.requires_grad_(not frozen)
    channels = decoder.config.channels
    avatars = [_Avatar(target, config, channels, generator, device) for target in targets]
    optimiser = None if frozen else torch.optim.Adam(decoder.parameters(), config.decoder_rate, betas=(0.9, 0.99))
    for step in range(config.steps):
        fraction = step / config.steps
        decay = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * fraction))
        chosen = avatars
        if len(avatars) > config.avatars_per_step:
            order = torch.randperm(len(avatars), generator=generator, device=generator.device)
            chosen = [avatars[i] for i in order[: config.avatars_per_step].tolist()]
        planes = torch.stack([avatar.planes(fraction) for avatar in chosen])
        loss = _loss(planes, decoder, [avatar.target for avatar in chosen], step, config, generator)
        loss.backward()
        for avatar in chosen:
            avatar.step(config.plane_rate * decay)
        if optimiser:
            _step(optimiser, config.decoder_rate * decay)
        if progress:
            progress((step + 1) / config.steps)
    decoder.requires_grad_(False)
    return [TriPlane(avatar.planes(1.0).detach(), decoder, config.half_size) for avatar in avatars]


class _Avatar:
    """One avatar's planes as a sum of levels, their optimiser, and the data they are fitted to."""

    def __init__(
        self,
        target: FitTarget,
        config: FitConfig,
        channels: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.config = config
        self.target = _Target(target, config, device)
        self.levels = [torch.zeros(3, channels, size, size, device=device) for size in config.level_sizes]
        start = torch.randn(self.levels[0].shape, generator=generator, device=generator.device)
        self.levels[0].copy_(0.1 * start)
        for level in self.levels:
            level.requires_grad_(True)
        self.optimisers = [torch.optim.Adam([level], betas=(0.9, 0.99), fused=True) for level in self.levels]
        self.active = 1

    def planes(self, fraction: float) -> Float[Tensor, "3 C H W"]:
        """The planes at the size of the finest level that takes part at this fraction of the fit."""
        self.active = sum(start <= fraction for start in self.config.level_starts)
        planes = self.levels[0]
        for level in self.levels[1 : self.active]:
            planes = level + F.interpolate(planes, level.shape[-2:], mode="bilinear", align_corners=False)
        return planes.clamp(-1, 1)

    def step(self, rate: float) -> None:
        for optimiser in self.optimisers[: self.active]:
            _step(optimiser, rate)


class _Target:
    """The random batches of one avatar, of a size that does not depend on the avatar."""

    def __init__(self, target: FitTarget, config: FitConfig, device: torch.device) -> None:
        self.points = PointBank(target.points, config.half_size, device) if target.points else None
        self.rays = RayBank(target.views, config.half_size, device) if target.views else None

    def draw_points(self, count: int, generator: torch.Generator) -> PointBatch:
        banks: list[PointBank | RayBank] = [bank for bank in (self.points, self.rays) if bank]
        draws = [
            bank.draw(count // len(banks), generator)
            if isinstance(bank, PointBank)
            else bank.draw_points(count // len(banks), generator)
            for bank in banks
        ]
        return PointBatch.cat(draws)


def _step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    optimiser.param_groups[0]["lr"] = rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _loss(
    planes: Float[Tensor, "B 3 C H W"],
    decoder: Decoder,
    targets: Sequence[_Target],
    step: int,
    config: FitConfig,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Loss of one step, summed over the chosen avatars so that their number does not change the rate of learning."""
    count = len(planes)
    loss = planes.new_zeros(())
    if step % config.regularise_every == 0:
        split = decoder.config.colour_channels
        priors = (
            config.sparse_weight * sparsity(planes)
            + config.smooth_weight * roughness(planes[:, :, :split])
            + config.smooth_density_weight * roughness(planes[:, :, split:])
        )
        if config.compact_weight:
            priors = priors + config.compact_weight * density_variation(planes, decoder, generator)
        loss = loss + config.regularise_every * priors
    decoded = _perturb(planes, config, generator)
    use_rays = step >= config.ray_start * config.steps and any(target.rays for target in targets)
    kept = config.points_kept if use_rays else 1.0
    if kept:
        batches = [target.draw_points(int(config.point_batch * kept), generator) for target in targets]
        loss = loss + kept * count * point_loss(decoded, decoder, batches, config.colour_weight)
    if use_rays:
        for i, target in enumerate(targets):
            if target.rays:
                rays = target.rays.draw_rays(config.ray_batch, config.ray_samples, generator)
                loss = loss + config.ray_weight * ray_loss(decoded[i], decoder, rays, config.alpha_weight)
    return loss


def _perturb(planes: Tensor, config: FitConfig, generator: torch.Generator) -> Tensor:
    """Planes seen through a smaller size, and with noise, so that the decoder bears generated and low-res planes."""
    if config.rescale_probability:
        draw = torch.rand(2, generator=generator, device=generator.device).tolist()
        size = config.rescale_sizes[int(draw[1] * len(config.rescale_sizes))]
        if draw[0] < config.rescale_probability and size < planes.shape[-1]:
            planes = resize_planes(resize_planes(planes, size), planes.shape[-1])
    if config.plane_noise:
        noise = torch.randn(planes.shape, generator=generator, device=generator.device).to(planes.device)
        planes = planes + config.plane_noise * noise
    return planes


def point_loss(
    planes: Float[Tensor, "B 3 C H W"], decoder: Decoder, batches: Sequence[PointBatch], colour_weight: float
) -> Float[Tensor, ""]:
    """Cross-entropy of occupancy and squared error of colour, each a weighted mean over all points."""
    split = decoder.config.colour_channels
    occupancy_terms, colour_terms = [], []
    for part, batch in zip(planes, batches, strict=True):
        logits, geometry = decoder.density_logits(sample_planes(part[None, :, split:], batch.points[None])[0])
        entropy = F.binary_cross_entropy_with_logits(
            decoder.occupancy_logits(logits), batch.occupancy, reduction="none"
        )
        occupancy_terms.append(_weighted_mean(entropy, batch.occupancy_weights))
        # Most points are free: the larger half of the decoder sees only those whose colour is known.
        i = batch.colour_weights.nonzero()[:, 0]
        colour = decoder.colour(sample_planes(part[None, :, :split], batch.points[None, i])[0], geometry[i])
        error = (colour - batch.colours[i]).square().mean(-1)
        colour_terms.append(_weighted_mean(error, batch.colour_weights[i]))
    return torch.stack(occupancy_terms).mean() + colour_weight * torch.stack(colour_terms).mean()


def ray_loss(
    planes: Float[Tensor, "3 C H W"], decoder: Decoder, rays: RayBatch, alpha_weight: float
) -> Float[Tensor, ""]:
    """Squared error of the rendered colour over white, and of alpha."""
    split = decoder.config.colour_channels
    points = (rays.origins[:, None] + rays.directions[:, None] * rays.t[..., None]).reshape(-1, 3)
    logits, geometry = decoder.density_logits(sample_planes(planes[None, :, split:], points[None])[0])
    lengths = spacing(rays.t, rays.near, rays.far) * rays.directions.norm(dim=-1, keepdim=True)
    weights = ray_weights(decoder.density(logits).reshape(lengths.shape), lengths)
    alpha = weights.sum(1, keepdim=True)
    i = (weights.detach().reshape(-1) > _NEGLIGIBLE).nonzero()[:, 0]
    colour = decoder.colour(sample_planes(planes[None, :, :split], points[None, i])[0], geometry[i])
    colours = torch.zeros_like(points).index_copy(0, i, colour).reshape(*weights.shape, 3)
    rgb = (weights[..., None] * colours).sum(1) + 1 - alpha
    return F.mse_loss(rgb, rays.rgb) + alpha_weight * F.mse_loss(alpha, rays.alpha)


def _weighted_mean(values: Float[Tensor, "N"], weights: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    return (values * weights).sum() / weights.sum().clamp(min=1)
