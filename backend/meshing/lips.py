"""The slit between the lips: where it runs, how far it gapes, and how to close it. Colour of what lies behind it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from backend.body_model.base import defaults
from backend.meshing.rasterizer import interpolate, rasterize
from backend.meshing.texture import smoothstep

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.body_model.base import BodyModel

LARGEST_OFFSET = 0.002
"""`close_lips` moves no vertex further than this, metres."""
_CELL = 0.0002  # metres per pixel of the height maps
_REACH = 0.007  # the correction has faded out this far from the slit, metres
_CORNER = 0.0015  # and has grown to its full strength this far from the corners of the mouth
_SMOOTHING = 0.0013  # metres along the slit
_PRESS = 0.00007  # lips are soft: they sink into each other so far that no ray of light passes, metres
_ROUNDS = 5
_LINING_COLOUR = np.array([0.34, 0.11, 0.11])
_THROAT_COLOUR = np.array([0.15, 0.04, 0.045])
_THROAT_DEPTH = 0.08  # metres behind the lips where the throat's colour is reached


@dataclasses.dataclass(frozen=True)
class LipSlit:
    """The line where the lips meet, from the right corner of the mouth (-X) to the left.

    For each of n positions `x` (metres): the point (y, z) midway where the lips come closest, and the `gap` between
    them there, metres, negative where they cross.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    z: Float[np.ndarray, " n"]
    gap: Float[np.ndarray, " n"]

    @property
    def points(self) -> Float[np.ndarray, "n 3"]:
        return np.stack([self.x, self.y, self.z], 1)

    @property
    def middle(self) -> Float[np.ndarray, "3"]:
        """The point of the slit halfway between the corners."""
        return self.points[np.argmin(np.abs(self.x - 0.5 * (self.x[0] + self.x[-1])))]


def lip_slit(model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> LipSlit:
    """Find the slit between the lips of a head with (nearly) closed mouth."""
    return _measure(vertices, *_facing_lips(model, vertices))


def close_lips(model: BodyModel, neutral: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """Offsets, metres, that bring the inner edges of the lips together: gaps close, lips that cross come apart.

    Both lips give way by half. The offsets are vertical, at most `LARGEST_OFFSET` and smooth along the slit; they
    fade out within 7 mm of it and towards the corners of the mouth.
    """
    upper, lower = _facing_lips(model, neutral)
    side = lip_sides(model)
    near = np.flatnonzero(side)
    offsets = np.zeros_like(neutral)
    for _ in range(_ROUNDS):
        slit = _measure(neutral + offsets, upper, lower)
        taper = smoothstep(0, _CORNER, np.minimum(slit.x - slit.x[0], slit.x[-1] - slit.x))
        gap = (slit.gap + _PRESS) * taper
        half = 0.5 * ndimage.gaussian_filter1d(gap, _SMOOTHING / _CELL, mode="nearest")
        distance, nearest = KDTree(slit.points).query(neutral[near] + offsets[near])
        offsets[near, 2] -= side[near] * half[nearest] * smoothstep(_REACH, 0.0015, distance)
        np.clip(offsets, -LARGEST_OFFSET, LARGEST_OFFSET, out=offsets)
    return offsets


def lip_sides(model: BodyModel) -> Float[np.ndarray, " V"]:
    """+1 for vertices of the skin around the mouth that stay with the skull, -1 for those that go with the jaw, else 0.

    The corners of the mouth, where both meet, set the border: what follows the jaw more than they do is below it.
    """
    lips = np.flatnonzero(model.topology.regions["lips"] > 0.5)
    follows = np.linalg.norm(model.arkit_offsets(defaults(model.identity_parameters))["jawOpen"], axis=1)
    across = model.template[lips, 0]
    at_corner = lips[np.abs(across - np.median(across)) > 0.96 * np.abs(across - np.median(across)).max()]
    border = np.median(follows[at_corner])
    skin = np.zeros(len(model.template), bool)
    skin[model.topology.faces[model.topology.parts["skin"]]] = True
    box = model.template[lips].min(0) - 0.002, model.template[lips].max(0) + 0.002
    around = skin & ((model.template >= box[0]) & (model.template <= box[1])).all(1)
    return np.where(follows > border, -1.0, 1.0) * around


def mouth_interior_colour(
    model: BodyModel, neutral: Float[np.ndarray, "V 3"]
) -> dict[str, tuple[Float[np.ndarray, " V"], Float[np.ndarray, "3"]]]:
    """Soft masks and sRGB colours of the lining of the mouth, in the order in which `vertex_tone` mixes them.

    Dark red behind the lips, and nearly black towards the throat, where no light would get.
    """
    lining = smoothstep(0.3, 0.8, model.topology.regions["mouth_interior"])
    front = lip_slit(model, neutral).middle[1]
    depth = smoothstep(0.008, _THROAT_DEPTH, neutral[:, 1] - front)
    return {"mouth": (lining, _LINING_COLOUR), "throat": (lining * depth, _THROAT_COLOUR)}


def _facing_lips(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"]
) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "g 3"]]:
    """Faces of the upper lip that look down, and of the lower lip that look up."""
    faces = model.topology.faces[model.topology.parts["skin"]]
    side = lip_sides(model)[faces]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    up = normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-15)
    return faces[(side == 1).all(1) & (up < -0.05)], faces[(side == -1).all(1) & (up > 0.05)]


def _measure(
    vertices: Float[np.ndarray, "V 3"], upper: Int[np.ndarray, "f 3"], lower: Int[np.ndarray, "g 3"]
) -> LipSlit:
    """Compare the height of the two lips where one lies above the other, seen along Z."""
    used = vertices[np.concatenate([upper.ravel(), lower.ravel()])]
    low, high = used.min(0), used.max(0)
    width, depth = (np.ceil((high - low)[:2] / _CELL).astype(int) + 1).tolist()
    heights = []
    for faces, direction in ((upper, 1.0), (lower, -1.0)):
        # A camera a metre away is as good as a parallel one for lips of a few millimetres.
        screen = np.c_[(vertices[:, :2] - low[:2]) / _CELL, 1.0 + direction * (vertices[:, 2] - low[2])]
        buffers = rasterize(screen, faces, depth, width)
        height = interpolate(buffers, faces, (vertices[:, 2:] - low[2]).astype(np.float32))[..., 0].astype(float)
        heights.append(np.where(buffers.face_index >= 0, height, np.nan))
    between = heights[0] - heights[1]
    columns = np.flatnonzero(np.isfinite(between).any(0))
    if len(columns) == 0:  # one lip lies wholly before the other: nothing to measure, nothing to close
        x = np.array([low[0], high[0]])
        return LipSlit(x, np.full(2, used[:, 1].mean()), np.full(2, used[:, 2].mean()), np.zeros(2))
    row = np.nanargmin(between[:, columns], 0)
    gap = between[row, columns]
    middle = 0.5 * (heights[0] + heights[1])[row, columns] + low[2]
    # Columns where the lips do not overlap take the values of their neighbours.
    every = np.arange(columns[0], columns[-1] + 1)
    y = np.interp(every, columns, low[1] + (row + 0.5) * _CELL)
    x = low[0] + (every + 0.5) * _CELL
    return LipSlit(x, y, np.interp(every, columns, middle), np.interp(every, columns, gap))
