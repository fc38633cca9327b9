"""What is sewn to the edge of a garment: ribbing, folded collars, lapels and hoods."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.pieces import boundary_loops, grid_patch, thicken
from synthetic_data.surface import Patch, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Edge:
    """Points along a neckline from the front, around the back, to the front again, with their frames.

    `inwards` runs along the cloth away from the edge, `normal` out of the cloth, `out` away from the neck. `across` is
    0 at the nape and 1 at the front.
    """

    points: Float[np.ndarray, "n 3"]
    inwards: Float[np.ndarray, "n 3"]
    normal: Float[np.ndarray, "n 3"]
    out: Float[np.ndarray, "n 3"]
    up: Float[np.ndarray, "3"]
    across: Float[np.ndarray, " n"]
    closed: bool


def neck_edge(shell: Patch, field: Float[np.ndarray, " V"], *, gap: float = 0.0, count: int = 128) -> Edge:
    """The longest border of a shell along which `field` vanishes. `gap` metres stay free on either side of the front.

    Raises ValueError when the shell has no such border.
    """
    template = shell.attributes["template"]
    best: np.ndarray | None = None
    whole = False
    for loop in boundary_loops(shell.faces):
        # Where the hull itself ends at the throat, its border is the neckline.
        throat = (template[loop, 2] > -0.14) & (np.abs(template[loop, 0]) < 0.09)
        on_edge = (np.abs(field[loop]) < 1e-5) | throat
        if not on_edge.any():
            continue
        # A loop that also runs along the hem is opened there.
        start = int(np.argmax(on_edge & ~np.roll(on_edge, 1)))
        path = np.roll(loop, -start)[: int(np.argmin(np.roll(on_edge, -start)))] if not on_edge.all() else loop
        if best is None or len(path) > len(best):
            best, whole = path, bool(on_edge.all())
    if best is None:
        raise ValueError("the garment has no neckline")
    if whole:
        front = np.argmin(np.abs(template[best, 0]) + 10 * (template[best, 1] > 0))
        best = np.r_[np.roll(best, -front), best[front]]
    points = shell.vertices[best]
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.r_[0, step.cumsum()]
    at = np.linspace(gap, length[-1] - gap, count)
    closed = whole and gap == 0
    if closed:
        at = np.linspace(0, length[-1], count, endpoint=False)
    mode = "wrap" if closed else "nearest"

    def along(values: np.ndarray, smooth: float) -> np.ndarray:
        sampled = np.stack([np.interp(at, length, values[:, k]) for k in range(3)], 1)
        return ndimage.gaussian_filter1d(sampled, smooth, axis=0, mode=mode)

    resampled = along(points, 1.2)
    normal = unit(along(vertex_normals(shell.vertices, shell.faces)[best], 4))
    padded = np.concatenate([resampled[-1:], resampled, resampled[:1]]) if closed else resampled
    tangent = np.gradient(padded, axis=0)[1:-1] if closed else np.gradient(padded, axis=0)
    tangent = unit(ndimage.gaussian_filter1d(tangent, 1.0, axis=0, mode=mode))
    inwards = unit(np.cross(normal, tangent))
    centre = resampled.mean(0)
    inwards *= np.sign(((resampled - centre) * inwards).sum())
    up = unit(np.array([0, 0.012, -0.045]) - _neck_base(shell))
    out = resampled - centre
    out = unit(out - (out @ up)[:, None] * up)
    across = np.abs(2 * np.linspace(0, 1, count) - 1)
    return Edge(resampled, inwards, normal, out, up, across, closed)


def _neck_base(shell: Patch) -> Float[np.ndarray, "3"]:
    """Where the neck leaves the shoulders."""
    template = shell.attributes["template"]
    near = np.argsort(np.linalg.norm(template - [0, 0.045, -0.13], axis=1))[:400]
    return shell.vertices[near].mean(0)


def rib(edge: Edge, width: float, thickness: float = 0.0022) -> Patch:
    """A flat band along the edge, a little thicker than the cloth."""
    profile = [(-0.0025, -0.003), (-0.0035, -0.0005), (-0.002, thickness), (width * 0.5, thickness + 0.0004)]
    profile += [(width - 0.001, thickness), (width, 0.0), (width, -0.002)]
    points = np.stack([edge.points + a * edge.inwards + b * edge.normal for a, b in profile])
    return grid_patch(points, close_columns=edge.closed)


def part_of(edge: Edge, first: int, last: int) -> Edge:
    """The points from `first` up to `last`, as an open edge."""
    cut = slice(first, last)
    parts = {name: getattr(edge, name)[cut] for name in ("points", "inwards", "normal", "out")}
    across = np.abs(np.linspace(-1, 1, len(parts["points"])))
    return dataclasses.replace(edge, **parts, across=across, closed=False)


def folded(
    edge: Edge,
    rise: Float[np.ndarray, " n"],
    fall: Float[np.ndarray, " n"],
    shell: Patch,
    *,
    lean: float | Float[np.ndarray, " n"] = 0.1,
    points: bool = False,
) -> Patch:
    """A collar that stands up by `rise`, leaning out by `lean` times that, and is folded to lie `fall` on the cloth.

    With `points` the ends point down and a little to the sides, as those of a shirt's collar do.
    """
    lean = np.broadcast_to(lean, rise.shape)[:, None]
    rise, fall = rise[:, None], fall[:, None]
    top = edge.points + rise * edge.up + (0.003 + lean * rise) * edge.out
    way = edge.inwards
    if points:
        end = smoothstep(0.55, 0.95, edge.across)[:, None]
        down = np.stack([0.55 * np.sign(edge.points[:, 0]), 0 * rise[:, 0], -1 + 0 * rise[:, 0]], 1)
        down = unit(down - (edge.normal * down).sum(1, keepdims=True) * edge.normal)
        way = unit(way * (1 - end) + down * end)
    clearance = 0.0045
    hem = keep_above(shell, edge.points + fall * way, clearance)
    foot = edge.points - 0.003 * edge.up
    outer = top + 0.003 * edge.out + 0.001 * edge.normal
    rows = [foot, foot + 0.55 * (top - foot), top, outer]
    rows += [keep_above(shell, outer + t * (hem - outer), clearance) for t in (0.2, 0.4, 0.6, 0.8, 1.0)]
    grid = np.stack(rows)
    mode = "wrap" if edge.closed else "nearest"
    grid = ndimage.gaussian_filter1d(grid, 1.5, axis=1, mode=mode)
    return thicken(grid_patch(grid, close_columns=edge.closed), 0.0016)


def keep_above(
    shell: Patch, points: Float[np.ndarray, "n 3"], clearance: float | Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """Points moved out until they are `clearance` metres above the cloth."""
    height, normal = _height(shell, points)
    return points + np.clip(clearance - height, 0, 0.05)[:, None] * normal


def keep_below(
    shell: Patch, points: Float[np.ndarray, "n 3"], height: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """Points moved in until they are at most `height` metres above the cloth."""
    over, normal = _height(shell, points)
    return points - np.clip(over - height, 0, 0.05)[:, None] * normal


def _height(shell: Patch, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Metres above the cloth, and the cloth's normal there."""
    normals = vertex_normals(shell.vertices, shell.faces)
    distance, nearest = KDTree(shell.vertices).query(points, k=4)
    weight = 1 / (distance + 1e-3) ** 2
    weight = (weight / weight.sum(1, keepdims=True))[..., None]
    normal = unit((normals[nearest] * weight).sum(1))
    return ((points - (shell.vertices[nearest] * weight).sum(1)) * normal).sum(1), normal


def lapel_width(across: Float[np.ndarray, " n"], *, notched: bool) -> Float[np.ndarray, " n"]:
    """How far a lapel lies on the breast, metres, from the nape (0) to where the fronts meet (1)."""
    if not notched:
        return np.interp(across, [0, 0.4, 0.85, 1], [0.042, 0.05, 0.052, 0.012])
    places = [0, 0.28, 0.40, 0.425, 0.45, 0.475, 0.7, 0.93, 1]
    return np.interp(across, places, [0.036, 0.038, 0.052, 0.026, 0.028, 0.074, 0.062, 0.02, 0.004])


_HOOD = np.array(
    [(0, -0.1), (-0.06, 0.6), (0.04, 0.95), (0.18, 0.92), (0.30, 0.55), (0.42, 0.22), (0.52, 0.30), (0.58, 0.75)]
    + [(0.68, 1.0), (0.82, 1.0), (1.05, 0.85), (1.28, 0.6), (1.42, 0.3), (1.42, 0.05), (1.34, 0.0)]
)
"""Across a hood that lies on the back, from the neck: the way along the cloth and the height above it, as shares of
the hood's size. The dip in the middle is its opening, between the inner lip and the outer."""


def hood(edge: Edge, shell: Patch, rng: np.random.Generator) -> Patch:
    """A hood that lies on the back, open towards the neck, with a few folds; it thins out towards the front."""
    back = (1 - edge.across) ** 0.8
    wave = ndimage.gaussian_filter1d(rng.normal(0, 3, len(back)), 4, mode="wrap")
    wide = (0.012 + 0.052 * back) * (1 + 0.05 * wave)
    high = (0.010 + 0.020 * back) * smoothstep(1.0, 0.86, edge.across)
    ways, heights = _HOOD.T
    # The bag hangs down farthest in the middle of the back, and its folds run down from the outer lip.
    along = ways[:, None] * wide + np.maximum(ways - 0.7, 0)[:, None] * 0.035 * back**2
    folds = 1 + 0.22 * np.sin(4.0 * np.pi * edge.across + wave) * (ways[:, None] > 0.7)
    above = heights[:, None] * high * folds
    # The lips stand up around the neck; the bag lies on the cloth.
    lies = smoothstep(0.1, 0.9, ways)[:, None, None]
    way_up = unit((1 - lies) * edge.up + lies * edge.normal)
    points = edge.points + along[..., None] * edge.inwards + above[..., None] * way_up
    clearance = 0.003 + 0.8 * np.maximum(above, 0)
    for row in np.flatnonzero(ways > 0.25):
        points[row] = keep_above(shell, points[row], clearance[row])
    points = ndimage.gaussian_filter1d(points, 1.2, axis=1, mode="nearest")
    points = ndimage.gaussian_filter1d(points, 0.5, axis=0, mode="nearest")
    return thicken(grid_patch(points), 0.002)
