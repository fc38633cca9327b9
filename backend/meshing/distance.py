"""Signed distance to a body surface, by its nearest samples."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.meshing.mesh import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class SurfaceSamples:
    """Points spread evenly over a triangle surface, each knowing its triangle and its place in it."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "n 3"]
    barycentric: Float[np.ndarray, "n 3"]
    tree: KDTree

    @classmethod
    def spread(
        cls, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], spacing: float
    ) -> SurfaceSamples:
        """Samples at most about `spacing` metres apart: each triangle is cut into a regular grid of small ones."""
        corners = vertices[faces]
        edges = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
        cuts = np.clip(np.ceil(edges / spacing).astype(int), 1, 12)
        face_index, weights = [], []
        for n in np.unique(cuts):
            chosen = np.flatnonzero(cuts == n)
            grid = _triangle_grid(int(n))
            face_index.append(np.repeat(chosen, len(grid)))
            weights.append(np.tile(grid, (len(chosen), 1)))
        index, barycentric = np.concatenate(face_index), np.concatenate(weights)
        used = faces[index]
        points = (vertices[used] * barycentric[..., None]).sum(1)
        normals = (vertex_normals(vertices, faces)[used] * barycentric[..., None]).sum(1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return cls(points, normals, used, barycentric, KDTree(points))

    def at_samples(self, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "n *c"]:
        """Values of the vertices interpolated to the samples."""
        return np.einsum("nk...,nk->n...", values[self.faces], self.barycentric)

    def query(
        self, points: Float[np.ndarray, "m 3"], limit: float = np.inf
    ) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Signed distance (metres, negative inside) and nearest sample (-1 beyond `limit`, with distance +inf)."""
        distance, nearest = self.tree.query(points, distance_upper_bound=limit, workers=-1)
        found = np.isfinite(distance)
        index = np.where(found, nearest, -1)
        side = np.ones(len(points))
        offset = points[found] - self.points[index[found]]
        side[found] = np.where((offset * self.normals[index[found]]).sum(1) < 0, -1.0, 1.0)
        return distance * side, index


def _triangle_grid(n: int) -> Float[np.ndarray, "m 3"]:
    """Barycentric centres of the n*n small triangles of a triangle cut n times along each edge."""
    rows = []
    for i in range(n):
        for j in range(n - i):
            rows.append(((i + 1 / 3) / n, (j + 1 / 3) / n))
            if j < n - i - 1:
                rows.append(((i + 2 / 3) / n, (j + 2 / 3) / n))
    a, b = np.array(rows).T
    return np.stack([a, b, 1 - a - b], 1)
