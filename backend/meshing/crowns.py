"""Crowns of teeth: average sizes and shapes, placed on an arch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.mesh import Mesh
from backend.meshing.teeth_texture import PER_ROW, tooth_uv

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.meshing.dental_arch import Arch


@dataclasses.dataclass(frozen=True)
class _Form:
    """Cross-sections of a kind of tooth from neck (t = 0) to edge (t = 1).

    `ring` is the outline of a section: x along the row and y outwards, both in [-1, 1], counter-clockwise. Each of
    `levels` is (t, width, outer, inner): width as a share of the tooth's, outer and inner border of the section as a
    share of its depth, outwards positive. `dip` is where the middle of the biting surface lies, as t.
    """

    ring: Float[np.ndarray, "n 2"]
    levels: Float[np.ndarray, "m 4"]
    dip: float


_FRONT_RING = np.array(
    [
        *((1, 0), (0.86, 0.74), (0.36, 1), (-0.36, 1), (-0.86, 0.74)),
        *((-1, 0), (-0.7, -0.8), (-0.25, -1), (0.25, -1), (0.7, -0.8)),
    ]
)
_BACK_RING = np.array([(1, 0), (0.7, 0.85), (0, 1), (-0.7, 0.85), (-1, 0), (-0.7, -0.85), (0, -1), (0.7, -0.85)])
_FORMS = {
    "incisor": _Form(
        _FRONT_RING,
        np.array(
            [
                (-0.12, 0.74, -0.07, -0.92),
                (0.30, 0.87, 0.0, -0.84),
                (0.70, 1.0, -0.03, -0.50),
                (0.92, 0.985, -0.085, -0.34),
                (1.0, 0.86, -0.15, -0.29),
            ]
        ),
        1.005,
    ),
    "canine": _Form(
        _FRONT_RING,
        np.array(
            [
                (-0.12, 0.76, -0.06, -0.94),
                (0.30, 0.88, 0.0, -0.90),
                (0.64, 1.0, -0.02, -0.66),
                (0.86, 0.84, -0.10, -0.46),
                (1.0, 0.50, -0.19, -0.33),
            ]
        ),
        1.01,
    ),
    "premolar": _Form(
        _BACK_RING,
        np.array(
            [
                (-0.12, 0.78, -0.06, -0.94),
                (0.42, 0.97, 0.0, -1.0),
                (0.80, 0.96, -0.06, -0.96),
                (1.0, 0.70, -0.18, -0.84),
            ]
        ),
        0.80,
    ),
    "molar": _Form(
        _BACK_RING,
        np.array([(-0.12, 0.84, -0.05, -0.95), (0.50, 1.0, 0.0, -1.0), (0.96, 0.88, -0.10, -0.90)]),
        0.78,
    ),
}


@dataclasses.dataclass(frozen=True)
class Tooth:
    """Crown sizes (Wheeler's averages, rounded), metres; `short` is how far its edge stays off the biting plane."""

    form: str
    width: float
    height: float
    depth: float
    short: float
    lean: float
    """How far the edge leans outwards over the neck, as a share of the height."""


UPPER = (
    Tooth("incisor", 0.0086, 0.0102, 0.0070, 0.0, 0.16),
    Tooth("incisor", 0.0067, 0.0090, 0.0062, 0.0008, 0.14),
    Tooth("canine", 0.0077, 0.0100, 0.0078, 0.0, 0.06),
    Tooth("premolar", 0.0071, 0.0085, 0.0090, 0.0002, 0.0),
    Tooth("premolar", 0.0068, 0.0079, 0.0090, 0.0003, -0.02),
    Tooth("molar", 0.0102, 0.0075, 0.0105, 0.0004, -0.03),
    Tooth("molar", 0.0095, 0.0070, 0.0105, 0.0005, -0.05),
)
LOWER = (
    Tooth("incisor", 0.0054, 0.0088, 0.0060, 0.0, 0.08),
    Tooth("incisor", 0.0060, 0.0090, 0.0062, 0.0, 0.06),
    Tooth("canine", 0.0070, 0.0100, 0.0076, 0.0, 0.02),
    Tooth("premolar", 0.0071, 0.0085, 0.0079, 0.0010, -0.04),
    Tooth("premolar", 0.0072, 0.0080, 0.0083, 0.0012, -0.08),
    Tooth("molar", 0.0112, 0.0074, 0.0104, 0.0012, -0.12),
    Tooth("molar", 0.0106, 0.0068, 0.0102, 0.0012, -0.14),
)


class Row:
    """Places the teeth of one row; `up` is +1 when roots point up."""

    def __init__(self, arch: Arch, shapes: tuple[Tooth, ...], up: float) -> None:
        self.arch, self.up = arch, up
        self.shapes = [*shapes[::-1], *shapes]  # from the character's right to the left
        widths = np.array([tooth.width for tooth in self.shapes]) * arch.scale
        borders = np.concatenate([[0], np.cumsum(widths)])
        self.borders = borders - borders[PER_ROW // 2]
        self.middles = 0.5 * (self.borders[:-1] + self.borders[1:])

    def crown(self, number: int) -> Mesh:
        """One crown from a little inside the gum to its edge; x runs along the row, y outwards, t to the edge."""
        shape, scale = self.shapes[number], self.arch.scale
        form = _FORMS[shape.form]
        distal = 1.0 if number >= PER_ROW // 2 else -1.0
        count = len(form.ring)
        t, width, outer, inner = (np.repeat(column, count) for column in form.levels.T)
        x, around = np.tile(form.ring, (len(form.levels), 1)).T
        y = (0.5 * (outer + inner) + 0.5 * (outer - inner) * around) * shape.depth
        t = t - self._rounding(shape.form, x * distal, around) * np.clip((t - 0.4) / 0.6, 0, 1) ** 2
        # A hair wider than its place, so that no light falls between two neighbours.
        x = x * width * 0.5 * shape.width * 1.015
        top = form.levels[-1]
        x, y, t = np.append(x, 0.0), np.append(y, 0.5 * (top[2] + top[3]) * shape.depth), np.append(t, form.dip)
        vertices = self._place(np.full(len(x), self.middles[number]), x * scale, y * scale, t, shape)
        faces, uv_faces = _tube_faces(count, len(form.levels))
        mesh = Mesh(vertices, faces, tooth_uv(number, count, form.levels[:, 0]), uv_faces)
        return mesh if _volume(mesh) > 0 else Mesh(vertices, faces[:, ::-1], mesh.uvs, uv_faces[:, ::-1])

    @staticmethod
    def _rounding(form: str, x: Float[np.ndarray, " n"], around: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """How far the edge falls back, as a share of the height; x is positive away from the middle of the face."""
        if form == "incisor":
            return np.where(x > 0, 0.085, 0.035) * np.abs(x) ** 3
        if form == "canine":
            return np.where(x > 0, 0.13, 0.09) * np.abs(x)
        if form == "premolar":
            return 0.10 * np.abs(x) + 0.06 * (around < 0)
        return 0.10 * (np.abs(x * around) < 0.1) + 0.03 * (around < 0)

    def _place(
        self,
        at: Float[np.ndarray, " n"],
        x: Float[np.ndarray, " n"],
        y: Float[np.ndarray, " n"],
        t: Float[np.ndarray, " n"],
        shape: Tooth,
    ) -> Float[np.ndarray, "n 3"]:
        """World positions; `at` is the arc length where the tooth stands, x, y in metres, t from neck to edge."""
        point, outward = self.arch.frame(at)
        along = np.stack([-outward[:, 1], outward[:, 0]], 1)
        y = y + shape.lean * (t - 0.5) * shape.height * self.arch.scale
        plan = point + along * x[:, None] + outward * y[:, None]
        rise = ((1 - t) * shape.height + shape.short) * self.arch.scale
        return np.column_stack([plan, self.arch.height(point[:, 1]) + self.up * rise])


def _tube_faces(ring: int, levels: int) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "f 3"]]:
    """Faces of stacked rings and of the fan to the last vertex; texture faces, whose rings have one more column."""
    faces, uv_faces = [], []
    for level in range(levels - 1):
        for k in range(ring):
            a, b = level * ring + k, level * ring + (k + 1) % ring
            faces += [(a, b, b + ring), (a, b + ring, a + ring)]
            c, d = level * (ring + 1) + k, level * (ring + 1) + k + 1
            uv_faces += [(c, d, d + ring + 1), (c, d + ring + 1, c + ring + 1)]
    last, last_uv = (levels - 1) * ring, (levels - 1) * (ring + 1)
    for k in range(ring):
        faces.append((last + k, last + (k + 1) % ring, levels * ring))
        uv_faces.append((last_uv + k, last_uv + k + 1, levels * (ring + 1) + k))
    return np.array(faces), np.array(uv_faces)


def _volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] - mesh.vertices.mean(0) for k in range(3))
    return float((np.cross(a, b) * c).sum())
