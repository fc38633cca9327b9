"""Pieces of a scene as plain data, and the few ways they are made: tubes, strips and sheets with a thickness."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.surface import Patch, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from synthetic_data.identity import Colour


@dataclasses.dataclass(frozen=True)
class Piece:
    """One object: where it is, of what it is made, and its class in the segmentation.

    `finish` names a material of the scene; `colour` is linear RGB and multiplies the patch's own "colour" attribute and
    the repeating `texture` (linear RGBA, alpha is the height of the relief), where there are any.
    """

    name: str
    patch: Patch
    segment: str
    finish: str
    colour: Colour = (1.0, 1.0, 1.0)
    texture: Float[np.ndarray, "h w 4"] | None = None


def plain_patch(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Patch:
    """A patch without texture coordinates."""
    return Patch(vertices, faces, np.zeros((len(faces), 3, 2)), {})


def join(patches: list[Patch]) -> Patch:
    """Several patches as one; only attributes that all of them have survive."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in patches])
    names = set.intersection(*(set(p.attributes) for p in patches))
    return Patch(
        np.concatenate([p.vertices for p in patches]),
        np.concatenate([p.faces + offset for p, offset in zip(patches, offsets, strict=False)]),
        np.concatenate([p.corner_uvs for p in patches]),
        {name: np.concatenate([p.attributes[name] for p in patches]) for name in sorted(names)},
    )


def grid_faces(rows: int, columns: int, *, close_rows: bool = False, close_columns: bool = False) -> np.ndarray:
    """Triangles of a grid of vertices stored row by row; a closed direction joins its end to its start."""
    row, column = np.meshgrid(
        np.arange(rows - (not close_rows)), np.arange(columns - (not close_columns)), indexing="ij"
    )
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = ((row + 1) % rows) * columns + (column + 1) % columns, ((row + 1) % rows) * columns + column
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def grid_patch(points: Float[np.ndarray, "r c 3"], *, close_rows: bool = False, close_columns: bool = False) -> Patch:
    """A sheet through a grid of points; texture coordinates are lengths along the sheet in metres."""
    rows, columns, _ = points.shape
    faces = grid_faces(rows, columns, close_rows=close_rows, close_columns=close_columns)
    along = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1).cumsum()
    across = np.linalg.norm(np.diff(points, axis=1), axis=-1).mean(0).cumsum()
    v, u = np.meshgrid(np.r_[0, along], np.r_[0, across], indexing="ij")
    uvs = np.stack([v, u], -1).reshape(-1, 2)
    return Patch(points.reshape(-1, 3), faces, uvs[faces], {})


def tube(
    path: Float[np.ndarray, "n 3"], radius: float | Float[np.ndarray, " n"], *, sides: int = 8, closed: bool = False
) -> Patch:
    """A round tube along a path; open ends are closed by caps."""
    tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0)) if closed else unit(np.gradient(path, axis=0))
    # The side vector is carried along the path, so that the tube does not twist.
    side = np.empty_like(path)
    helper = np.eye(3)[int(np.argmin(np.abs(tangent[0])))]
    for i, t in enumerate(tangent):
        helper = unit(helper - (helper @ t) * t)
        side[i] = helper
    other = np.cross(tangent, side)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]
    points = path[:, None] + ring * np.broadcast_to(radius, len(path))[:, None, None]
    if closed:
        return grid_patch(points, close_rows=True, close_columns=True)
    ends = np.broadcast_to(path[[0, -1], None], (2, sides, 3))
    return grid_patch(np.concatenate([ends[:1], points, ends[1:]]), close_columns=True)


def thicken(patch: Patch, thickness: float | Float[np.ndarray, " V"]) -> Patch:
    """A sheet with an inside: the patch, a copy `thickness` metres beneath it, and a rim around every open edge."""
    count = len(patch.vertices)
    normals = vertex_normals(patch.vertices, patch.faces)
    inner = patch.vertices - normals * np.broadcast_to(thickness, count)[:, None]
    rim = boundary_edges(patch.faces)
    a, b = rim.T
    wall = np.concatenate([np.stack([b, a, a + count], -1), np.stack([b, a + count, b + count], -1)])
    faces = np.concatenate([patch.faces, patch.faces[:, ::-1] + count, wall])
    at_vertex = np.zeros((count, 2))
    at_vertex[patch.faces] = patch.corner_uvs
    wall_uvs = np.concatenate([at_vertex, at_vertex])[wall]
    uvs = np.concatenate([patch.corner_uvs, patch.corner_uvs[:, ::-1], wall_uvs])
    attributes = {name: np.concatenate([values, values]) for name, values in patch.attributes.items()}
    return Patch(np.concatenate([patch.vertices, inner]), faces, uvs, attributes)


def boundary_edges(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """Directed edges that belong to one triangle only."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    key, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    return edges[~np.isin(key, back)]


def boundary_loops(faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " n"]]:
    """Vertices along every open border, in order, longest border first."""
    following = {int(a): int(b) for a, b in boundary_edges(faces)}
    loops = []
    while following:
        start, vertex = next(iter(following.items()))
        loop = [start]
        del following[start]
        while vertex != start and vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)
