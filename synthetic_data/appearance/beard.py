"""Facial hair: strands that grow out of the beard's mask, fall with gravity and keep off the skin."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.hair_masks import beard_mask
from synthetic_data.appearance.hair_shape import children, gathered, locks
from synthetic_data.appearance.hair_skin import Head
from synthetic_data.appearance.strands import Roots, Strands, sample_roots, thinned
from synthetic_data.identity import BeardSpec, HairSpec
from synthetic_data.surface import unit

if TYPE_CHECKING:
    from jaxtyping import Float

_COUNT = {"moustache": 3200, "goatee": 5500, "van dyke": 4200, "chinstrap": 8000, "sideburns": 5000}
_GUIDES = 450


def grow_beard(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], beard: BeardSpec, hair: HairSpec, *, detail: float = 1.0
) -> Strands | None:
    """Facial hair of a posed head in metres, or None for a shaven face; its curl follows the head's hair."""
    if beard.style == "none" or beard.length <= 0:
        return None
    bare = _bare(model)

    def mask(points: np.ndarray) -> np.ndarray:
        grows = beard_mask(points, beard)
        candidates = grows > 0
        grows[candidates] *= 1 - bare(points[candidates])
        return grows

    rng = np.random.default_rng([beard.seed, 6])
    points_each = 4 if beard.length < 0.012 else 9 if beard.length < 0.04 else 14
    radius = np.linspace(1, 0.35, points_each) * (1.05e-4 if beard.length < 0.012 else 9.5e-5)
    full = int(_COUNT.get(beard.style, 11000) * (0.35 + 0.65 * beard.density))
    count, radius = thinned(full, radius, detail)
    roots = sample_roots(model, vertices, mask, count, rng)
    guide_rng = np.random.default_rng([beard.seed, 7])
    guide_roots = sample_roots(model, vertices, mask, _GUIDES, guide_rng)
    guides = _guides(Head(model, vertices), guide_roots, beard, points_each, guide_rng)
    features, guide_features = (_features(r.template) for r in (roots, guide_roots))
    start = roots.positions - 0.0008 * roots.normals
    points = children(guides, guide_features, start, features)
    # Towards the edges of a beard the hairs are finer and shorter.
    edge = 0.35 + 0.65 * smoothstep(0.1, 0.9, mask(roots.template))
    share = edge * rng.uniform(0.55, 1.0, count)
    points = points[:, :1] + (points - points[:, :1]) * share[:, None, None]
    if beard.length > 0.008:
        lock = locks(features, 240, rng)
        points = gathered(points, lock, 0.35 if beard.length < 0.04 else 0.6, 1.2, rng)
    along = np.linspace(0, 1, points_each)[None, :, None]
    size = (0.05 + 0.14 * hair.curl) * np.minimum(beard.length, 0.03)
    bend, turn = rng.normal(0, 1, (2, count, 1, 3))
    outwards = roots.normals[:, None]
    wobble = bend * along**1.5 + 0.7 * turn * np.sin(2 * np.pi * along)
    inwards = np.minimum((wobble * outwards).sum(-1, keepdims=True), 0)
    return Strands(points + size * (wobble - inwards * outwards) * along, radius)


@functools.lru_cache(maxsize=2)
def _bare(model: BodyModel) -> Callable[[np.ndarray], np.ndarray]:
    """Weight of the lips and the inside of the mouth at template points on the skin: nothing grows there."""
    regions = model.topology.regions
    skin = np.unique(model.topology.faces[model.topology.parts["skin"]])
    values = np.maximum(regions["lips"], regions["mouth_interior"])[skin]
    tree = KDTree(model.template[skin])

    def weight(points: np.ndarray) -> np.ndarray:
        distance, nearest = tree.query(points, k=3)
        share = 1 / (distance + 1e-4)
        return smoothstep(0.25, 0.6, (values[nearest] * share).sum(1) / share.sum(1))

    return weight


def _features(template: np.ndarray) -> Float[np.ndarray, "n 4"]:
    """The moustache grows apart from the rest, and its halves apart from each other."""
    lip = (template[:, 2] > -0.047) & (np.abs(template[:, 0]) < 0.034)
    return np.concatenate([template, (0.05 * lip + 0.02 * np.sign(template[:, 0]) * lip)[:, None]], 1)


def _guides(
    head: Head, roots: Roots, beard: BeardSpec, steps: int, rng: np.random.Generator
) -> Float[np.ndarray, "G K 3"]:
    x, y, z = roots.template.T
    lip = (z > -0.047) & (np.abs(x) < 0.034)
    chin = smoothstep(0.045, 0.015, np.abs(x)) * smoothstep(-0.03, -0.07, y)
    jaw = smoothstep(-0.055, -0.08, z)
    length = beard.length * (0.45 + 0.55 * np.maximum(chin, 0.5 * jaw)) * rng.uniform(0.85, 1.0, len(x))
    if beard.style == "long":
        length = beard.length * (0.18 + 0.82 * chin * jaw) * rng.uniform(0.85, 1.0, len(x))
    length = np.where(lip, np.minimum(length, 0.008 + 0.010 * smoothstep(0.0, 0.025, np.abs(x))), length)
    side = np.sign(x)
    down = np.array([0, 0, -1.0])
    outwards = np.stack([side, 0 * x, 0 * x], 1)
    # A moustache is combed to both sides over the lip; cheeks grow down and forward to the chin.
    sideways = smoothstep(0.001, 0.012, np.abs(x))[:, None]
    way = np.where(
        lip[:, None],
        outwards * (0.15 + 1.0 * sideways) + down * 0.75,
        down + 0.25 * np.stack([-side * chin, -(1 - chin), 0 * x], 1),
    )
    stand = np.where(lip, 0.3, 0.35 + 0.25 * (beard.length > 0.012))
    heading = unit(unit(way) + stand[:, None] * roots.normals + rng.normal(0, 0.12, way.shape))
    step = (length / (steps - 1))[:, None]
    points = np.empty((len(x), steps, 3))
    points[:, 0] = roots.positions - 0.0008 * roots.normals
    together = np.stack([-0.3 * np.sign(x) * np.clip(np.abs(x) / 0.03, 0, 1), 0 * x, 0 * x], 1) * (beard.length > 0.04)
    for k in range(1, steps):
        gravity = np.where(lip, 0.2, 0.28)[:, None] * min(1.0, beard.length / 0.02)
        heading = unit(heading + gravity * (down + together))
        layer = np.minimum(0.0012 + 0.12 * k * step[:, 0], 0.006)
        trial, _ = head.pushed(points[:, k - 1] + heading * step, np.minimum(layer, 0.0005 + 0.4 * k * step[:, 0]))
        heading = unit(trial - points[:, k - 1])
        points[:, k] = points[:, k - 1] + heading * step
    return points
