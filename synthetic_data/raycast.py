"""Rays through pixels onto triangles, in plain numpy."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.radiance.cameras import Camera

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Hits:
    """First triangle along each ray (-1: none), where in it, and the depth."""

    face: Int[np.ndarray, " n"]
    barycentric: Float[np.ndarray, "n 3"]
    distance: Float[np.ndarray, " n"]


def first_hits(
    camera: Camera,
    pixels: Float[np.ndarray, "n 2"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
) -> Hits:
    """First triangles behind `pixels` (Möller and Trumbore 1997), both sides; the distance is planar depth, metres.

    The mesh must lie in front of the camera.
    """
    directions = camera.unproject(pixels, np.ones(len(pixels))) - camera.centre
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    edge_b, edge_c, to_origin = b - a, c - a, camera.centre - a
    across = np.cross(to_origin, edge_b)
    depth = (edge_c * across).sum(1)
    projected = camera.project(vertices)[faces]
    low, high = projected.min(1) - 1e-6, projected.max(1) + 1e-6
    face = np.full(len(pixels), -1)
    weights, distance = np.full((len(pixels), 3), np.nan), np.full(len(pixels), np.inf)
    for ray, (pixel, direction) in enumerate(zip(pixels, directions, strict=True)):
        near = np.flatnonzero(((low <= pixel) & (pixel <= high)).all(1))
        p = np.cross(direction, edge_c[near])
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = (edge_b[near] * p).sum(1)
            u = (to_origin[near] * p).sum(1) / determinant
            v = across[near] @ direction / determinant
            t = depth[near] / determinant
        t = np.where((u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-9), t, np.inf)
        if not np.isfinite(t).any():
            continue
        k = int(t.argmin())
        face[ray], weights[ray], distance[ray] = near[k], [1 - u[k] - v[k], u[k], v[k]], t[k]
    return Hits(face, weights, distance)


def closest_on_triangles(
    point: Float[np.ndarray, " d"], corners: Float[np.ndarray, "F 3 d"]
) -> tuple[Float[np.ndarray, "F 3"], Float[np.ndarray, " F"]]:
    """Barycentric coordinates of each triangle's closest point to `point`, and its distance; d is 2 or 3."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    candidates = [_inside(point, a, b - a, c - a)]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = corners[:, i], corners[:, j] - corners[:, i]
        t = ((point - start) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-30)
        weights = np.zeros((len(corners), 3))
        weights[:, j] = np.clip(t, 0, 1)
        weights[:, i] = 1 - weights[:, j]
        candidates.append(weights)
    stacked = np.stack(candidates)
    places = np.einsum("kfc,fcd->kfd", np.nan_to_num(stacked, nan=0.0), corners)
    distances = np.linalg.norm(places - point, axis=-1)
    distances[np.isnan(stacked).any(-1)] = np.inf
    best = distances.argmin(0)
    rows = np.arange(len(corners))
    return stacked[best, rows], distances[best, rows]


def _inside(point: np.ndarray, a: np.ndarray, ab: np.ndarray, ac: np.ndarray) -> Float[np.ndarray, "F 3"]:
    """Weights of the orthogonal projection onto each triangle's plane, NaN when it falls outside."""
    ap = point - a
    g11, g12, g22 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    r1, r2 = (ab * ap).sum(1), (ac * ap).sum(1)
    determinant = np.maximum(g11 * g22 - g12**2, 1e-30)
    u, v = (g22 * r1 - g12 * r2) / determinant, (g11 * r2 - g12 * r1) / determinant
    weights = np.stack([1 - u - v, u, v], 1)
    weights[weights.min(1) < 0] = np.nan
    return weights


def facing(
    origin: Float[np.ndarray, "3"], vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, " F"]:
    """Cosine between each triangle's normal and the direction to `origin`; positive when it faces it."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    view = origin - corners.mean(1)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(view, axis=1)
    return (normal * view).sum(1) / np.maximum(length, 1e-30)


def geometric_median(points: Float[np.ndarray, "n d"], iterations: int = 60) -> Float[np.ndarray, " d"]:
    """The point with the smallest sum of distances (Weiszfeld), which half of the points cannot drag away."""
    centre = np.median(points, 0)
    for _ in range(iterations):
        weight = 1 / np.maximum(np.linalg.norm(points - centre, axis=1), 1e-6)
        centre = (points * weight[:, None]).sum(0) / weight.sum()
    return centre


def on_faces(faces: Int[np.ndarray, "F 3"], vertex_mask: Bool[np.ndarray, " V"]) -> Bool[np.ndarray, " F"]:
    """Triangles whose corners all carry the mask."""
    return vertex_mask[faces].all(1)
