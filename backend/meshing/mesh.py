"""Triangle meshes with per-corner texture coordinates, the currency between meshing, rigging and export."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclasses.dataclass
class Mesh:
    """Triangles in the head frame, in metres (+Z up, the face looks along -Y, +X is the character's left).

    `uvs` are separate from `vertices` so that a seam splits texture coordinates and never the surface: corner ``k`` of
    face ``f`` sits at ``vertices[faces[f, k]]`` and reads the texture at ``uvs[uv_faces[f, k]]`` (u to the right,
    v up, both in [0, 1]; row 0 of a texture array is the *top*, v = 1).
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    uvs: Float[np.ndarray, "T 2"]
    uv_faces: Int[np.ndarray, "F 3"]

    def vertex_normals(self) -> Float[np.ndarray, "V 3"]:
        """Area-weighted unit normals, pointing outwards for counter-clockwise faces."""
        return vertex_normals(self.vertices, self.faces)


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit vertex normals of a counter-clockwise triangle mesh."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    # Summed per axis by bincount, which is many times faster than np.add.at; shape keys need this dozens of times.
    corners = faces.ravel()
    sums = [np.bincount(corners, np.repeat(face_normals[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(sums, 1).astype(vertices.dtype)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
