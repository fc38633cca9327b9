"""Glasses: rims swept along the outline of the lenses, placed before the eyes and hooked over the ears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece, join, plain_patch, tube
from synthetic_data.identity import AccessorySpec
from synthetic_data.surface import Patch, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float

# Half width and half height of a lens in metres, the exponent of its superellipse, radius of the rim, finish.
_SHAPES = {
    "rectangle": (0.0255, 0.0165, 5.0, 0.0017, "plastic"),
    "round": (0.0230, 0.0225, 2.0, 0.0012, "metal"),
    "wayfarer": (0.0260, 0.0200, 3.6, 0.0024, "plastic"),
    "rimless": (0.0250, 0.0175, 3.0, 0.0004, "metal"),
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
    frame += _temples(model, vertices, face, lenses, max(radius, 0.0011))
    dark = spec.glasses == "sunglasses" or (spec.glasses == "aviator" and spec.seed % 2 == 0)
    glass = "dark glass" if dark else "glass"
    tint = (0.02, 0.02, 0.024) if dark else (0.94, 0.95, 0.95)
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


def _temples(model: BodyModel, vertices: np.ndarray, face: _Face, lenses: list, radius: float) -> list:
    """From the outer edge of each rim past the temples, over the ears and down behind them."""
    topology = model.topology
    ears = topology.regions["ears"] > 0.5
    skin = topology.faces[topology.parts["skin"]]
    used = np.unique(skin)
    head = used[(model.template[used, 2] > -0.06) & (topology.regions["ears"][used] < 0.3)]
    tree, normals = KDTree(vertices[head]), vertex_normals(vertices, skin)[head]
    arms = []
    for lens, side in zip(lenses, (1, -1), strict=True):
        hinge = lens[np.argmax(side * lens[:, 0] + 0.3 * lens[:, 2])]
        ear = vertices[ears & (model.template[:, 0] * side > 0)]
        # The groove between ear and head: the top of the ear's root.
        root = ear[side * ear[:, 0] < np.quantile(side * ear[:, 0], 0.35)]
        top = np.array([np.median(root[:, 0]), np.median(root[:, 1]), np.quantile(root[:, 2], 0.95) + 0.002])
        stop = top + [0, 0.022, -0.030]
        bend = np.array([hinge[0] + side * 0.004, hinge[1] + 0.006, hinge[2]])
        knots = np.stack(
            [hinge, bend, (bend + top) / 2 + [side * 0.003, 0, 0.001], top, top + [0, 0.010, -0.004], stop]
        )
        at = np.linspace(0, len(knots) - 1, 40)
        path = np.stack([np.interp(at, np.arange(len(knots)), knots[:, k]) for k in range(3)], 1)
        kernel = np.array([1, 2, 3, 2, 1]) / 9
        padded = np.concatenate([path[:1]] * 2 + [path] + [path[-1:]] * 2)
        path = np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in range(3)], 1)
        path[0] = hinge
        for _ in range(2):
            _, nearest = tree.query(path)
            height = ((path - vertices[head][nearest]) * normals[nearest]).sum(1)
            path = path + np.clip(radius + 0.0012 - height, 0, 0.02)[:, None] * normals[nearest]
        arms.append(tube(path, radius * np.linspace(1.2, 1.0, len(path))))
    return arms


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
