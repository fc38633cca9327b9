"""From a few guides to a full head of hair: children, locks, waves and fly-aways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from synthetic_data.surface import unit

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def children(
    guides: Float[np.ndarray, "G K 3"],
    guide_features: Float[np.ndarray, "G f"],
    roots: Float[np.ndarray, "N 3"],
    features: Float[np.ndarray, "N f"],
) -> Float[np.ndarray, "N K 3"]:
    """A strand for every root, shaped like the three guides that are nearest in feature space."""
    distance, nearest = (np.asarray(v) for v in KDTree(guide_features).query(features, k=3))
    weight = 1 / (distance + 0.0008) ** 1.5
    # A neighbour far away in feature space grows beyond the parting, or in another part of the haircut.
    weight *= distance < distance[:, :1] + 0.02
    weight /= weight.sum(1, keepdims=True)
    shapes = (guides - guides[:, :1]).reshape(len(guides), -1)
    found = np.zeros((len(roots), shapes.shape[1]))
    for k in range(3):
        found += weight[:, k : k + 1] * shapes[nearest[:, k]]
    return roots[:, None] + found.reshape(len(roots), *guides.shape[1:])


def shortened(points: Float[np.ndarray, "N K 3"], share: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N K 3"]:
    """Every strand cut to the first `share` of itself, with as many points as before."""
    count, steps, _ = points.shape
    at = np.linspace(0, 1, steps) * np.clip(share, 0, 1)[:, None] * (steps - 1)
    low = np.minimum(at.astype(int), steps - 2)
    t = (at - low)[..., None]
    flat = points.reshape(-1, 3)
    index = low + steps * np.arange(count)[:, None]
    return flat[index] * (1 - t) + flat[index + 1] * t


def locks(features: Float[np.ndarray, "N f"], count: int, rng: np.random.Generator) -> Int[np.ndarray, " N"]:
    """For every strand the strand that leads its lock."""
    leaders = np.sort(rng.choice(len(features), min(count, len(features)), replace=False))
    return leaders[KDTree(features[leaders]).query(features)[1]]


def gathered(
    points: Float[np.ndarray, "N K 3"],
    lock: Int[np.ndarray, " N"],
    strength: float,
    growth: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N K 3"]:
    """Strands drawn towards the leader of their lock, along their length as its power `growth`."""
    along = np.linspace(0, 1, points.shape[1])[None, :, None]
    hold = rng.uniform(0.55, 1.15, len(points))[lock] * rng.uniform(0.5, 1.0, len(points))
    # Stubble forms no locks.
    length = np.linalg.norm(points[:, -1] - points[:, 0], axis=1)
    hold = hold * np.clip((length - 0.008) / 0.02, 0, 1)
    amount = np.clip(strength * hold, 0, 1)[:, None, None] * along**growth
    return points + (points[lock] - points) * amount


def roped(
    points: Float[np.ndarray, "N K 3"], lock: Int[np.ndarray, " N"], radius: float, rng: np.random.Generator
) -> Float[np.ndarray, "N K 3"]:
    """Locks closed to round ropes, twisted, of `radius` metres."""
    count, steps, _ = points.shape
    along = np.linspace(0, 1, steps)[None, :]
    centre = points[lock]
    tangent = unit(np.gradient(centre, axis=1))
    first = unit(np.cross(tangent, np.array([0.21, 0.13, 0.97])))
    second = np.cross(tangent, first)
    arc = np.cumsum(np.linalg.norm(np.diff(centre, axis=1, prepend=centre[:, :1]), axis=2), 1)
    # Ropes are lumpy and end bluntly.
    lump = 1 + 0.14 * np.sin(arc / 0.006 + 6 * rng.random(count)[lock][:, None])
    reach = radius * rng.uniform(0.75, 1.2, count)[lock][:, None] * lump * np.sqrt(1 - 0.75 * along**12)
    angle = 2 * np.pi * (rng.random(count)[:, None] + arc / 0.035)
    reach = reach * np.sqrt(rng.uniform(0.3, 1, count))[:, None]
    rope = centre + reach[..., None] * (first * np.cos(angle)[..., None] + second * np.sin(angle)[..., None])
    closed = np.clip(arc / 0.015, 0, 1)[..., None]
    return points + closed * (rope - points)


def waved(
    points: Float[np.ndarray, "N K 3"],
    lock: Int[np.ndarray, " N"],
    radius: float,
    wavelength: float,
    coherence: float,
    flat: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N K 3"]:
    """Helices around the strands, in step within a lock; `flat` 1 makes them waves in a plane."""
    count, steps, _ = points.shape
    tangent = unit(np.gradient(points, axis=1))
    first = unit(np.cross(tangent, np.array([0.21, 0.13, 0.97])))
    second = np.cross(tangent, first)
    # The leader's own length counts: strands of a lock that measured themselves would fall out of step.
    pieces = np.linalg.norm(np.diff(points, axis=1), axis=2)
    arc = np.concatenate([np.zeros((count, 1)), np.cumsum(pieces, 1)], 1)[lock]
    length = arc[:, -1]
    own = rng.normal(0, 1 - coherence, (2, count))
    pitch = wavelength * rng.uniform(0.85, 1.2, count)[lock]
    size = radius * np.clip(rng.uniform(0.75, 1.25, count)[lock] + own[0], 0.3, 1.6)
    # Waves run on from lock to lock, helices each for themselves.
    azimuth = np.arctan2(points[:, 0, 0], -points[:, 0, 1])
    together = 0.3 * np.sin(3 * azimuth + 6 * rng.random()) - points[:, 0, 2] / wavelength
    phase = (1 - 0.8 * flat) * rng.random(count)[lock] + own[1] + (flat > 0) * together[lock]
    sense = np.where((rng.random(count) < 0.5) & (flat == 0), -1.0, 1.0)[lock]
    # A turn needs five points.
    pitch = np.maximum(pitch, 5 * length / steps)
    angle = 2 * np.pi * (phase[:, None] + arc / pitch[:, None]) * sense[:, None]
    reach = size[:, None] * np.clip(arc / 0.03, 0, 1)
    aside = first * np.cos(angle)[..., None] + (1 - flat) * second * np.sin(angle)[..., None]
    return points + reach[..., None] * aside


def frizzed(
    points: Float[np.ndarray, "N K 3"], frizz: float, strays: float, rng: np.random.Generator
) -> Float[np.ndarray, "N K 3"]:
    """Each strand a little of its own way, `strays` of them far (fly-aways)."""
    count, steps, _ = points.shape
    along = np.linspace(0, 1, steps)[None, :, None]
    length = np.linalg.norm(points[:, -1] - points[:, 0], axis=1)
    size = (0.004 + 0.022 * frizz) * np.minimum(length, 0.12)
    size = np.where(rng.random(count) < strays * (0.5 + 1.5 * frizz), 1.6 * size + 0.001, size)
    # Not inwards: a strand that leaves its place goes up and out.
    bend, turn = rng.normal(0, 1, (2, count, 1, 3))
    wobble = bend * along**1.3 + 0.6 * turn * np.sin(np.pi * 2.3 * along)
    return points + size[:, None, None] * wobble * np.clip(4 * along, 0, 1)
