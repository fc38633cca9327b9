"""Where a foreign head lies: the axes, unit and offset its exporter gave it, found by laying it onto a known head."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_UNITS = (1.0, 0.01, 0.001, 0.0254)
"""Metres, centimetres, millimetres, inches."""
_SIZE_RANGE = (0.35, 2.2)
_COARSE = 6
"""Every so-many-th point decides which placements are worth a closer look."""
_REFINED = 6
_ITERATIONS, _NO_BETTER = 40, 0.995
_REACH = 0.003
_AS_GOOD, _CERTAIN = 1.15, 0.0004
"""A usual convention is taken as it is when its misfit is this close (factor, metres) to the refined one."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """``scale * points @ rotation.T + translation`` lies in the head frame; `misfit` in metres says how well.

    `usual` when exporters do just that.
    """

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    misfit: float = np.inf
    usual: bool = False

    def apply(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return self.scale * (points @ self.rotation.T) + self.translation

    def undo(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return (points - self.translation) @ self.rotation / self.scale


@dataclasses.dataclass(frozen=True)
class Cloud:
    """Points spread over a surface, with the normals there and the usual gap between neighbours."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    gap: float
    tree: KDTree

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], count: int) -> Cloud:
        """`count` points in proportion to the area, always the same ones."""
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        area = np.linalg.norm(normals, axis=1)
        total = np.cumsum(area)
        index = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1])
        index = np.minimum(index, len(faces) - 1)
        # Powers of the plastic number fill each triangle evenly (Roberts' R2 sequence).
        u, v = (np.arange(count) * 0.7548776662 + 0.5) % 1, (np.arange(count) * 0.5698402909 + 0.5) % 1
        flip = u + v > 1
        u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
        points = a[index] + u * (b - a)[index] + v * (c - a)[index]
        normals = normals[index] / np.maximum(area[index], 1e-30)[:, None]
        return cls(points, normals, float(np.sqrt(total[-1] / 2 / count)), KDTree(points))

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """From each point to the surface: across it at the nearest sample, and along it beyond the gaps."""
        total, nearest = self.tree.query(points)
        across = np.abs(((points - self.points[nearest]) * self.normals[nearest]).sum(1))
        along = np.sqrt(np.maximum(total**2 - across**2, 0))
        return np.hypot(across, np.maximum(along - 1.5 * self.gap, 0))


def find_placement(
    foreign: Cloud, known: Cloud, face: Float[np.ndarray, "k 3"], base_height: float
) -> Placement | None:
    """The similarity that lays a foreign head onto a known one; None when no usual unit has its size.

    The best of the usual axes, units and offsets is kept exactly when it fits about as well as anything does;
    otherwise it is refined by closest points (a rigid motion).

    Args:
        foreign: in its own axes and unit.
        known: the whole known avatar, head frame, metres.
        face: spread over its face, which the foreign head must have.
        base_height: lift that puts the known avatar on height 0, as its GLB has it.
    """
    size = float(np.linalg.norm(np.ptp(foreign.points, axis=0)) / np.linalg.norm(np.ptp(known.points, axis=0)))
    candidates: list[Placement] = []
    for scale in _UNITS:
        if not _SIZE_RANGE[0] < scale * size < _SIZE_RANGE[1]:
            continue
        for rotation in _axis_rotations():
            turned = scale * (foreign.points @ rotation.T)
            for k, translation in enumerate(_offsets(turned, known.points, base_height)):
                placement = Placement(scale, rotation, translation, usual=k < 2)
                candidates.append(_judged(placement, foreign, known, face[::_COARSE], _COARSE))
    if not candidates:
        return None
    candidates.sort(key=lambda placement: placement.misfit)
    rough = [_refine(placement, foreign, known, face, _COARSE) for placement in candidates[:_REFINED]]
    best = _refine(min(rough, key=lambda p: p.misfit), foreign, known, face)
    good = [_judged(placement, foreign, known, face) for placement in candidates[:_REFINED] if placement.usual]
    exact = [p for p in good if p.misfit < _AS_GOOD * best.misfit + _CERTAIN]
    return min(exact, key=lambda p: p.misfit, default=best)


def _judged(
    placement: Placement, foreign: Cloud, known: Cloud, face: Float[np.ndarray, "k 3"], step: int = 1
) -> Placement:
    """The placement with its misfit: typical distance, metres, of the foreign surface and of the known face back.

    Half of the one and three quarters of the other have to fit: hair may be there or not, a nose may be another.
    """
    there = known.distance(placement.apply(foreign.points[::step]))
    back = placement.scale * foreign.distance(placement.undo(face))
    return dataclasses.replace(placement, misfit=_mean_of_better(there, 0.5) / 2 + _mean_of_better(back, 0.75) / 2)


def _refine(start: Placement, foreign: Cloud, known: Cloud, face: Float[np.ndarray, "k 3"], step: int = 1) -> Placement:
    """Iterative closest points, both ways, from points to planes; far pairs, such as hair over skin, hardly count."""
    points, face = foreign.points[::step], face[::step]
    best = current = _judged(start, foreign, known, face, step)
    for _ in range(_ITERATIONS):
        moved = current.apply(points)
        there, at = known.tree.query(moved)
        back, of = foreign.tree.query(current.undo(face))
        source = np.concatenate([moved, current.apply(foreign.points[of])])
        target = np.concatenate([known.points[at], face])
        planes = np.concatenate([known.normals[at], foreign.normals[of] @ current.rotation.T])
        away = np.concatenate([there, current.scale * back])
        reach = max(_REACH, float(np.median(current.scale * back)))
        # Geman and McClure's weights; both directions count alike.
        weight = 1 / (1 + (away / reach) ** 2) ** 2 / np.repeat([len(there), len(back)], [len(there), len(back)])
        rotation, shift = _rigid_step(source, target, planes, weight)
        turned = Placement(current.scale, rotation @ current.rotation, rotation @ current.translation + shift)
        current = _judged(turned, foreign, known, face, step)
        if current.misfit > _NO_BETTER * best.misfit:
            return min(current, best, key=lambda placement: placement.misfit)
        best = current
    return best


def _mean_of_better(distances: Float[np.ndarray, " n"], share: float) -> float:
    return float(np.sort(distances)[: max(1, int(len(distances) * share))].mean())


def _axis_rotations() -> list[Float[np.ndarray, "3 3"]]:
    """All 24 ways in which axes can be relabelled without mirroring: ours first, then glTF's."""
    gltf = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    usual = [np.eye(3), gltf]
    rest = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        for signs in np.ndindex(2, 2, 2):
            matrix = np.eye(3)[list(order)] * (1 - 2 * np.array(signs))[:, None]
            if np.linalg.det(matrix) > 0 and not any(np.array_equal(matrix, known) for known in usual):
                rest.append(matrix)
    return usual + rest


def _offsets(
    turned: Float[np.ndarray, "n 3"], known: Float[np.ndarray, "m 3"], base_height: float
) -> list[Float[np.ndarray, "3"]]:
    """As it lies; standing on the floor; and otherwise with the same middle, crown, or crown and front."""
    low, high, known_low, known_high = turned.min(0), turned.max(0), known.min(0), known.max(0)
    middle = (known_low + known_high - low - high) / 2
    crown = np.array([middle[0], middle[1], known_high[2] - high[2]])
    front = np.array([middle[0], known_low[1] - low[1], known_high[2] - high[2]])
    return [np.zeros(3), np.array([0.0, 0.0, -base_height]), middle, crown, front]


def _rigid_step(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    weight: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Small rotation and shift that bring `source` closer to the planes through `target`."""
    weight = weight / weight.sum()
    middle = weight @ source
    rows = np.c_[np.cross(source - middle, normals), normals]
    gap = ((target - source) * normals).sum(1)
    # A little damping, in metres: a sphere says nothing of its rotation.
    system = (rows.T * weight) @ rows + np.diag([1e-6] * 3 + [1e-4] * 3)
    step = np.linalg.solve(system, (rows.T * weight) @ gap)
    rotation = Rotation.from_rotvec(step[:3]).as_matrix()
    return rotation, middle - rotation @ middle + step[3:]
