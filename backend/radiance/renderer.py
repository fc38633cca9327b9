"""Volume rendering of a tri-plane: coarse samples, importance samples, and an occupancy grid that skips empty space."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.cameras import Camera
    from backend.radiance.occupancy import OccupancyGrid
    from backend.radiance.triplane import TriPlane

_NEGLIGIBLE = 1e-5
_VISIBLE = 1e-3


@dataclasses.dataclass(frozen=True)
class Rendering:
    """One view. `rgb` is sRGB in [0, 1], over the background if one was given and straight otherwise; `alpha` is the
    opacity; `depth` is the mean planar depth in metres of what is seen, 0 where nothing is."""

    rgb: Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]


@dataclasses.dataclass(frozen=True)
class RenderConfig:
    """Samples per ray of the coarse and of the importance pass, and rays per chunk (bounds the memory)."""

    coarse_samples: int = 96
    fine_samples: int = 48
    chunk: int = 8192


@torch.no_grad()
def render_view(
    triplane: TriPlane,
    camera: Camera,
    *,
    occupancy: OccupancyGrid | None = None,
    background: tuple[float, float, float] | None = None,
    config: RenderConfig | None = None,
    progress: Callable[[float], None] | None = None,
) -> Rendering:
    """All pixels of `camera`. With an `occupancy` grid of the same field the picture is the same, only sooner.

    `progress` gets the finished fraction after each chunk and may raise to cancel.
    """
    config = config or RenderConfig()
    origin, directions = camera.rays()
    device = triplane.planes.device
    rays = torch.as_tensor(directions.reshape(-1, 3), dtype=torch.float32, device=device)
    start = torch.as_tensor(origin, dtype=torch.float32, device=device)
    parts = []
    for i, part in enumerate(rays.split(config.chunk)):
        sums = render_rays(triplane, start.expand_as(part), part, occupancy=occupancy, config=config)
        parts.append(torch.cat(sums, 1))
        if progress:
            progress(min(1.0, (i + 1) * config.chunk / len(rays)))
    image = torch.cat(parts).reshape(camera.height, camera.width, 5).cpu().numpy()
    rgb, alpha, depth = image[..., :3], image[..., 3:4], image[..., 4]
    if background is None:
        rgb = rgb / np.maximum(alpha, _NEGLIGIBLE)
    else:
        rgb = rgb + (1 - alpha) * np.asarray(background, np.float32)
    seen = alpha[..., 0] > _VISIBLE
    depth = np.where(seen, depth / np.maximum(alpha[..., 0], _NEGLIGIBLE), 0)
    return Rendering(rgb.clip(0, 1), alpha[..., 0].clip(0, 1), depth.astype(np.float32))


def render_rays(
    triplane: TriPlane,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    *,
    occupancy: OccupancyGrid | None = None,
    config: RenderConfig | None = None,
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 1"], Float[Tensor, "R 1"]]:
    """Colour times alpha, alpha, and depth times alpha. Depth is the ray parameter: planar for `Camera.rays`."""
    config = config or RenderConfig()
    near, far = intersect_cube(origins, directions, triplane.half_size)
    hit = (far > near).nonzero()[:, 0]
    result = torch.zeros(len(origins), 5, device=origins.device)
    if not len(hit):
        return result[:, :3], result[:, 3:4], result[:, 4:]
    origins, directions, near, far = origins[hit], directions[hit], near[hit], far[hit]
    speed = directions.norm(dim=-1, keepdim=True)

    def points_at(t: Tensor) -> Tensor:
        return origins[:, None] + directions[:, None] * t[..., None]

    def density_at(t: Tensor) -> Tensor:
        points = points_at(t)
        density = torch.zeros_like(t)
        mask = occupancy.contains(points) if occupancy else torch.ones_like(t, dtype=torch.bool)
        density[mask] = triplane.density(points[mask])
        return density

    steps = (torch.arange(config.coarse_samples, device=near.device) + 0.5) / config.coarse_samples
    t = near + (far - near) * steps
    density = density_at(t)
    if config.fine_samples:
        weights = ray_weights(density, spacing(t, near, far) * speed)
        fine = importance_samples(t, weights, near, far, config.fine_samples)
        t, order = torch.cat([t, fine], 1).sort(1)
        density = torch.cat([density, density_at(fine)], 1).gather(1, order)
    weights = ray_weights(density, spacing(t, near, far) * speed)
    alpha = weights.sum(1, keepdim=True)
    # Colour is asked only where it shows; those samples then speak for the rest.
    seen = weights > _NEGLIGIBLE + 1e-3 * alpha
    shown = torch.where(seen, weights, 0.0)
    shown = shown * alpha / shown.sum(1, keepdim=True).clamp(min=_NEGLIGIBLE)
    colour = torch.zeros(*t.shape, 3, device=t.device)
    colour[seen] = triplane.colour_and_density(points_at(t)[seen])[0]
    sums = [(shown[..., None] * colour).sum(1), alpha, (weights * t).sum(1, keepdim=True)]
    result[hit] = torch.cat(sums, 1)
    return result[:, :3], result[:, 3:4], result[:, 4:]


def intersect_cube(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], half_size: float
) -> tuple[Float[Tensor, "R 1"], Float[Tensor, "R 1"]]:
    """Ray parameters where rays enter (not behind the origin) and leave the cube; far <= near when they miss it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-half_size - origins) / safe, (half_size - origins) / safe
    near = torch.minimum(a, b).amax(-1, keepdim=True).clamp(min=0)
    return near, torch.maximum(a, b).amin(-1, keepdim=True)


def spacing(t: Float[Tensor, "R S"], near: Float[Tensor, "R 1"], far: Float[Tensor, "R 1"]) -> Float[Tensor, "R S"]:
    """Length that each sorted sample stands for: up to the middles between neighbours, so all lengths fill the ray."""
    edges = torch.cat([near, (t[:, 1:] + t[:, :-1]) / 2, far], 1)
    return edges.diff(dim=1)


def ray_weights(density: Float[Tensor, "R S"], lengths: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Share of each sample in the pixel: its opacity times the transmittance of all samples before it."""
    thickness = density * lengths
    before = thickness.cumsum(1) - thickness
    return -torch.expm1(-thickness) * torch.exp(-before)


def importance_samples(
    t: Float[Tensor, "R S"],
    weights: Float[Tensor, "R S"],
    near: Float[Tensor, "R 1"],
    far: Float[Tensor, "R 1"],
    count: int,
) -> Float[Tensor, "R count"]:
    """Parameters at equal steps of the cumulated weights, which are widened by a sample so that an edge lying between
    two coarse samples is found (the blur of mip-NeRF)."""
    padded = torch.cat([weights[:, :1], weights, weights[:, -1:]], 1)
    highest = torch.maximum(padded[:, 1:], padded[:, :-1])
    blurred = (highest[:, 1:] + highest[:, :-1]) / 2 + 1e-5
    edges = torch.cat([near, (t[:, 1:] + t[:, :-1]) / 2, far], 1)
    cumulated = torch.cat([torch.zeros_like(near), blurred.cumsum(1)], 1)
    cumulated = cumulated / cumulated[:, -1:]
    u = ((torch.arange(count, device=t.device) + 0.5) / count).expand(len(t), count).contiguous()
    right = torch.searchsorted(cumulated, u, right=True).clamp(1, t.shape[1])
    c0, c1 = cumulated.gather(1, right - 1), cumulated.gather(1, right)
    e0, e1 = edges.gather(1, right - 1), edges.gather(1, right)
    return e0 + (e1 - e0) * (u - c0) / (c1 - c0).clamp(min=1e-9)
