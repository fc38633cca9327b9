"""Strands of hair as polylines: brows and lashes, and the roots that every groom starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.body_model.base import BodyModel
from synthetic_data.appearance.skin import brow_mask
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
    faces = model.topology.faces[model.topology.parts["skin"]]
    corners = model.template[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    samples = np.concatenate([corners, corners.mean(1, keepdims=True)], 1)
    area = area * (mask(samples.reshape(-1, 3)).reshape(-1, 4).max(1) > 0)
    if area.sum() == 0:
        raise ValueError("no hair can grow: the mask is empty")
    normals = vertex_normals(vertices, faces)
    found: list[np.ndarray] = []
    while sum(len(f) for f in found) < count:
        triangle = rng.choice(len(faces), 2 * count + 64, p=area / area.sum())
        weights = rng.dirichlet([1.0, 1.0, 1.0], len(triangle))[..., None]
        points = (corners[triangle] * weights).sum(1)
        kept = rng.random(len(points)) < mask(points)
        place = [(values[faces[triangle[kept]]] * weights[kept]).sum(1) for values in (vertices, normals)]
        found.append(np.concatenate([*place, points[kept]], 1))
    values = np.concatenate(found)[:count]
    return Roots(values[:, :3], unit(values[:, 3:6]), values[:, 6:])


def grow_brows(model: BodyModel, vertices: Float[np.ndarray, "V 3"], hair: HairSpec) -> Strands:
    """Short hairs that rise near the nose and lie outwards towards the temple."""
    rng = np.random.default_rng([hair.seed, 1])
    count = int(1500 * hair.brow_thickness)
    roots = sample_roots(model, vertices, lambda p: brow_mask(p, hair), count, rng)
    along = np.clip((np.abs(roots.template[:, 0]) - 0.0115) / 0.041, 0, 1)[:, None]
    outwards = np.sign(roots.template[:, :1]) * [1.0, 0, 0]
    direction = outwards * (0.25 + 0.9 * along) + np.array([0, 0, 1.0]) * (0.8 - 1.1 * along)
    direction = unit(direction + rng.normal(0, 0.13, (count, 3)))
    # Nearly tangent to the skin, so that the hairs neither stand off nor vanish in it.
    direction -= roots.normals * ((direction * roots.normals).sum(1, keepdims=True) - 0.16)
    length = (0.0055 + 0.0025 * np.sin(np.pi * along)) * rng.uniform(0.7, 1.1, (count, 1))
    steps = np.linspace(0, 1, 4)[None, :, None]
    start = roots.positions - 0.0005 * roots.normals
    points = start[:, None] + unit(direction)[:, None] * steps * length[:, None]
    return Strands(points, np.linspace(1, 0.35, 4) * 8.5e-5)


def grow_lashes(model: BodyModel, vertices: Float[np.ndarray, "V 3"], seed: int) -> Strands | None:
    """Lashes along the body model's lash strips, or None when it has none."""
    topology = model.topology
    triangles = topology.parts.get("lashes", np.zeros(0, int))
    if len(triangles) == 0:
        return None
    rng = np.random.default_rng([seed, 2])
    faces, uv_faces = topology.faces[triangles], topology.uv_faces[triangles]
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    size = len(vertices)
    strip = connected_components(coo_matrix((np.ones(len(edges)), edges.T), (size, size)))[1]
    texture_u = np.zeros(size)
    texture_u[faces] = topology.uvs[uv_faces][..., 0]
    spheres = model.eye_spheres(model.template)
    found = []
    for label in np.unique(strip[faces]):
        members = np.unique(faces[strip[faces[:, 0]] == label])
        sphere = spheres[0] if model.template[members, 0].mean() > 0 else spheres[1]
        distance = np.linalg.norm(model.template - sphere.centre, axis=1)
        # A strip is a grid of columns of five vertices that run away from the lid.
        columns = members[np.argsort(texture_u[members])]
        columns = columns[: len(columns) // 5 * 5].reshape(-1, 5)
        columns = np.take_along_axis(columns, np.argsort(distance[columns], axis=1), 1)
        upper = model.template[members, 2].mean() > sphere.centre[2]
        count = 80 if upper else 40
        at = rng.uniform(0, len(columns) - 1, count)
        curve = np.stack([_interpolate(vertices[columns[:, k]], at) for k in range(5)], 1)
        length = rng.uniform(0.6, 0.95, (count, 1, 1)) * (1.0 if upper else 0.6)
        found.append(curve[:, :1] + (curve - curve[:, :1]) * length)
    return Strands(np.concatenate(found), np.linspace(1, 0.2, 5) * 8e-5)


def _interpolate(points: Float[np.ndarray, "n 3"], at: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
    low = np.minimum(at.astype(int), len(points) - 2)
    t = (at - low)[:, None]
    return points[low] * (1 - t) + points[low + 1] * t
