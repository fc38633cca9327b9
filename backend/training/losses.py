"""What planes are asked for: labelled points and rays of many heads at once, through their warps and one decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from backend.radiance.canonical import warp_points
from backend.radiance.renderer import ray_weights, spacing
from backend.radiance.triplane import sample_planes

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.radiance.decoder import Decoder
    from backend.training.bank import Points, Rays

COLOUR_WEIGHT = 5.0
CLASS_WEIGHT = 0.1
ALPHA_WEIGHT = 0.5
_NEGLIGIBLE = 1e-3


def look_up(
    planes: Float[Tensor, "B 3 C H W"], warps: Float[Tensor, "B 3 R R R"] | None, places: Float[Tensor, "B N 3"]
) -> Float[Tensor, "B N C"]:
    """Features of posed places in cube coordinates."""
    return sample_planes(planes, places if warps is None else warp_points(warps, places))


def point_loss(
    planes: Float[Tensor, "B 3 C H W"],
    warps: Float[Tensor, "B 3 R R R"] | None,
    decoder: Decoder,
    points: Points,
    colour_weight: float = COLOUR_WEIGHT,
) -> Float[Tensor, ""]:
    """Cross-entropy of occupancy, squared error of colour and cross-entropy of the class, weighted means."""
    split = decoder.config.colour_channels
    places = points.places if warps is None else warp_points(warps, points.places)
    logits, geometry = decoder.density_logits(sample_planes(planes[:, :, split:], places))
    entropy = F.binary_cross_entropy_with_logits(decoder.occupancy_logits(logits), points.occupancy, reduction="none")
    loss = (entropy * points.weights).sum() / points.weights.sum().clamp(min=1)
    # Only the first third, the surface points, can have a colour.
    seen = points.places.shape[1] // 3
    features = sample_planes(planes[:, :, :split], places[:, :seen])
    colour, kinds = decoder.appearance(features, geometry[:, :seen])
    weights = points.colour_weights[:, :seen]
    error = (colour - points.colours[:, :seen]).square().mean(-1) * colour_weight
    if decoder.config.classes:
        entropy = F.cross_entropy(kinds.transpose(1, 2), points.classes[:, :seen], reduction="none")
        error = error + CLASS_WEIGHT * entropy
    return loss + (error * weights).sum() / weights.sum().clamp(min=1)


def render_rays(
    planes: Float[Tensor, "B 3 C H W"], warps: Float[Tensor, "B 3 R R R"] | None, decoder: Decoder, rays: Rays
) -> tuple[Float[Tensor, "B R 3"], Float[Tensor, "B R 1"]]:
    """Colour over white and alpha of the rays, from their given samples."""
    split = decoder.config.colour_channels
    batch, count, samples = rays.t.shape
    places = rays.origins[:, :, None] + rays.directions[:, :, None] * rays.t[..., None]
    places = places.reshape(batch, -1, 3)
    places = places if warps is None else warp_points(warps, places)
    logits, geometry = decoder.density_logits(sample_planes(planes[:, :, split:], places))
    flat = rays.t.reshape(-1, samples)
    lengths = spacing(flat, rays.near.reshape(-1, 1), rays.far.reshape(-1, 1))
    lengths = lengths * rays.directions.reshape(-1, 3).norm(dim=-1, keepdim=True)
    weights = ray_weights(decoder.density(logits).reshape(lengths.shape), lengths).reshape(batch, count, samples)
    # Samples that hardly show are worth no colour: per head the same number are kept, so that all stay one batch.
    keep = max(1, samples * count // 3)
    top = weights.detach().reshape(batch, -1).topk(keep, dim=1).indices
    chosen = torch.gather(places, 1, top[..., None].expand(-1, -1, 3))
    near_geometry = torch.gather(geometry, 1, top[..., None].expand(-1, -1, geometry.shape[-1]))
    colour = decoder.colour(sample_planes(planes[:, :, :split], chosen), near_geometry)
    w = torch.gather(weights.reshape(batch, -1), 1, top)
    w = torch.where(w > _NEGLIGIBLE, w, torch.zeros_like(w))
    rgb = torch.zeros(batch, count, 3, device=planes.device, dtype=colour.dtype)
    rgb = rgb.scatter_add(1, (top // samples)[..., None].expand(-1, -1, 3), w[..., None] * colour)
    alpha = weights.sum(-1, keepdim=True)
    return rgb + 1 - alpha, alpha


def ray_loss(
    planes: Float[Tensor, "B 3 C H W"], warps: Float[Tensor, "B 3 R R R"] | None, decoder: Decoder, rays: Rays
) -> Float[Tensor, ""]:
    """Squared error of colour over white, and of alpha."""
    rgb, alpha = render_rays(planes, warps, decoder, rays)
    return F.mse_loss(rgb, rays.rgb) + ALPHA_WEIGHT * F.mse_loss(alpha, rays.alpha)
