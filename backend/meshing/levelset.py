"""Marching cubes on a field that is evaluated coarse to fine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int


def evaluate_grid(
    field: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]],
    half_size: float,
    resolution: int,
    level: float,
    coarse_factor: int = 4,
) -> Float[np.ndarray, "R R R"]:
    """Values of `field` (points in metres -> n) at the corners of a regular grid over the cube, indexed x, y, z.

    Only the neighbourhood of the level set is evaluated at full resolution; the rest is interpolated from a grid
    `coarse_factor` times coarser, which is enough there because marching cubes only asks for the side.
    """
    coarse = resolution // coarse_factor + 1
    values = field(_grid_points(coarse, half_size)).reshape(coarse, coarse, coarse)
    zoomed = _upsample(values, resolution)
    # A cell is near the surface when the coarse values around it lie on both sides of the level.
    low, high = ndimage.minimum_filter(values, 3), ndimage.maximum_filter(values, 3)
    near = _upsample(((low <= level) & (high >= level)).astype(np.float32), resolution) > 0
    index = np.argwhere(near)
    step = 2 * half_size / (resolution - 1)
    points = index * step - half_size
    zoomed[near] = np.concatenate([field(part) for part in np.array_split(points, max(1, len(points) // 200_000))])
    return zoomed


def extract(
    values: Float[np.ndarray, "R R R"], half_size: float, level: float
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices (metres) and counter-clockwise faces of ``values > level``, closed: beyond the border all is empty."""
    padded = np.pad(values, 1, constant_values=min(float(values.min()), level - 1e-3))
    if padded.max() <= level:
        return np.zeros((0, 3)), np.zeros((0, 3), int)
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction="ascent")
    step = 2 * half_size / (values.shape[0] - 1)
    return (vertices - 1) * step - half_size, faces.astype(np.int64)


def _grid_points(resolution: int, half_size: float) -> Float[np.ndarray, "n 3"]:
    axis = np.linspace(-half_size, half_size, resolution)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def _upsample(values: np.ndarray, resolution: int) -> Float[np.ndarray, "R R R"]:
    """Trilinear resize of a grid whose corners stay where they are."""
    for axis in range(3):
        n = values.shape[axis]
        position = np.linspace(0, n - 1, resolution)
        low = np.clip(position.astype(int), 0, n - 2)
        weight = (position - low).reshape([-1 if k == axis else 1 for k in range(3)])
        values = np.take(values, low, axis) * (1 - weight) + np.take(values, low + 1, axis) * weight
    return values


def face_components(faces: Int[np.ndarray, "F 3"], count: int) -> Int[np.ndarray, " F"]:
    """Label of the connected piece each face belongs to."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = sparse.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1][faces[:, 0]]


def compact(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "F 3"]]:
    """Drop vertices that no face uses."""
    used, local = np.unique(faces, return_inverse=True)
    return vertices[used], local.reshape(-1, 3)


def taubin_smooth(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], iterations: int = 10
) -> Float[np.ndarray, "V 3"]:
    """Smooth without shrinking (Taubin 1995: alternating steps of +0.5 and -0.53)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    graph = sparse.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(vertices),) * 2)
    graph.data[:] = 1
    mean = sparse.diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    for k in range(2 * iterations):
        vertices = vertices + (0.5 if k % 2 == 0 else -0.53) * (mean @ vertices - vertices)
    return vertices
