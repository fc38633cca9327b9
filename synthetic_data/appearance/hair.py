"""Head hair: every strand is grown through a field of directions, kept off the skin, and gathered into locks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.strands import Roots, Strands, sample_roots
from synthetic_data.identity import HairSpec
from synthetic_data.surface import Split, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float

_TOP = 0.115
"""Height of the top of the skull in the head frame, metres."""


@dataclasses.dataclass(frozen=True)
class _Family:
    """How one kind of haircut is grown."""

    count: int
    points: int
    gravity: float
    stiffness: float
    clump: float
    locks: int
    radius: float


_FAMILIES = {
    "buzz": _Family(count=24000, points=3, gravity=0.05, stiffness=1.0, clump=0.1, locks=2500, radius=9e-5),
    "short": _Family(count=20000, points=9, gravity=0.22, stiffness=0.8, clump=0.55, locks=1100, radius=1.3e-4),
    "bob": _Family(count=19000, points=18, gravity=0.55, stiffness=0.62, clump=0.5, locks=900, radius=1.5e-4),
    "long": _Family(count=19000, points=24, gravity=0.55, stiffness=0.62, clump=0.55, locks=900, radius=1.5e-4),
    "afro": _Family(count=17000, points=16, gravity=0.0, stiffness=1.0, clump=0.6, locks=900, radius=1.2e-4),
}


def grow_hair(model: BodyModel, vertices: Float[np.ndarray, "V 3"], hair: HairSpec) -> Strands | None:
    """Hair of a posed head in metres, or None for a bald one. Raises KeyError for an unknown family."""
    if hair.family == "bald":
        return None
    family = _FAMILIES[hair.family]
    rng = np.random.default_rng([hair.seed, 3])
    scalp = _scalp_lookup(model)
    roots = sample_roots(model, vertices, scalp, family.count, rng)
    skin = SkinCollider(model, vertices)
    fringe = _fringe(roots, hair, rng)
    lock = _locks(roots, hair, fringe, family.locks, rng)
    length, direction = _initial(roots, hair, fringe, rng)
    points = _grow(roots, hair, family, skin, length, direction, fringe, rng)
    points = _gather(points, lock, family.clump, rng)
    if hair.family == "afro":
        points = _curl(points, lock, rng)
    else:
        flat = skin.push(points[:, 1:].reshape(-1, 3), np.full(len(points) * (family.points - 1), 0.0012))
        points[:, 1:] = flat.reshape(len(points), -1, 3)
    return Strands(points, np.linspace(1, 0.45, family.points) * family.radius)


class SkinCollider:
    """Keeps points outside the skin, and farther out over the shoulders, where the garment lies."""

    def __init__(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> None:
        faces = model.topology.faces[model.topology.parts["skin"]]
        outside = model.topology.regions["mouth_interior"][faces].max(1) < 0.5
        split = Split.of(faces[outside], len(vertices))
        normals = vertex_normals(vertices, faces)
        used = np.unique(split.faces)
        self._points = split.curved(vertices, normals)[used]
        self._normals = unit(split.linear(normals))[used]
        template_z = split.linear(model.template[:, 2:])[used, 0]
        self._extra = 0.010 * smoothstep(-0.11, -0.16, template_z)
        self._tree = KDTree(self._points)

    def push(self, points: Float[np.ndarray, "n 3"], clearance: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        """Points moved along the nearest normal to at least `clearance` metres above the skin."""
        distance, nearest = self._tree.query(points)
        normal = self._normals[nearest]
        height = ((points - self._points[nearest]) * normal).sum(1)
        lacking = np.clip(clearance + self._extra[nearest] - height, 0, 0.04) * (distance < 0.06)
        return points + lacking[:, None] * normal


def _scalp_lookup(model: BodyModel):
    """The soft scalp mask of the body model at any template point on the skin."""
    skin = np.unique(model.topology.faces[model.topology.parts["skin"]])
    tree, values = KDTree(model.template[skin]), model.topology.regions["scalp"][skin]

    def mask(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        distance, nearest = tree.query(points, k=3)
        weight = 1 / (distance + 1e-4)
        return (values[nearest] * weight).sum(1) / weight.sum(1)

    return mask


def _fringe(roots: Roots, hair: HairSpec, rng: np.random.Generator) -> np.ndarray:
    """Strands that hang over the forehead: cut hair of some people, mixed with its neighbours towards the crown."""
    x, y, _ = roots.template.T
    if hair.family not in ("bob", "long") or hair.fringe < 0.55:
        return np.zeros(len(x), bool)
    return rng.random(len(x)) < smoothstep(-0.005, -0.045, y) * smoothstep(0.062, 0.048, np.abs(x))


def _locks(roots: Roots, hair: HairSpec, fringe: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """For every strand the strand that leads its lock; locks cross neither the parting nor the edge of the fringe."""
    leaders = rng.choice(len(roots.template), min(count, len(roots.template)), replace=False)
    side = 0.03 * np.sign(roots.template[:, :1] - hair.parting) * (hair.family in ("bob", "long"))
    features = np.concatenate([roots.template, side * ~fringe[:, None], 0.1 * fringe[:, None]], 1)
    return leaders[KDTree(features[leaders]).query(features)[1]]


def _initial(
    roots: Roots, hair: HairSpec, fringe: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Length and first direction of every strand."""
    template, normal = roots.template, roots.normals
    x, y, z = template.T
    count = len(x)
    across, forwards, up = np.eye(3) * [[1], [-1], [1]]
    top = smoothstep(0.0, 0.10, z)[:, None]
    front = smoothstep(65, 20, np.degrees(np.arctan2(np.abs(x), -y)))[:, None]
    vary = rng.uniform(0.85, 1.1, count)
    if hair.family == "buzz":
        return hair.length * vary, normal + 0.5 * forwards * top - 0.6 * up * (1 - top)
    if hair.family == "afro":
        centre = np.array([0, 0.02, 0.04])
        return hair.length * vary, unit(roots.positions - centre) + 0.5 * normal
    if hair.family == "short":
        sweep = np.sign(hair.parting) * np.where(hair.parting != 0, 0.7, 0.0)
        # A whorl at the crown: hair lies away from it.
        crown = unit(template - np.array([0.005, 0.055, 0.11]))
        direction = (0.35 + 0.5 * hair.volume) * normal + 0.5 * crown + sweep * across * top
        direction = direction + forwards * (0.2 + 0.6 * hair.fringe) * front - 0.5 * up * (1 - top)
        return hair.length * (0.28 + 0.72 * top[:, 0]) * vary, direction
    # Bob and long hair is cut at one height, so that roots higher up grow longer strands.
    end = _TOP - hair.length
    length = np.clip(1.08 * (z - end) + 0.025, 0.03, 0.6) * rng.uniform(0.95, 1.03, count)
    length = np.where(fringe, np.clip(z - 0.045, 0.02, 0.09) * 1.15 + 0.6 * np.clip(y + 0.04, 0, 0.05), length)
    side = np.sign(x - hair.parting + 1e-6)[:, None] * across
    parting = smoothstep(0.06, 0.02, y)[:, None]  # closes at the crown
    parted = (0.3 + 0.4 * hair.volume) * normal + side * (0.5 * top * parting + 0.02)
    parted = parted - forwards * (0.35 * top + 0.5 * front)
    hanging = 0.5 * normal + 0.8 * forwards + 6 * x[:, None] * across
    return length, np.where(fringe[:, None], hanging, parted)


def _grow(
    roots: Roots,
    hair: HairSpec,
    family: _Family,
    skin: SkinCollider,
    length: np.ndarray,
    direction: np.ndarray,
    fringe: np.ndarray,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N K 3"]:
    """Integrate the strands: inertia, gravity, and away from the face."""
    count, steps = len(length), family.points
    points = np.empty((count, steps, 3))
    points[:, 0] = roots.positions - 0.001 * roots.normals
    step = (length / (steps - 1))[:, None]
    heading = unit(direction + rng.normal(0, 0.05, direction.shape))
    gravity = family.gravity * (1 - 0.3 * hair.volume)
    layer = 0.002 + (0.003 + 0.014 * hair.volume) * rng.random(count)
    if hair.family in ("buzz", "short"):
        layer *= 0.5
    for k in range(1, steps):
        t = k / (steps - 1)
        wanted = heading * family.stiffness + np.array([0, 0, -1.0]) * gravity * (0.5 + 0.6 * t)
        if hair.family in ("bob", "long"):
            wanted = wanted + _around_face(points[:, k - 1], hair.parting) * ~fringe[:, None]
        q = points[:, k - 1] + unit(wanted) * step
        q = skin.push(q, np.minimum(layer, 0.0015 + layer * k / 4))
        heading = unit(q - points[:, k - 1])
        points[:, k] = points[:, k - 1] + heading * step
    return points


def _around_face(points: Float[np.ndarray, "n 3"], parting: float) -> Float[np.ndarray, "n 3"]:
    """A push backwards and sideways on strands that would hang over the face."""
    # Only in front of the ears.
    depth = np.clip(-points[:, 1] - 0.015 - 0.3 * np.abs(points[:, 0]), 0, 0.06)[:, None] * 12
    side = np.sign(points[:, :1] - parting) * np.array([0.6, 0, 0])
    return depth * (np.array([0, 0.9, 0]) + side)


def _gather(
    points: Float[np.ndarray, "N K 3"], lock: np.ndarray, strength: float, rng: np.random.Generator
) -> Float[np.ndarray, "N K 3"]:
    """Draw strands towards the leader of their lock, more at the tips, with a few strays."""
    along = np.linspace(0, 1, points.shape[1])[None, :, None]
    amount = strength * along**1.3 * rng.uniform(0.4, 1.0, (len(points), 1, 1))
    gathered = points + (points[lock] - points) * amount
    return gathered + rng.normal(0, 0.0015, (len(points), 1, 3)) * along


def _curl(points: Float[np.ndarray, "N K 3"], lock: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "N K 3"]:
    """Tight helices, in step within a lock."""
    count, steps, _ = points.shape
    tangent = unit(np.gradient(points, axis=1))
    first = unit(np.cross(tangent, np.array([0.3, 0.2, 0.93])))
    second = np.cross(tangent, first)
    turns = np.linspace(0, 1, steps) * rng.uniform(3, 5, count)[lock][:, None]
    angle = 2 * np.pi * (turns + rng.random(count)[lock][:, None]) + rng.normal(0, 0.5, (count, 1))
    reach = 0.004 * rng.uniform(0.6, 1.3, count)[lock][:, None] * np.clip(np.linspace(0, 4, steps), 0, 1)
    return points + reach[..., None] * (first * np.cos(angle)[..., None] + second * np.sin(angle)[..., None])
