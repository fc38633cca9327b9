"""For every vertex of one surface, the point of another surface that means the same place.

The nearest point is not enough on a face: closed lips touch, lids lie on each other, and the nearest point of an upper
lip may be on the lower one. So candidates are weighed by distance *and* by the agreement of normals, and where two
far-apart places of the source are about equally good, the choice follows the neighbours on the target, measured by
walking distance on the source.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import KDTree

from backend.meshing.mesh import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

NORMAL_LENGTH = 0.006
"""What opposite normals weigh: as much as this distance, twice, in metres."""
SIDE_LENGTH = 0.02
"""What being on different sides weighs, in metres."""
_NEARBY = 0.02
"""Beyond this distance, in metres, no choice is good enough to be worth settling."""
_CENTROIDS, _CORNERS = 6, 1
_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """Points on a source surface, one per target vertex: triangle, barycentric weights, distance in metres.

    `agreement` is the cosine between the normals, from -1 to 1.
    """

    face: Int[np.ndarray, " T"]
    barycentric: Float[np.ndarray, "T 3"]
    distance: Float[np.ndarray, " T"]
    agreement: Float[np.ndarray, " T"]

    def interpolate(self, faces: Int[np.ndarray, "F 3"], field: Float[np.ndarray, "V *k"]) -> Float[np.ndarray, "T *k"]:
        """A field over the source vertices, read at the corresponding points."""
        return np.einsum("tc,tc...->t...", self.barycentric, field[faces[self.face]])


def correspond(
    source_vertices: Float[np.ndarray, "V 3"],
    source_faces: Int[np.ndarray, "F 3"],
    target_vertices: Float[np.ndarray, "T 3"],
    target_faces: Int[np.ndarray, "G 3"],
    *,
    source_side: Float[np.ndarray, " V"] | None = None,
    target_side: Float[np.ndarray, " T"] | None = None,
) -> Correspondence:
    """Corresponding source points of all target vertices; both surfaces in the same frame, roughly on each other.

    `source_side` and `target_side`, where known, tell parts apart that touch: 0 for the skull, 1 for the jaw, say.
    """
    normals = vertex_normals(target_vertices, target_faces)
    candidates = _Candidates.gather(source_vertices, source_faces, target_vertices, normals)
    cost = candidates.cost(source_faces, source_side, target_side)
    choice = _settle(source_vertices, source_faces, target_vertices, target_faces, candidates, cost, cost.argmin(1))
    return candidates.choose(choice)


def project(
    points: Float[np.ndarray, "T 3"],
    normals: Float[np.ndarray, "T 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    source_side: Float[np.ndarray, " V"] | None = None,
    target_side: Float[np.ndarray, " T"] | None = None,
) -> Correspondence:
    """As `correspond`, for loose points with normals: each is judged by itself."""
    candidates = _Candidates.gather(vertices, faces, points, normals)
    return candidates.choose(candidates.cost(faces, source_side, target_side).argmin(1))


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """K source points for each of T target vertices."""

    face: Int[np.ndarray, "T K"]
    barycentric: Float[np.ndarray, "T K 3"]
    point: Float[np.ndarray, "T K 3"]
    distance: Float[np.ndarray, "T K"]
    agreement: Float[np.ndarray, "T K"]

    def cost(
        self,
        faces: Int[np.ndarray, "F 3"],
        source_side: Float[np.ndarray, " V"] | None,
        target_side: Float[np.ndarray, " T"] | None,
    ) -> Float[np.ndarray, "T K"]:
        """Squared metres: distance, disagreement of normals, difference of sides."""
        cost = self.distance**2 + NORMAL_LENGTH**2 * (1 - self.agreement) ** 2
        if source_side is not None and target_side is not None:
            side = np.einsum("tkc,tkc->tk", self.barycentric, source_side[faces[self.face]])
            cost = cost + (SIDE_LENGTH * (side - target_side[:, None])) ** 2
        return cost

    def choose(self, choice: Int[np.ndarray, " T"]) -> Correspondence:
        rows = np.arange(len(choice))
        arrays = (self.face, self.barycentric, self.distance, self.agreement)
        return Correspondence(*(array[rows, choice] for array in arrays))

    @classmethod
    def gather(
        cls,
        vertices: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        points: Float[np.ndarray, "T 3"],
        normals: Float[np.ndarray, "T 3"],
        keep: int = 10,
    ) -> _Candidates:
        source_normals = vertex_normals(vertices, faces)
        corners = vertices[faces]
        near = KDTree(corners.mean(1)).query(points, min(_CENTROIDS, len(faces)))[1].reshape(len(points), -1)
        around = _incident_faces(faces, len(vertices))
        used = np.unique(faces)
        nearest = KDTree(vertices[used]).query(points, min(_CORNERS, len(used)))[1].reshape(len(points), -1)
        rings = around[used[nearest]].reshape(len(points), -1)
        # The nearest point of each kind of direction must be among the candidates, also where a thin sheet hides it:
        # triangles that face the same way are looked up in a space of position and normal.
        face_normals = source_normals[faces].mean(1)
        oriented = KDTree(np.c_[corners.mean(1), NORMAL_LENGTH * face_normals])
        alike = oriented.query(np.c_[points, NORMAL_LENGTH * normals], min(4, len(faces)))[1].reshape(len(points), -1)
        face = np.concatenate([near, rings, alike], 1)
        parts = []
        for start in range(0, len(points), _CHUNK):
            part = slice(start, start + _CHUNK)
            barycentric = closest_barycentric(points[part, None], corners[face[part]])
            point = np.einsum("tkc,tkcx->tkx", barycentric, corners[face[part]])
            normal = np.einsum("tkc,tkcx->tkx", barycentric, source_normals[faces[face[part]]])
            normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
            distance = np.linalg.norm(point - points[part, None], axis=-1)
            agreement = np.einsum("tkx,tx->tk", normal, normals[part])
            best = np.argsort(distance**2 + NORMAL_LENGTH**2 * (1 - agreement) ** 2, axis=1, kind="stable")[:, :keep]
            rows = np.arange(len(best))[:, None]
            arrays = (face[part], barycentric, point, distance, agreement)
            parts.append(tuple(array[rows, best] for array in arrays))
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def closest_barycentric(
    points: Float[np.ndarray, "*n 3"], triangles: Float[np.ndarray, "*n 3 3"]
) -> Float[np.ndarray, "*n 3"]:
    """Barycentric weights of the point of each triangle that is nearest to each point (broadcast against each other).

    The nearest point lies inside, or else on one of the three edges: all four are tried and the nearest wins.
    """
    a, b, c = (triangles[..., k, :] for k in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1 - v - w, v, w], -1)
    best = inside
    best_distance = np.where((inside >= 0).all(-1), 0.0, np.inf)
    for start, end, edge in ((0, 1, ab), (0, 2, ac), (1, 2, c - b)):
        offset = points - triangles[..., start, :]
        t = np.clip((offset * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-30), 0, 1)
        distance = ((offset - t[..., None] * edge) ** 2).sum(-1)
        on_edge = np.zeros_like(inside)
        on_edge[..., start], on_edge[..., end] = 1 - t, t
        nearer = distance < best_distance
        best = np.where(nearer[..., None], on_edge, best)
        best_distance = np.where(nearer, distance, best_distance)
    return best


def _incident_faces(faces: Int[np.ndarray, "F 3"], count: int) -> Int[np.ndarray, "V n"]:
    """Faces around each vertex, the last one repeated to fill the rows; at most eight."""
    order = np.argsort(faces.ravel(), kind="stable")
    vertex, face = faces.ravel()[order], order // 3
    first = np.searchsorted(vertex, np.arange(count))
    size = np.bincount(vertex, minlength=count)
    slots = np.minimum(np.arange(8), np.maximum(size - 1, 0)[:, None]) + first[:, None]
    return face[np.minimum(slots, len(face) - 1)]


def edges(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """Undirected edges of a triangle mesh, each once."""
    return np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)


def compact(faces: Int[np.ndarray, "F 3"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "F 3"]]:
    """The vertices that faces use, and the faces in terms of these."""
    used, local = np.unique(faces, return_inverse=True)
    return used, local.reshape(-1, 3)


def _settle(
    source_vertices: Float[np.ndarray, "V 3"],
    source_faces: Int[np.ndarray, "F 3"],
    points: Float[np.ndarray, "T 3"],
    target_faces: Int[np.ndarray, "G 3"],
    candidates: _Candidates,
    cost: Float[np.ndarray, "T K"],
    choice: Int[np.ndarray, " T"],
    sweeps: int = 6,
) -> Int[np.ndarray, " T"]:
    """Choose among candidates that are about equally good but far apart on the source, so that neighbours agree."""
    rows = np.arange(len(points))
    corner = np.take_along_axis(source_faces[candidates.face], candidates.barycentric.argmax(-1)[..., None], -1)[..., 0]
    rival = cost < cost[rows, choice][:, None] + 0.006**2
    links = edges(target_faces)
    doubtful = _doubtful(points, candidates, choice, rival, links) & (candidates.distance[rows, choice] < _NEARBY)
    if not doubtful.any():
        return choice
    neighbours = _neighbour_lists(links, len(points), doubtful)
    involved = np.zeros(len(points), bool)
    involved[doubtful] = True
    involved[np.concatenate([neighbours[t] for t in np.flatnonzero(doubtful)])] = True
    walking = WalkingDistance(source_vertices, source_faces, np.unique(corner[involved]))
    settled = ~doubtful
    choice = choice.copy()
    waiting = np.flatnonzero(doubtful)
    for sweep in range(sweeps):
        # Outwards from the settled vertices at first; later sweeps revise.
        order = waiting if sweep else _outward_order(waiting, neighbours, settled)
        changed = False
        for t in order:
            around = neighbours[t]
            around = around[settled[around]] if sweep == 0 else around
            if len(around) == 0:
                continue
            walk = walking(corner[t], corner[around, choice[around]])
            reach = 1.5 * np.linalg.norm(points[around] - points[t], axis=1) + 0.002
            strain = (np.maximum(walk - reach, 0) ** 2).mean(1)
            best = int((cost[t] + strain).argmin())
            changed |= best != choice[t]
            choice[t], settled[t] = best, True
        if not changed:
            break
    return choice


def _doubtful(
    points: Float[np.ndarray, "T 3"],
    candidates: _Candidates,
    choice: Int[np.ndarray, " T"],
    rival: Bool[np.ndarray, "T K"],
    links: Int[np.ndarray, "E 2"],
) -> Bool[np.ndarray, " T"]:
    """Vertices whose choice faces elsewhere, has a rival on another sheet, or is torn from a neighbour's choice."""
    rows = np.arange(len(points))
    agreement, chosen = candidates.agreement[rows, choice], candidates.point[rows, choice]
    # Rivals with other normals than the choice are on another sheet; the rest are its own neighbourhood.
    other_sheet = (rival & (np.abs(candidates.agreement - agreement[:, None]) > 0.5)).any(1)
    a, b = links.T
    step = np.linalg.norm(points[a] - points[b], axis=1)
    stretched = np.linalg.norm(chosen[a] - chosen[b], axis=1) > 3 * step + 0.001
    torn = np.zeros(len(points), bool)
    torn[links[stretched].ravel()] = True
    return (agreement < 0.5) | (other_sheet & (agreement < 0.9)) | torn


class WalkingDistance:
    """Distances along the edges of a surface between marked vertices, up to a limit."""

    limit = 0.04

    def __init__(
        self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], marked: Int[np.ndarray, " m"]
    ) -> None:
        links = edges(faces)
        length = np.linalg.norm(vertices[links[:, 0]] - vertices[links[:, 1]], axis=1)
        graph = sparse.csr_matrix((length, (links[:, 0], links[:, 1])), (len(vertices), len(vertices)))
        self._place = np.full(len(vertices), -1)
        self._place[marked] = np.arange(len(marked))
        parts = [
            dijkstra(graph, directed=False, indices=marked[start : start + 256], limit=self.limit)[:, marked]
            for start in range(0, len(marked), 256)
        ]
        self._table = np.minimum(np.concatenate(parts), self.limit).astype(np.float32)

    def __call__(self, a: Int[np.ndarray, " n"], b: Int[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        return self._table[self._place[a][:, None], self._place[b][None]]

    def pairs(self, a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Distance from each of `a` to its partner in `b`."""
        return self._table[self._place[a], self._place[b]]


def _neighbour_lists(
    links: Int[np.ndarray, "E 2"], count: int, wanted: Bool[np.ndarray, " T"]
) -> dict[int, Int[np.ndarray, " n"]]:
    both = np.concatenate([links, links[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    start = np.searchsorted(both[:, 0], np.arange(count + 1))
    return {int(t): both[start[t] : start[t + 1], 1] for t in np.flatnonzero(wanted)}


def _outward_order(
    waiting: Int[np.ndarray, " n"], neighbours: dict[int, Int[np.ndarray, " n"]], settled: Bool[np.ndarray, " T"]
) -> list[int]:
    """Breadth-first from the settled vertices."""
    done = settled.copy()
    order: list[int] = []
    remaining = [int(t) for t in waiting]
    while remaining:
        front = [t for t in remaining if done[neighbours[t]].any()]
        if not front:
            return order + remaining
        done[front] = True
        order += front
        reached = set(front)
        remaining = [t for t in remaining if t not in reached]
    return order
