"""Strands of hair as polylines: brows and lashes, and the roots that every groom starts from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.body_model.base import BodyModel
from synthetic_data.appearance.hair_masks import brow_line, brow_mask
from synthetic_data.identity import HairSpec
from synthetic_data.surface import unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Strands:
    """`points` in metres, root first; `radius` along every strand, metres."""

    points: Float[np.ndarray, "N K 3"]
    radius: Float[np.ndarray, " K"]


@dataclasses.dataclass(frozen=True)
class Roots:
    """Places on the skin: posed position and normal, and where the same place is on the template."""

    positions: Float[np.ndarray, "N 3"]
    normals: Float[np.ndarray, "N 3"]
    template: Float[np.ndarray, "N 3"]


def thinned(count: int, radius: Float[np.ndarray, " K"], detail: float) -> tuple[int, Float[np.ndarray, " K"]]:
    """Fewer strands that cover as much: `detail` times the count, each thicker by as much. Raises outside 0 to 1."""
    if not 0 < detail <= 1:
        raise ValueError(f"detail {detail} is not in (0, 1]")
    kept = max(1, round(count * detail))
    return kept, radius * (count / kept)


@functools.lru_cache(maxsize=2)
def _skin_triangles(model: BodyModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skin faces, their area on the template, and four samples of each."""
    faces = model.topology.faces[model.topology.parts["skin"]]
    corners = model.template[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return faces, area, np.concatenate([corners, corners.mean(1, keepdims=True)], 1)


def sample_roots(
    model: BodyModel,
    vertices: Float[np.ndarray, "V 3"],
    mask: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]],
    count: int,
    rng: np.random.Generator,
) -> Roots:
    """`count` roots with a density on the template proportional to `mask(template points)` (0 to 1).

    Raises ValueError when the mask is zero everywhere.
    """
    faces, area, samples = _skin_triangles(model)
    highest = mask(samples.reshape(-1, 3)).reshape(-1, 4).max(1)
    grows = np.flatnonzero(highest > 0)
    if len(grows) == 0:
        raise ValueError("no hair can grow: the mask is empty")
    faces, corners = faces[grows], samples[grows, :3]
    share = area[grows] * np.minimum(1.3 * highest[grows] + 0.05, 1)
    normals = vertex_normals(vertices, model.topology.faces[model.topology.parts["skin"]])
    found: list[np.ndarray] = []
    while sum(len(f) for f in found) < count:
        triangle = rng.choice(len(faces), int(1.6 * count) + 64, p=share / share.sum())
        weights = rng.exponential(size=(len(triangle), 3, 1))
        weights = weights / weights.sum(1, keepdims=True)
        points = (corners[triangle] * weights).sum(1)
        bound = np.minimum(1.3 * highest[grows][triangle] + 0.05, 1)
        kept = rng.random(len(points)) * bound < mask(points)
        place = [(values[faces[triangle[kept]]] * weights[kept]).sum(1) for values in (vertices, normals)]
        found.append(np.concatenate([*place, points[kept]], 1))
    values = np.concatenate(found)[:count]
    return Roots(values[:, :3], unit(values[:, 3:6]), values[:, 6:])


def grow_brows(model: BodyModel, vertices: Float[np.ndarray, "V 3"], hair: HairSpec, detail: float = 1.0) -> Strands:
    """Short hairs: upright near the nose, then outwards, the upper and lower ones leaning to the middle of the brow."""
    rng = np.random.default_rng([hair.seed, 1])
    radius = np.linspace(1, 0.3, 5) * 7.5e-5
    count, radius = thinned(int(500 + 1300 * hair.brow_thickness * hair.brow_density), radius, detail)
    roots = sample_roots(model, vertices, lambda p: brow_mask(p, hair), count, rng)
    along, middle, half = (v[:, None] for v in brow_line(roots.template[:, 0], hair))
    inward = np.clip((middle - roots.template[:, 2:]) / half, -1, 1)
    outwards, up = np.sign(roots.template[:, :1]) * [1.0, 0, 0], np.array([0, 0, 1.0])
    lean = np.interp(along, [0, 0.15, 0.6, 1], [1.0, 0.75, 0.1, -0.3]) + 0.45 * inward * along
    direction = unit(outwards * (0.12 + 1.0 * along) + up * lean + rng.normal(0, 0.13, (count, 3)))
    # Nearly tangent to the skin, so that the hairs neither stand off nor vanish in it.
    direction -= roots.normals * ((direction * roots.normals).sum(1, keepdims=True) - 0.2)
    length = (0.0048 + 0.0032 * np.sin(np.pi * along**0.8)) * rng.uniform(0.6, 1.1, (count, 1))
    length *= 0.75 + 0.25 * hair.brow_thickness
    bend = unit(outwards * along + up * (0.3 * inward - 0.25 * along)) - 0.35 * roots.normals
    steps = np.linspace(0, 1, 5)[None, :, None]
    start = roots.positions - 0.0005 * roots.normals
    path = unit(direction)[:, None] * steps + 0.28 * bend[:, None] * steps**2
    return Strands(start[:, None] + path * length[:, None], radius)


def grow_lashes(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], hair: HairSpec, detail: float = 1.0
) -> Strands | None:
    """Lashes along the body model's lash strips, or None when it has none."""
    topology = model.topology
    triangles = topology.parts.get("lashes", np.zeros(0, int))
    if len(triangles) == 0:
        return None
    rng = np.random.default_rng([hair.seed, 2])
    spheres = model.eye_spheres(model.template)
    found = []
    for columns, upper in _lash_columns(model, spheres[0].centre, spheres[1].centre):
        count, _ = thinned(110 if upper else 55, np.ones(1), detail)
        at = rng.uniform(0, len(columns) - 1, count)
        curve = np.stack([_interpolate(vertices[columns[:, k]], at) for k in range(5)], 1)
        # Neighbouring lashes lean together in little groups.
        group = 0.35 * np.sin(at * 9.0)[:, None, None] * np.linspace(0, 1, 5)[None, :, None]
        edge = np.sin(np.pi * np.clip((at + 1) / len(columns), 0, 1))[:, None, None]
        length = rng.uniform(0.7, 1.0, (count, 1, 1)) * (1.0 if upper else 0.55) * hair.lash_length
        spread = curve - curve[:, :1]
        sideways = np.array([0.0012, 0, 0]) * group
        found.append(curve[:, :1] + spread * length * (0.7 + 0.3 * edge) + sideways)
    _, radius = thinned(110, np.linspace(1, 0.15, 5) * 7e-5, detail)
    return Strands(np.concatenate(found), radius)


def _lash_columns(model: BodyModel, left: np.ndarray, right: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """The strips as grids (n, 5) of vertices that run away from the lid, and whether each is of an upper lid."""
    topology = model.topology
    triangles = topology.parts["lashes"]
    faces, uv_faces = topology.faces[triangles], topology.uv_faces[triangles]
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    size = len(model.template)
    strip = connected_components(coo_matrix((np.ones(len(edges)), edges.T), (size, size)))[1]
    texture_u = np.zeros(size)
    texture_u[faces] = topology.uvs[uv_faces][..., 0]
    found = []
    for label in np.unique(strip[faces]):
        members = np.unique(faces[strip[faces[:, 0]] == label])
        centre = left if model.template[members, 0].mean() > 0 else right
        distance = np.linalg.norm(model.template - centre, axis=1)
        columns = members[np.argsort(texture_u[members])]
        columns = columns[: len(columns) // 5 * 5].reshape(-1, 5)
        columns = np.take_along_axis(columns, np.argsort(distance[columns], axis=1), 1)
        found.append((columns, bool(model.template[members, 2].mean() > centre[2])))
    return found


def _interpolate(points: Float[np.ndarray, "n 3"], at: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
    low = np.minimum(at.astype(int), len(points) - 2)
    t = (at - low)[:, None]
    return points[low] * (1 - t) + points[low + 1] * t
