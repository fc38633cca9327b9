"""Glasses: rims swept along the outline of the lenses, placed before the eyes and hooked over the ears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece, join, plain_patch, tube
from synthetic_data.identity import AccessorySpec
from synthetic_data.surface import Patch, extract, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float

# Half width and half height of a lens in metres, the exponent of its superellipse, radius of the rim, finish.
_SHAPES = {
    "rectangle": (0.0255, 0.0165, 5.0, 0.0017, "plastic"),
    "round": (0.0230, 0.0225, 2.0, 0.0012, "metal"),
    "wayfarer": (0.0260, 0.0200, 3.6, 0.0024, "plastic"),
    "rimless": (0.0250, 0.0175, 3.0, 0.0006, "plastic"),  # the edge of the lens: a mirror so thin breaks into specks
    "aviator": (0.0270, 0.0235, 2.6, 0.0010, "metal"),
    "sunglasses": (0.0275, 0.0215, 3.2, 0.0022, "plastic"),
}
_POINTS = 64
_GAP = 0.0045
"""Metres between the lenses and whatever of the face comes nearest."""


def make_glasses(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: AccessorySpec) -> list[Piece]:
    """Rims, bridge and temples as one piece, and the two lenses. Raises KeyError for an unknown shape."""
    half_width, half_height, power, radius, finish = _SHAPES[spec.glasses]
    left, right = model.eye_spheres(vertices)
    middle = (left.centre + right.centre) / 2
    axis = unit(left.centre - right.centre)
    apart = max(float(np.linalg.norm(left.centre - right.centre)) / 2, half_width + 0.0085)
    scale = np.clip(apart / 0.0335, 0.9, 1.12)
    outline = _outline(spec.glasses, half_width * scale, half_height * scale, power)
    face = _Face(model, vertices)
    lenses = []
    for side in (1, -1):
        flat = np.stack([side * (apart + outline[:, 0]), np.zeros(_POINTS), outline[:, 1]], 1)
        # Lenses wrap around the face and lean in at the bottom.
        flat[:, 1] = 1.6 * flat[:, 0] ** 2 + 0.10 * (flat[:, 2] - 0.01)
        lenses.append(middle + flat[:, :1] * axis + flat * [0, 1, 1])
    # Forward until rims and lenses clear the face, lids and lashes.
    probe = np.concatenate([*lenses, *(lens.mean(0) + 0.5 * (lens - lens.mean(0)) for lens in lenses)])
    forward = face.front(probe) - probe[:, 1]
    shift = np.array([0, min(float(forward.min()) - _GAP, 0.0), 0])
    lenses = [lens + shift for lens in lenses]
    frame = [tube(lens, radius, closed=True) for lens in lenses]
    if spec.glasses in ("wayfarer", "sunglasses"):
        brow = [lens[(outline[:, 1] > 0.35 * half_height)] for lens in lenses]
        frame += [tube(b + [0, -0.0004, 0.0006], radius * 1.25) for b in brow]
    frame += _bridges(spec.glasses, lenses, radius, half_height)
    frame += _temples(model, vertices, lenses, radius)
    dark = spec.glasses == "sunglasses" or (spec.glasses == "aviator" and spec.seed % 2 == 0)
    glass = "dark glass" if dark else "glass"
    tint = (0.02, 0.02, 0.024) if dark else (0.985, 0.99, 0.99)
    return [
        Piece("frame", join(frame), "glasses", finish, spec.glasses_colour),
        Piece("lenses", join([_lens(lens) for lens in lenses]), "glasses", glass, tint),
    ]


def _outline(shape: str, width: float, height: float, power: float) -> Float[np.ndarray, "n 2"]:
    """The edge of the lens on the character's left; x away from the nose."""
    angle = np.arange(_POINTS) * 2 * np.pi / _POINTS
    c, s = np.cos(angle), np.sin(angle)
    x = np.sign(c) * np.abs(c) ** (2 / power) * width
    z = np.sign(s) * np.abs(s) ** (2 / power) * height
    if shape == "aviator":
        drop = np.clip(-z / height, 0, 1)
        x, z = x * (1 - 0.22 * drop) + 0.003 * drop, np.where(z < 0, 1.12 * z, 0.82 * z)
    elif shape in ("wayfarer", "sunglasses"):
        x = x * (1 + 0.10 * z / height)
        z = z + 0.0022 * np.clip(x / width, 0, 1) * (z > 0)
    return np.stack([x, z - 0.003], 1)


class _Face:
    """How far forward the skin and the lashes reach at a place seen from the front."""

    def __init__(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> None:
        topology = model.topology
        parts = [topology.parts["skin"], topology.parts.get("lashes", np.zeros(0, int))]
        faces = topology.faces[np.concatenate(parts)]
        used = np.unique(faces)
        self.points = vertices[used[vertices[used, 1] < 0.0]]
        self._tree = KDTree(self.points[:, [0, 2]])

    def front(self, places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """The smallest y of the face within 4 mm of each place."""
        near = self._tree.query_ball_point(places[:, [0, 2]], 0.004)
        return np.array([self.points[n, 1].min() if n else 0.0 for n in near])


def _bridges(shape: str, lenses: list, radius: float, half_height: float) -> list:
    """One bow over the nose; two for aviators."""
    heights = (0.25,) if shape != "aviator" else (0.25, 0.75)
    bows = []
    for height in heights:
        ends = []
        for lens, side in zip(lenses, (1, -1), strict=True):
            centre = lens.mean(0)
            inner = (lens[:, 0] - centre[0]) * side < 0
            wanted = centre[2] + height * half_height
            index = np.flatnonzero(inner)[np.argmin(np.abs(lens[inner, 2] - wanted))]
            ends.append(lens[index])
        t = np.linspace(0, 1, 12)[:, None]
        arch = np.sin(np.pi * t) * [0, -0.0025, 0.0022]
        bows.append(tube(ends[1] + t * (ends[0] - ends[1]) + arch, max(radius, 0.0011) * 1.05))
    return bows


def _temples(model: BodyModel, vertices: Float[np.ndarray, "V 3"], lenses: list, radius: float) -> list:
    """From the outer edge of each rim past the temples, over the roots of the ears and down behind them."""
    radius = float(np.clip(radius, 0.0010, 0.0016))
    arms = []
    for lens, side in zip(lenses, (1, -1), strict=True):
        hinge = lens[np.argmax(side * lens[:, 0] + 0.3 * lens[:, 2])]
        bend = hinge + [side * 0.004, 0.006, 0]
        hook = ear_hook(model, vertices, side) + [side * radius, 0, 0]
        hook[0] += [0, 0, radius]
        path = _smooth(_even(np.concatenate([[hinge, bend], hook]), 64), 2.0)
        path = _clear(path, _SideOfHead(model, vertices, side), radius + 0.0003)
        path[0] = hinge
        arms.append(tube(path, radius * np.linspace(1.15, 0.85, len(path))))
    return arms


def ear_hook(model: BodyModel, vertices: Float[np.ndarray, "V 3"], side: int) -> Float[np.ndarray, "k 3"]:
    """The groove between ear and head: from the top of the ear's root down behind it, to half the ear's height."""
    topology = model.topology
    ears = topology.regions["ears"] > 0.5
    faces = topology.faces[topology.parts["skin"]]
    count = ears[faces].sum(1)
    border = np.unique(faces[(count > 0) & (count < 3)])
    border = border[model.template[border, 0] * side > 0]
    # The ear's own edge says how high its root is, the skin next to it how far out the head is there.
    root, skull = vertices[border[ears[border]]], vertices[border[~ears[border]]]
    top = root[np.argmax(root[:, 2])]
    crest = np.array([skull[np.argmin(np.linalg.norm((skull - top)[:, 1:], axis=1)), 0], top[1], top[2]])
    behind = skull[(skull[:, 1] > top[1] + 0.004) & (skull[:, 2] < top[2])]
    behind = behind[np.argsort(behind[:, 2])]
    half = (top[2] + root[:, 2].min()) / 2
    heights = np.linspace(top[2] - 0.006, half, 6)
    down = np.stack([np.interp(heights, behind[:, 2], behind[:, k]) for k in (0, 1)] + [heights], 1)
    return np.concatenate([crest[None], down])


class _SideOfHead:
    """The skin beside the eyes and around one ear, refined towards what is rendered."""

    def __init__(self, model: BodyModel, vertices: Float[np.ndarray, "V 3"], side: int) -> None:
        faces = model.topology.faces[model.topology.parts["skin"]]
        template = model.template * [side, 1, 1]
        near = ((template > [0.04, -0.09, -0.02]) & (template < [1, 0.05, 0.06])).all(1)
        faces = faces[near[faces].all(1)]
        patch = extract(vertices, faces, np.zeros((len(faces), 3, 2))).refined(1)
        self._points, self._normals = patch.vertices, vertex_normals(patch.vertices, patch.faces)
        self._tree = KDTree(self._points)

    def pushed(self, path: Float[np.ndarray, "n 3"], height: float) -> Float[np.ndarray, "n 3"]:
        """The path moved out of the skin, to at least `height` metres above it."""
        _, nearest = self._tree.query(path)
        normals = self._normals[nearest]
        lack = height - ((path - self._points[nearest]) * normals).sum(1)
        return path + np.clip(lack, 0, 0.004)[:, None] * normals


def _clear(path: Float[np.ndarray, "n 3"], head: _SideOfHead, height: float) -> Float[np.ndarray, "n 3"]:
    """The path bent gently until it touches the skin nowhere; ear and head push in turn where it lies between them."""
    for _ in range(12):
        path = _smooth(head.pushed(path, height), 0.7)
    for _ in range(4):
        path = head.pushed(path, height)
    return path


def _even(knots: Float[np.ndarray, "k 3"], count: int) -> Float[np.ndarray, "count 3"]:
    """Points at equal distances along the straight lines between knots."""
    along = np.r_[0, np.linalg.norm(np.diff(knots, axis=0), axis=1).cumsum()]
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, knots[:, k]) for k in range(3)], 1)


def _smooth(path: Float[np.ndarray, "n 3"], sigma: float) -> Float[np.ndarray, "n 3"]:
    """Corners rounded over `sigma` points; the ends stay."""
    ends = [2 * path[:1] - path[8:0:-1], path, 2 * path[-1:] - path[-2:-10:-1]]
    return ndimage.gaussian_filter1d(np.concatenate(ends), sigma, axis=0)[8:-8]


def _lens(outline: Float[np.ndarray, "n 3"]) -> Patch:
    """A single sheet with a slight bulge: light that passes two faces would be trapped between them."""
    centre = outline.mean(0) + [0, -0.0012, 0]
    rings = [centre + t * (outline - centre) + [0, -0.001 * (1 - t * t), 0] for t in (0.35, 0.7, 1.0)]
    points = np.concatenate([centre[None] + [0, -0.001, 0], *rings])
    count = len(outline)
    a = np.arange(count)
    b = (a + 1) % count
    faces = [np.stack([0 * a, 1 + a, 1 + b], 1)]
    for ring in range(2):
        low, high = 1 + ring * count, 1 + (ring + 1) * count
        faces += [np.stack([low + a, high + a, high + b], 1), np.stack([low + a, high + b, low + b], 1)]
    return plain_patch(points, np.concatenate(faces))
