"""Lay one head's surface onto another's: a smooth displacement found by closest points and a few landmarks.

Both heads are in the head frame, so eyes lie on eyes from the start. The landmarks are found on both in the same way,
from what every model with eyes and a jaw has: the rims of the eye openings as seen from the front, the line between
the lips, the tip of the nose.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from backend.body_model.correspondence import WalkingDistance, compact, edges, project
from backend.meshing.mesh import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_RASTER = 0.0003
"""Pixel of the pictures in which eye openings are measured, metres."""
_RIM_STEPS = np.linspace(-0.9, 0.9, 7)
_LIP_STEPS = np.linspace(-1, 1, 9)
_NEAR_LIPS = 0.03
_LIP_GAP = 0.006
_ANCHOR_WEIGHT = 20.0
"""Weight of a landmark against one vertex's closest point."""


@dataclasses.dataclass(frozen=True)
class HeadSurface:
    """The skin of a head with its eyeballs, in the head frame.

    `jaw` is near 1 on what moves with the jaw and near 0 on the skull; only the jump between the lips matters.
    `eye_faces` are the triangles of the left and right eyeball over `vertices`, empty where the model has none.
    `known` are vertices of named landmarks (the names of `find_anchors`) that come with the model.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    jaw: Float[np.ndarray, " V"]
    eye_faces: tuple[Int[np.ndarray, "n 3"], Int[np.ndarray, "m 3"]]
    known: dict[str, int] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def lip_seam(self) -> dict[str, int]:
        """Vertices of both lips along the line between them, by name; empty where there is none to be found."""
        return _lip_seam(self)


@dataclasses.dataclass(frozen=True)
class SurfacePoint:
    """A place on a surface: index of a triangle and barycentric weights (3,)."""

    face: int
    barycentric: Float[np.ndarray, "3"]

    def read(self, faces: Int[np.ndarray, "F 3"], field: Float[np.ndarray, "V k"]) -> Float[np.ndarray, " k"]:
        return self.barycentric @ field[faces[self.face]]


def find_anchors(head: HeadSurface) -> dict[str, SurfacePoint]:
    """Landmarks that can be found on any head, by name; those that a head does not show are left out."""
    vertices = head.lip_seam | _nose_tip(head, head.lip_seam) | head.known
    return eye_openings(head) | {name: _at_vertex(head.faces, vertex) for name, vertex in vertices.items()}


def _at_vertex(faces: Int[np.ndarray, "F 3"], vertex: int) -> SurfacePoint:
    face, corner = np.argwhere(faces == vertex)[0]
    return SurfacePoint(int(face), np.eye(3)[corner])


def eye_openings(head: HeadSurface) -> dict[str, SurfacePoint]:
    """Points of the skin around the visible part of each eyeball: both ends and seven places along each lid."""
    found = {}
    for side, eye in zip(("left", "right"), head.eye_faces, strict=True):
        if len(eye):
            found |= {f"{side} eye, {name}": place for name, place in _eye_opening(head, eye).items()}
    return found


def _eye_opening(head: HeadSurface, eye: Int[np.ndarray, "n 3"]) -> dict[str, SurfacePoint]:
    """The same for one eye, seen from the front in a parallel view."""
    from backend.meshing.rasterizer import rasterize

    ball = head.vertices[np.unique(eye)]
    low, high = ball.min(0) - 0.006, ball.max(0) + 0.006
    width, height = (int(np.ceil((high[k] - low[k]) / _RASTER)) for k in (0, 2))
    all_faces = np.concatenate([head.faces, eye])
    middle = head.vertices[all_faces].mean(1)
    near = (np.abs(middle - (low + high) / 2) < high - low + 0.02).all(1)
    chosen = np.flatnonzero(near)
    pixels = np.stack(
        [
            (head.vertices[:, 0] - low[0]) / _RASTER,
            (high[2] - head.vertices[:, 2]) / _RASTER,
            head.vertices[:, 1] + 10.0,  # a parallel view: all that counts is the order in depth
        ],
        1,
    )
    buffers = rasterize(pixels, all_faces[chosen], height, width)
    picture = np.where(buffers.face_index >= 0, chosen[buffers.face_index], -1)
    is_eye = picture >= len(head.faces)
    columns = np.flatnonzero(is_eye.any(0))
    if len(columns) < 20:
        return {}
    found: dict[str, SurfacePoint] = {}

    def place(name: str, row: int, column: int) -> None:
        if 0 <= row < height and 0 <= column < width and 0 <= picture[row, column] < len(head.faces):
            weights = buffers.barycentric[row, column].astype(float)
            found[name] = SurfacePoint(int(picture[row, column]), weights / weights.sum())

    first, last = columns[0], columns[-1]
    for name, column, beyond in (("right end", first, first - 1), ("left end", last, last + 1)):
        rows = np.flatnonzero(is_eye[:, column])
        place(name, int(rows.mean()), int(beyond))
    for k, step in enumerate(_RIM_STEPS):
        column = round(float((first + last) / 2 + step * (last - first) / 2))
        rows = np.flatnonzero(is_eye[:, column])
        if len(rows):
            place(f"upper rim {k}", int(rows[0]) - 1, column)
            place(f"lower rim {k}", int(rows[-1]) + 1, column)
    return found


def _lip_seam(head: HeadSurface) -> dict[str, int]:
    """Vertices of the upper and lower lip that face each other, along the line between the corners of the mouth.

    They are close together, look forwards, move differently with the jaw, and the way from one to the other over the
    surface leads around a corner of the mouth or through its inside.
    """
    normals = vertex_normals(head.vertices, head.faces)
    x, y, z = head.vertices.T
    box = (np.abs(x) < 0.045) & (z < 0.0) & (z > -0.12) & (y < -0.04)
    used, faces = compact(head.faces[box[head.faces].all(1)])
    front = np.flatnonzero(normals[used, 1] < -0.1)
    if len(front) == 0:
        return {}
    points, jaw = head.vertices[used], head.jaw[used]
    pairs = front[KDTree(points[front]).query_pairs(_LIP_GAP, output_type="ndarray")].reshape(-1, 2)
    swap = points[pairs[:, 0], 2] < points[pairs[:, 1], 2]
    upper, lower = np.where(swap, pairs[:, 1], pairs[:, 0]), np.where(swap, pairs[:, 0], pairs[:, 1])
    moves = jaw[lower] - jaw[upper] > 0.1
    upper, lower = upper[moves], lower[moves]
    if len(upper) == 0:
        return {}
    distance = np.linalg.norm(points[upper] - points[lower], axis=1)
    walk = WalkingDistance(points, faces, np.unique(np.concatenate([upper, lower]))).pairs(upper, lower)
    apart = walk > 2.5 * distance + 0.001
    upper, lower, distance = upper[apart], lower[apart], distance[apart]
    if len(lower) < 5:
        return {}
    middle = (points[upper, 0] + points[lower, 0]) / 2
    left, right = middle.max(), middle.min()
    if left < 0.01 or right > -0.01:
        return {}
    found = {}
    for k, step in enumerate(_LIP_STEPS):
        at = (left + right) / 2 + step * (left - right) / 2
        # Of the pairs at this place, those that are closest together and lie outermost.
        best = int((np.abs(middle - at) + distance + 0.2 * points[lower, 1]).argmin())
        found[f"upper lip {k}"], found[f"lower lip {k}"] = int(used[upper[best]]), int(used[lower[best]])
    return found


def _nose_tip(head: HeadSurface, seam: dict[str, int]) -> dict[str, int]:
    """The most forward vertex near the middle, between eyes and mouth."""
    mouth = head.vertices[list(seam.values()), 2].mean() if seam else -0.05
    x, y, z = head.vertices.T
    middle = np.zeros(len(head.vertices), bool)
    middle[head.faces] = True
    middle &= (np.abs(x) < 0.012) & (z > mouth + 0.008) & (z < 0.02)
    candidates = np.flatnonzero(middle)
    return {"tip of the nose": int(candidates[y[candidates].argmin()])} if len(candidates) else {}


def lip_sides(head: HeadSurface) -> Float[np.ndarray, " V"]:
    """0 above and 1 below the line between the lips, sharp near the mouth and one half away from it."""
    if not head.lip_seam:
        return np.full(len(head.vertices), 0.5)
    distance = KDTree(head.vertices[list(head.lip_seam.values())]).query(head.vertices)[0]
    near = np.clip(2 - 2 * distance / _NEAR_LIPS, 0, 1)
    sharp = np.clip((head.jaw - 0.35) / 0.3, 0, 1)
    return 0.5 + near * (sharp - 0.5)


def register(
    source: HeadSurface,
    target: HeadSurface,
    *,
    stiffness: tuple[float, float] = (1e5, 1.0),
    iterations: int = 10,
) -> Float[np.ndarray, "V 3"]:
    """Positions of the source's skin vertices on the target's surface (other vertices stay where they are).

    Minimises the distance to the closest target points and to the common landmarks plus the bending of the
    displacement, with a stiffness that falls from the first to the second number (optimal step non-rigid ICP, Amberg
    et al. 2007, with a displacement per vertex).
    """
    skin, faces = compact(source.faces)
    start = source.vertices[skin]
    mine, theirs = find_anchors(source), find_anchors(target)
    common = [name for name in mine if name in theirs]
    goals = np.array([theirs[name].read(target.faces, target.vertices) for name in common]).reshape(-1, 3)
    select = sparse.lil_matrix((len(common), len(skin)))
    for row, name in enumerate(common):
        select[row, faces[mine[name].face]] = mine[name].barycentric
    select = select.tocsr()
    laplacian = _umbrella(faces, len(skin))
    bending = laplacian.T @ laplacian
    border = _border_vertices(target.faces)
    target_used, target_faces = compact(target.faces)
    surface = target.vertices[target_used]
    source_side, target_side = lip_sides(source)[skin], lip_sides(target)[target_used]
    at_border = np.isin(target_used, border)

    if len(goals) >= 3:
        start = _similarity(select @ start, goals, start)
    displacement = np.zeros_like(start)
    for weight in np.geomspace(*stiffness, iterations):
        current = start + displacement
        found = project(
            current,
            vertex_normals(current, faces),
            surface,
            target_faces,
            source_side=target_side,
            target_side=source_side,
        )
        closest = found.interpolate(target_faces, surface)
        on_border = (at_border[target_faces[found.face]] * found.barycentric).sum(1) > 0.5
        believed = np.where(found.agreement > 0.3, found.agreement**2, 0.0)
        believed *= ~on_border * np.exp(-((found.distance / 0.03) ** 2))
        data = sparse.diags(believed)
        system = data + weight * bending + _ANCHOR_WEIGHT * select.T @ select + 1e-6 * sparse.eye(len(skin))
        pull = data @ (closest - start) + _ANCHOR_WEIGHT * select.T @ (goals - select @ start)
        displacement = splu(sparse.csc_matrix(system)).solve(np.asarray(pull))
    result = source.vertices.copy()
    result[skin] = start + displacement
    return result


def local_scale(
    before: Float[np.ndarray, "V 3"], after: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], sweeps: int = 12
) -> Float[np.ndarray, " V"]:
    """How much larger the surroundings of each vertex became, smoothed over the surface; 1 where no face is."""
    links = edges(faces)
    ratio = np.linalg.norm(after[links[:, 0]] - after[links[:, 1]], axis=1) / np.maximum(
        np.linalg.norm(before[links[:, 0]] - before[links[:, 1]], axis=1), 1e-9
    )
    total, count = np.zeros(len(before)), np.zeros(len(before))
    for k in range(2):
        np.add.at(total, links[:, k], np.log(np.clip(ratio, 0.2, 5)))
        np.add.at(count, links[:, k], 1)
    scale = total / np.maximum(count, 1)
    for _ in range(sweeps):
        mean = np.zeros(len(before))
        np.add.at(mean, links[:, 0], scale[links[:, 1]])
        np.add.at(mean, links[:, 1], scale[links[:, 0]])
        scale = np.where(count > 0, 0.5 * scale + 0.5 * mean / np.maximum(count, 1), 0.0)
    return np.exp(scale)


def _similarity(
    points: Float[np.ndarray, "n 3"], goals: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "m 3"]
) -> Float[np.ndarray, "m 3"]:
    """Scale and shift `moved` as takes points to goals; no rotation, because both heads are in the head frame."""
    centre, goal = points.mean(0), goals.mean(0)
    a, b = points - centre, goals - goal
    scale = float(np.clip((a * b).sum() / max((a * a).sum(), 1e-12), 0.5, 2.0))
    return goal + scale * (moved - centre)


def _umbrella(faces: Int[np.ndarray, "F 3"], count: int) -> sparse.csr_matrix:
    links = edges(faces)
    adjacency = sparse.csr_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), (count, count))
    adjacency = adjacency + adjacency.T
    degree = np.asarray(adjacency.sum(1)).ravel()
    return sparse.csr_matrix(sparse.eye(count) - sparse.diags(1 / np.maximum(degree, 1)) @ adjacency)


def _border_vertices(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " n"]:
    links = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(links, axis=0, return_counts=True)
    return np.unique(unique[count == 1])
