"""Smooth refinement of the body model's triangles: the rendered surface passes through the model's own vertices."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Split:
    """One midpoint subdivision: `edges` of the old mesh get one new vertex each, after the old ones.

    Triangle f of the old mesh becomes triangles 4f to 4f+3 of `faces`.
    """

    edges: Int[np.ndarray, "E 2"]
    faces: Int[np.ndarray, "4F 3"]

    @classmethod
    def of(cls, faces: Int[np.ndarray, "F 3"], count: int) -> Split:
        """The split of a mesh with `count` vertices."""
        sides = np.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], 1)
        edges, index = np.unique(np.sort(sides.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
        ab, bc, ca = (index.reshape(-1, 3) + count).T
        a, b, c = faces.T
        children = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(2, 0, 1)
        return cls(edges, children.reshape(-1, 3))

    def linear(self, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "W *c"]:
        """Interpolates anything that varies linearly, such as texture coordinates."""
        return np.concatenate([values, values[self.edges].mean(1)])

    def curved(self, vertices: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "W 3"]:
        """New vertices at the middle of the cubic edges of point-normal triangles (Vlachos et al. 2001)."""
        a, b = vertices[self.edges[:, 0]], vertices[self.edges[:, 1]]
        na, nb = normals[self.edges[:, 0]], normals[self.edges[:, 1]]
        rise_a = ((b - a) * na).sum(1, keepdims=True) * na
        rise_b = ((a - b) * nb).sum(1, keepdims=True) * nb
        return np.concatenate([vertices, (a + b) / 2 - (rise_a + rise_b) / 8])


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit normals; zero where no face touches a vertex."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    return unit(normals)


def unit(vectors: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Vectors scaled to length one; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class Patch:
    """A piece of surface ready to render: one texture coordinate per corner, any number of values per vertex."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    corner_uvs: Float[np.ndarray, "F 3 2"]
    attributes: dict[str, Float[np.ndarray, "V c"]]

    def refined(self, levels: int) -> Patch:
        """Split every triangle in four, `levels` times."""
        vertices, faces, attributes, uvs = self.vertices, self.faces, dict(self.attributes), self.corner_uvs
        for _ in range(levels):
            split = Split.of(faces, len(vertices))
            vertices = split.curved(vertices, vertex_normals(vertices, faces))
            attributes = {name: split.linear(values) for name, values in attributes.items()}
            a, b, c = uvs[:, 0], uvs[:, 1], uvs[:, 2]
            ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
            children = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]])
            uvs = children.transpose(2, 0, 1, 3).reshape(-1, 3, 2)
            faces = split.faces
        return Patch(vertices, faces, uvs, attributes)


def extract(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    corner_uvs: Float[np.ndarray, "F 3 2"],
    attributes: dict[str, Float[np.ndarray, "V c"]] | None = None,
) -> Patch:
    """The patch made of `faces`, without the vertices that they do not use."""
    used, local = np.unique(faces, return_inverse=True)
    kept = {name: values[used] for name, values in (attributes or {}).items()}
    return Patch(vertices[used], local.reshape(-1, 3), corner_uvs, kept)
