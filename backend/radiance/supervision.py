"""What a tri-plane is fitted to: labelled points, and posed RGB-D views turned into rays and points."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from backend.radiance.cameras import Camera
from backend.radiance.renderer import intersect_cube

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float
    from torch import Tensor

OPAQUE = 240 / 255
"""Colour comes only from pixels that are opaque: others are mixed with the background and would leave white specks."""
SURFACE = (-0.004, 0.031)
"""Offsets along the ray, in cube units, between which matter is known to be where a pixel has its depth."""
GAP, NEAR_BAND = 0.02, 0.12
"""Cube units before a surface that are left open, and in which most free points lie."""
GUIDED_BAND = (-0.14, 0.06)
"""Offsets from the known depth, in cube units, between which a ray is sampled closely."""


@dataclasses.dataclass(frozen=True)
class PointSamples:
    """Labelled points of one avatar: `points` in metres, `occupancy` 0 (free) to 1 (matter), sRGB `colours` in [0, 1].

    A weight of zero leaves a label out: `colour_weights` is zero for free points, whose colour has no meaning.
    """

    points: Float[np.ndarray, "N 3"]
    occupancy: Float[np.ndarray, "N"]
    colours: Float[np.ndarray, "N 3"]
    occupancy_weights: Float[np.ndarray, "N"]
    colour_weights: Float[np.ndarray, "N"]


@dataclasses.dataclass(frozen=True)
class View:
    """A posed picture: straight sRGB `rgb`, `alpha`, planar `depth` in metres (0 where nothing is seen)."""

    rgb: Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    camera: Camera


def crop_view(view: View, half_size: float) -> tuple[View, Bool[np.ndarray, "H W"]]:
    """The view without what lies outside of the cube, and which of its pixels can be trusted.

    Behind the cube becomes background; a pixel whose surface lies in front of the cube hides it and is not valid.
    """
    origin, directions = view.camera.rays()
    near, far = intersect_cube(
        torch.as_tensor(origin).expand(directions.shape[0] * directions.shape[1], 3),
        torch.as_tensor(directions.reshape(-1, 3)),
        half_size,
    )
    near, far = near.numpy().reshape(view.depth.shape), far.numpy().reshape(view.depth.shape)
    inside = (view.depth >= near) & (view.depth <= far)
    hidden = (view.depth > 0) & (view.depth < near)
    # A half-covered edge pixel may have no depth of its own: it belongs to what its neighbours see.
    edge = (view.depth <= 0) & np.asarray(binary_dilation(inside, np.ones((3, 3))), bool)
    alpha = np.where(inside | edge, view.alpha, 0).astype(np.float32)
    cropped = View(view.rgb, alpha, np.where(inside, view.depth, 0).astype(np.float32), view.camera)
    return cropped, ~hidden


@dataclasses.dataclass(frozen=True)
class PointBatch:
    """Points in cube coordinates with their labels, as in `PointSamples`."""

    points: Float[Tensor, "N 3"]
    occupancy: Float[Tensor, "N"]
    colours: Float[Tensor, "N 3"]
    occupancy_weights: Float[Tensor, "N"]
    colour_weights: Float[Tensor, "N"]

    @classmethod
    def cat(cls, batches: Sequence[PointBatch]) -> PointBatch:
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


class PointBank:
    """All labelled points of an avatar on one device, drawn in random batches."""

    def __init__(self, samples: PointSamples, half_size: float, device: torch.device) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        count = len(samples.points)
        for field in dataclasses.fields(samples):
            if len(getattr(samples, field.name)) != count:
                raise ValueError(f"{field.name} must have {count} rows, one per point")
        self.all = PointBatch(
            tensor(samples.points) / half_size,
            tensor(samples.occupancy),
            tensor(samples.colours),
            tensor(samples.occupancy_weights),
            tensor(samples.colour_weights),
        )

    def draw(self, count: int, generator: torch.Generator) -> PointBatch:
        index = torch.randint(len(self.all.points), (count,), generator=generator, device=generator.device)
        index = index.to(self.all.points.device)
        return PointBatch(*(getattr(self.all, field.name)[index] for field in dataclasses.fields(self.all)))


@dataclasses.dataclass(frozen=True)
class RayBatch:
    """Rays in cube coordinates with sorted sample parameters `t`, the pixel's `rgb` over white and its `alpha`."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    near: Float[Tensor, "R 1"]
    far: Float[Tensor, "R 1"]
    t: Float[Tensor, "R S"]
    rgb: Float[Tensor, "R 3"]
    alpha: Float[Tensor, "R 1"]


class RayBank:
    """The pixels of all views of an avatar as rays in cube coordinates, whose parameter is still planar depth."""

    def __init__(self, views: Sequence[View], half_size: float, device: torch.device) -> None:
        rows = [_flatten(view, half_size) for view in views]
        data = torch.as_tensor(np.concatenate(rows), dtype=torch.float32, device=device)
        self.origins, self.directions = data[:, :3] / half_size, data[:, 3:6] / half_size
        self.rgb, self.alpha, self.depth = data[:, 6:9], data[:, 9:10], data[:, 10:11]
        self.near, self.far = intersect_cube(self.origins, self.directions, 1.0)
        self.hits = ((self.depth > 0) & (self.alpha > 0.5)).nonzero()[:, 0]
        self.misses = ((self.depth <= 0) & (self.alpha <= 0)).nonzero()[:, 0]
        # Rays near a silhouette teach more than the open background: that part is drawn less often.
        self.edges = (self.alpha[:, 0] > 0).nonzero()[:, 0]

    def draw_points(self, count: int, generator: torch.Generator) -> PointBatch:
        """About `count` points: per seen pixel one on the surface and two in the free space before it; per background
        pixel one anywhere along its ray."""
        parts = []
        share = 0.8 if len(self.misses) else 1.0
        if pixels := int(count * share / 3) * (len(self.hits) > 0):
            i = self._pick(self.hits, pixels, generator)
            per_unit = 1 / self.directions[i].norm(dim=-1, keepdim=True)
            z, near = self.depth[i], self.near[i]
            first = torch.maximum(z - GAP * per_unit, near)
            low, high = SURFACE
            u = self._uniform((3, pixels, 1), generator)
            surface = z + (low + (high - low) * u[0]) * per_unit
            close = torch.maximum(first - u[1] ** 2 * NEAR_BAND * per_unit, near)
            anywhere = near + (first - near) * u[2]
            ones, zeros = torch.ones_like(z[:, 0]), torch.zeros_like(z[:, 0])
            opaque = (self.alpha[i, 0] > OPAQUE).float()
            parts.append(PointBatch(self._at(i, surface), ones, self.rgb[i], ones, opaque))
            parts += [PointBatch(self._at(i, t), zeros, self.rgb[i], ones, zeros) for t in (close, anywhere)]
        if pixels := int(count * (1 - share if len(self.hits) else 1)) * (len(self.misses) > 0):
            i = self._pick(self.misses, pixels, generator)
            t = self.near[i] + (self.far[i] - self.near[i]) * self._uniform((pixels, 1), generator)
            zeros = torch.zeros(pixels, device=t.device)
            parts.append(PointBatch(self._at(i, t), zeros, self.rgb[i], zeros + 1, zeros))
        return PointBatch.cat(parts)

    def draw_rays(self, count: int, samples: int, generator: torch.Generator) -> RayBatch:
        """Rays, three quarters of them through the head; a third of the samples all along, the rest around the depth
        where that is known."""
        on_head = count * 3 // 4 if len(self.edges) else 0
        everywhere = torch.arange(len(self.alpha), device=self.alpha.device)
        i = torch.cat([self._pick(self.edges, on_head, generator), self._pick(everywhere, count - on_head, generator)])
        near, far, depth = self.near[i], self.far[i], self.depth[i]
        per_unit = 1 / self.directions[i].norm(dim=-1, keepdim=True)
        coarse = samples // 3
        low, high = (depth + offset * per_unit for offset in GUIDED_BAND)
        known = depth > 0
        low = torch.where(known, torch.maximum(low, near), near)
        high = torch.where(known, torch.minimum(high, far), far)
        t = torch.cat(
            [
                near + (far - near) * self._stratified(count, coarse, generator),
                low + (high - low) * self._stratified(count, samples - coarse, generator),
            ],
            1,
        )
        rgb = self.rgb[i] * self.alpha[i] + 1 - self.alpha[i]
        return RayBatch(self.origins[i], self.directions[i], near, far, t.sort(1)[0], rgb, self.alpha[i])

    def _at(self, index: Tensor, t: Tensor) -> Tensor:
        return self.origins[index] + self.directions[index] * t

    def _pick(self, candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
        if not count:
            return candidates[:0]
        drawn = torch.randint(len(candidates), (count,), generator=generator, device=generator.device)
        return candidates[drawn.to(candidates.device)]

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device).to(self.depth.device)

    def _stratified(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        steps = torch.arange(samples, device=self.depth.device)
        return (steps + self._uniform((count, samples), generator)) / samples


def _flatten(view: View, half_size: float) -> Float[np.ndarray, "R 11"]:
    """Origin, direction (metres), colour, alpha and depth of the pixels that see the cube and can be trusted."""
    view, valid = crop_view(view, half_size)
    origin, directions = view.camera.rays()
    near, far = intersect_cube(
        torch.as_tensor(origin).expand(directions.shape[0] * directions.shape[1], 3),
        torch.as_tensor(directions.reshape(-1, 3)),
        half_size,
    )
    keep = valid & (far > near).numpy().reshape(valid.shape)
    origins = np.broadcast_to(origin, directions.shape)
    return np.concatenate(
        [origins[keep], directions[keep], view.rgb[keep], view.alpha[keep][:, None], view.depth[keep][:, None]], 1
    )
