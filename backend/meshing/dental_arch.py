"""The curve on which teeth stand, measured from a head."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

from backend.meshing.lips import lip_slit

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.body_model.base import BodyModel

PUPIL_DISTANCE = 0.0625
"""Distance between the eyes of the head that tooth sizes are given for, metres."""
_ANGLE = np.radians(84)  # half of the arch, seen from its centre
_SLENDER = 0.9  # lips and cheeks of body models lie on the strips; real teeth leave room for them
_FORWARD = 1.035  # lips rest on teeth, but strips keep back; the depth of the arch may grow by this factor
_ROOM = 0.0016  # between crowns and lining, metres
_BEHIND_LIPS = 0.0075  # from the slit between the lips to the teeth, where a model has none, metres
_BELOW_SLIT = 0.0021  # upper edges hang this far below the slit between closed lips, metres
_HALF_WIDTH, _DEPTH = 0.030, 0.047  # of an arch, where a model has none, metres
_TILT = 0.12  # rise of the biting plane towards the back, where a model has none


@dataclasses.dataclass(frozen=True)
class Arch:
    """Outline of a row of teeth seen from above, symmetric about x = `centre[0]`, and the plane in which they bite.

    In polar coordinates around `centre` (x, y), angle 0 to the front: ``radius = a + b angle^2 + c angle^4``, stretched
    sideways by `stretch`. The biting plane has height `bite` (metres) at the front and rises by `tilt` per metre
    backwards. `scale` is the size of the head as a factor on tooth sizes.
    """

    centre: Float[np.ndarray, "2"]
    coefficients: Float[np.ndarray, "3"]
    stretch: float
    bite: float
    tilt: float
    scale: float

    def inside(self, distance: float) -> Arch:
        """The arch that lies `distance` metres inside this one."""
        return dataclasses.replace(self, coefficients=self.coefficients - [distance, 0, 0])

    def point(self, angle: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 2"]:
        """Outline at polar angles (radians, positive to the character's left)."""
        radius = np.polynomial.polynomial.polyval(np.asarray(angle) ** 2, self.coefficients)
        return self.centre + np.stack([self.stretch * radius * np.sin(angle), -radius * np.cos(angle)], -1)

    def frame(self, along: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
        """Point and outward unit normal at signed arc lengths from the middle (metres, positive to the left).

        Beyond the last sampled point the outline goes on straight.
        """
        angle = np.linspace(-1.15 * _ANGLE, 1.15 * _ANGLE, 601)
        line = self.point(angle)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        length -= length[300]
        tangent = np.gradient(line, length, axis=0)
        point, direction = (np.stack([np.interp(along, length, v) for v in a.T], 1) for a in (line, tangent))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        beyond = along - np.clip(along, length[0], length[-1])
        return point + beyond[:, None] * direction, np.stack([direction[:, 1], -direction[:, 0]], 1)

    def height(self, y: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Height of the biting plane, metres."""
        front = self.centre[1] - self.coefficients[0]
        return self.bite + self.tilt * (y - front)


def measure_arch(model: BodyModel, neutral: Float[np.ndarray, "V 3"]) -> Arch:
    """The arch of the upper teeth: the shape of the model's own strip of teeth, fitted to lips and cheeks.

    A model without teeth gets an arch of usual shape behind its lips.
    """
    left, right = model.eye_spheres(neutral)
    scale = float(np.linalg.norm(left.centre - right.centre) / PUPIL_DISTANCE)
    middle = lip_slit(model, neutral).middle
    strip = model.topology.parts.get("teeth_upper", np.zeros(0, int))
    if len(strip):
        points = neutral[np.unique(model.topology.faces[strip])]
        centre = np.array([0.5 * (points[:, 0].min() + points[:, 0].max()), points[:, 1].max()])
        coefficients, tilt = _outline(points, centre), _bite_tilt(points)
    else:
        centre = np.array([middle[0], middle[1] + (_BEHIND_LIPS + _DEPTH) * scale])
        angle = np.linspace(0, np.pi / 2, 20)
        radius = scale / np.hypot(np.sin(angle) / (_HALF_WIDTH / _SLENDER), np.cos(angle) / _DEPTH)
        coefficients, tilt = _fit(angle, radius), _TILT
    arch = Arch(centre, coefficients, _SLENDER, middle[2] - _BELOW_SLIT * scale, tilt, scale)
    return _clear(arch, neutral, model.topology.faces[model.topology.parts["skin"]])


def first_hit(
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
) -> Float[np.ndarray, " n"]:
    """Ray parameter of the first triangle that each ray meets, +inf for none (Moeller and Trumbore)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    to_b, to_c = b - a, c - a
    result = np.full(len(origins), np.inf)
    for k, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
        across = np.cross(direction, to_c)
        determinant = (to_b * across).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            offset = origin - a
            u = (offset * across).sum(1) / determinant
            around = np.cross(offset, to_b)
            v = around @ direction / determinant
            distance = (to_c * around).sum(1) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
        result[k] = distance[hit].min(initial=np.inf)
    return result


def lining_distance(
    arch: Arch,
    angle: Float[np.ndarray, " n"],
    height: Float[np.ndarray, " n"],
    neutral: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
) -> Float[np.ndarray, " n"]:
    """Horizontal distance from the centre of the arch, towards its outline at `angle`, to the first skin or lining."""
    towards = arch.point(angle) - arch.centre
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    origins = np.column_stack([np.broadcast_to(arch.centre, (len(angle), 2)), height])
    near = np.abs(neutral[faces][..., 2].mean(1) - height.mean()) < 0.04
    return first_hit(origins, np.column_stack([towards, 0 * height]), neutral, faces[near])


def _outline(points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3"]:
    """Fit the polar polynomial to the outer border of the points seen from above."""
    outer = points[ConvexHull(points[:, :2]).vertices, :2]
    angle = np.arctan2(outer[:, 0] - centre[0], centre[1] - outer[:, 1])
    order = np.argsort(angle)
    outer, angle = outer[order], angle[order]
    # Dense, so that long edges of the hull count as much as short ones.
    at = np.linspace(-_ANGLE, _ANGLE, 61)
    outer = np.stack([np.interp(at, angle, column) for column in outer.T], 1) - centre
    return _fit(np.arctan2(outer[:, 0], -outer[:, 1]), np.linalg.norm(outer, axis=1))


def _fit(angle: Float[np.ndarray, " n"], radius: Float[np.ndarray, " n"]) -> Float[np.ndarray, "3"]:
    return np.linalg.lstsq(np.stack([angle**0, angle**2, angle**4], 1), radius, rcond=None)[0]


def _bite_tilt(points: Float[np.ndarray, "n 3"]) -> float:
    """Rise of the lower border of the upper teeth per metre backwards."""
    y = points[:, 1]
    edges = np.linspace(y.min(), y.max() + 1e-9, 7)
    lowest = np.array([points[(y >= a) & (y < b)][:, 2].min() for a, b in itertools.pairwise(edges)])
    return float(np.clip(np.polyfit(0.5 * (edges[:-1] + edges[1:]), lowest, 1)[0], 0.0, 0.25))


def _clear(arch: Arch, neutral: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Arch:
    """Bring the front of the arch to the lips and draw its sides in, until crowns just do not touch the lining."""
    angle, level = (
        a.ravel() for a in np.meshgrid(np.linspace(-_ANGLE, _ANGLE, 23), np.array([-0.008, -0.003, 0.002, 0.007]))
    )
    outline = arch.point(angle)
    room = lining_distance(arch, angle, arch.height(outline[:, 1]) + level * arch.scale, neutral, faces) - _ROOM
    share = room / np.linalg.norm(outline - arch.centre, axis=1)
    front = np.abs(angle) < np.radians(40)
    depth, width = min(share[front].min(), _FORWARD), min(share[~front].min(), 1.0)
    # Only the front may move, so that the back of the arch stays where the jaw is.
    return dataclasses.replace(arch, coefficients=arch.coefficients * depth, stretch=arch.stretch * width / depth)
