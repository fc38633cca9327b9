"""Carry what is known on one surface, shape keys or skin weights, over to another surface.

The nearest meaningful point decides (see `correspondence`); where there is none, far away or facing elsewhere, the
field is continued smoothly from the neighbours over the target surface, as in Abdrashitov et al., "Robust Skin
Weights Transfer via Weight Inpainting" (SIGGRAPH Asia 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from backend.body_model.correspondence import Correspondence, correspond, edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float, Int

REACH = 0.015
"""Beyond this distance, in metres, a corresponding point is not believed."""


def transfer(
    source_vertices: Float[np.ndarray, "V 3"],
    source_faces: Int[np.ndarray, "F 3"],
    source_fields: Mapping[str, Float[np.ndarray, "V k"]],
    target_vertices: Float[np.ndarray, "T 3"],
    target_faces: Int[np.ndarray, "G 3"],
    *,
    source_side: Float[np.ndarray, " V"] | None = None,
    target_side: Float[np.ndarray, " T"] | None = None,
    reach: float = REACH,
) -> dict[str, Float[np.ndarray, "T k"]]:
    """Fields over the target vertices, read from the source surface; both in the same frame and on each other.

    Every value is a weighted mean of source values with weights that sum to one, so skin weights stay skin weights.
    Upper and lower lip, or lids, do not mix even where they touch: normals, walking distance on the source and, when
    given, the sides (see `correspondence.correspond`) keep them apart. Only vertices that faces use are sources.
    """
    found = correspond(
        source_vertices, source_faces, target_vertices, target_faces, source_side=source_side, target_side=target_side
    )
    return spread(found, source_faces, source_fields, target_vertices, target_faces, reach)


def spread(
    found: Correspondence,
    source_faces: Int[np.ndarray, "F 3"],
    source_fields: Mapping[str, Float[np.ndarray, "V k"]],
    target_vertices: Float[np.ndarray, "T 3"],
    target_faces: Int[np.ndarray, "G 3"],
    reach: float = REACH,
) -> dict[str, Float[np.ndarray, "T k"]]:
    """Fields read at known correspondences and continued smoothly to the vertices without a believable one."""
    believed = (found.distance < reach) & (found.agreement > 0.2)
    names = list(source_fields)
    widths = [source_fields[name].shape[1] for name in names]
    stacked = found.interpolate(source_faces, np.concatenate([source_fields[name] for name in names], 1))
    filled = continue_field(stacked, believed, target_vertices, target_faces)
    parts = np.split(filled, np.cumsum(widths)[:-1], axis=1)
    return dict(zip(names, parts, strict=True))


def continue_field(
    field: Float[np.ndarray, "T k"],
    known: Bool[np.ndarray, " T"],
    vertices: Float[np.ndarray, "T 3"],
    faces: Int[np.ndarray, "G 3"],
) -> Float[np.ndarray, "T k"]:
    """Replace the values of unknown vertices by the harmonic continuation of their connected known ones.

    Pieces of the surface without any known vertex keep their values.
    """
    laplacian = distance_laplacian(vertices, faces)
    _, piece = connected_components(laplacian, directed=False)
    anchored = np.zeros(piece.max() + 1, bool)
    anchored[piece[known]] = True
    unknown = ~known & anchored[piece]
    if not unknown.any():
        return field
    rows = laplacian[unknown]
    system = sparse.csc_matrix(rows[:, unknown])
    result = field.copy()
    result[unknown] = splu(system).solve(np.asarray(-rows[:, ~unknown] @ field[~unknown]))
    return result


def distance_laplacian(vertices: Float[np.ndarray, "T 3"], faces: Int[np.ndarray, "G 3"]) -> sparse.csr_matrix:
    """Graph Laplacian with weights of one over the edge length: positive, so continued values stay within bounds."""
    links = edges(faces)
    length = np.linalg.norm(vertices[links[:, 0]] - vertices[links[:, 1]], axis=1)
    weight = 1 / np.maximum(length, 1e-6)
    count = len(vertices)
    adjacency = sparse.csr_matrix((weight, (links[:, 0], links[:, 1])), (count, count))
    adjacency = adjacency + adjacency.T
    return sparse.csr_matrix(sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)
