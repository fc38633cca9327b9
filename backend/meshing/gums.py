"""Gums around a row of teeth, and the palate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backend.meshing.dental_arch import lining_distance
from backend.meshing.mesh import Mesh
from backend.meshing.teeth_texture import PER_ROW, gum_uv, palate_uv

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.meshing.crowns import Row

_FLARE = 0.003  # the border of the gum reaches at most this far out to meet the lining, metres


class _Columns(NamedTuple):
    """Columns of a gum along the row: place within the tooth (-1 to 1), and the frame and sizes (metres) there."""

    place: Float[np.ndarray, " n"]
    point: Float[np.ndarray, "n 2"]
    outward: Float[np.ndarray, "n 2"]
    height: Float[np.ndarray, " n"]
    depth: Float[np.ndarray, " n"]
    short: Float[np.ndarray, " n"]
    lean: Float[np.ndarray, " n"]


def gums(row: Row, neutral: Float[np.ndarray, "V 3"], skin: Int[np.ndarray, "F 3"]) -> list[Mesh]:
    """Outer and inner gum with a scalloped margin, and the palate when the row is the upper one.

    Args:
        neutral, skin: the head, whose lining the border of the outer gum meets.
    """
    outer = _meet_lining(row, _outer_gum(row), neutral, skin)
    inner = _inner_gum(row)
    sheets = [
        _sheet(outer, gum_uv(*outer.shape[:2], inner=False)),
        _sheet(inner, gum_uv(*inner.shape[:2], inner=True)),
    ]
    if row.up > 0:
        roof = _palate(inner[::2, -1], 0.008 * row.arch.scale)
        sheets.append(_sheet(roof, palate_uv(*roof.shape[:2])))
    # Sheets have one side: outer gums look out of the arch, all others into it.
    centre = np.append(row.arch.centre, row.arch.bite - row.up * 0.01)
    return [_facing(mesh, centre, away=k == 0) for k, mesh in enumerate(sheets)]


def _columns(row: Row, per_tooth: int) -> _Columns:
    """`per_tooth` columns for each tooth but molars, which are seen less and have two, and one at the end."""
    number, place = [], []
    for k, tooth in enumerate(row.shapes):
        count = 2 if tooth.form == "molar" else per_tooth
        number += [k] * count
        place += [-1 + 2 * i / count for i in range(count)]
    number, place = np.array([*number, PER_ROW - 1]), np.array([*place, 1.0])
    # Between two teeth the gum takes the mean of both.
    other = np.maximum(number - (place == -1), 0)

    def size(name: str) -> Float[np.ndarray, " n"]:
        values = np.array([getattr(tooth, name) for tooth in row.shapes])
        return 0.5 * (values[number] + values[other])

    widths = np.diff(row.borders)
    point, outward = row.arch.frame(row.middles[number] + 0.5 * place * widths[number])
    scale = row.arch.scale
    return _Columns(
        place, point, outward, size("height") * scale, size("depth") * scale, size("short") * scale, size("lean")
    )


def _grid(
    row: Row, columns: _Columns, y: Float[np.ndarray, "n m"], t: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, "n m 3"]:
    """World positions of columns; y outwards in metres, t from the neck (0) to the edge (1) of the tooth."""
    y = y + columns.lean[:, None] * (t - 0.5) * columns.height[:, None]
    plan = columns.point[:, None] + columns.outward[:, None] * y[..., None]
    rise = (1 - t) * columns.height[:, None] + columns.short[:, None]
    z = row.arch.height(columns.point[:, 1])[:, None] + row.up * rise
    return np.concatenate([plan, z[..., None]], -1)


def _outer_gum(row: Row) -> Float[np.ndarray, "n 4 3"]:
    """From the border in the lining over the eminences of the roots to the margin, which dips in at the teeth."""
    columns = _columns(row, 4)
    between, level = np.abs(columns.place), np.zeros_like(columns.place)
    papilla = 0.38 * between**2.6
    t = np.stack([level - 0.95, level - 0.45, 0.8 * papilla - 0.10, papilla + 0.015], 1)
    y = np.stack(
        [level - 0.0006, 0.0011 - 0.0006 * between**2, 0.0006 - 0.0012 * between**3, -0.0008 - 0.0014 * between**3], 1
    )
    y *= row.arch.scale
    y[[0, -1]] -= 0.35 * columns.depth[0]  # the ends close behind the last tooth
    return _grid(row, columns, y, t)


def _inner_gum(row: Row) -> Float[np.ndarray, "n 2 3"]:
    columns = _columns(row, 2)
    between, level = np.abs(columns.place), np.zeros_like(columns.place)
    t = np.stack([0.05 + 0.30 * between, level - 0.75], 1)
    y = np.stack([0.0012 + 0.0015 * between, level - 0.0018], 1) * row.arch.scale
    return _grid(row, columns, y - columns.depth[:, None], t)


def _meet_lining(
    row: Row, gum: Float[np.ndarray, "n m 3"], neutral: Float[np.ndarray, "V 3"], skin: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "n m 3"]:
    """Bring the border of the gum just behind the lining, and pull back what would come through it."""
    arch, gum = row.arch, gum.copy()
    for level, room in enumerate((-0.0008, 0.0004, 0.0006)):
        offset = gum[:, level, :2] - arch.centre
        radius = np.linalg.norm(offset, axis=1)
        angle = np.arctan2(offset[:, 0] / arch.stretch, -offset[:, 1])
        wall = lining_distance(arch, angle, gum[:, level, 2], neutral, skin) - room
        target = np.minimum(wall, radius + _FLARE if level == 0 else radius)
        gum[:, level, :2] = arch.centre + offset * (target / radius)[:, None]
    return gum


def _palate(border: Float[np.ndarray, "n 3"], rise: float) -> Float[np.ndarray, "r 5 3"]:
    """A vault between the right and the left half of the inner gum, at most `rise` metres high."""
    half = len(border) // 2
    right, left = border[:half], border[::-1][:half]
    across = np.linspace(0, 1, 5)[None, :, None]
    roof = right[:, None] * (1 - across) + left[:, None] * across
    width = np.linalg.norm(right - left, axis=1)[:, None]
    roof[..., 2] += np.sin(np.pi * across[..., 0]) ** 0.7 * np.minimum(0.30 * width, rise)
    return roof


def _sheet(grid: Float[np.ndarray, "n m 3"], uvs: Float[np.ndarray, "n m 2"]) -> Mesh:
    rows, columns = grid.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(grid.reshape(-1, 3), faces, uvs.reshape(-1, 2), faces.copy())


def _facing(mesh: Mesh, centre: Float[np.ndarray, "3"], *, away: bool) -> Mesh:
    """The mesh with its faces turned away from a point, or towards it."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    outwards = (np.cross(b - a, c - a) * ((a + b + c) / 3 - centre)).sum() > 0
    return mesh if outwards == away else Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.uvs, mesh.uv_faces[:, ::-1])
