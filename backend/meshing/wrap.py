"""Draw the body's surface towards a field's level set, within bounds and only where a field can know better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.mesh import vertex_normals
from backend.meshing.texture import harmonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

_REACH = 0.006
_STEPS = 13


def wrap_offsets(
    occupancy: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    freedom: Float[np.ndarray, " V"],
    limit: float = _REACH,
) -> Float[np.ndarray, "V 3"]:
    """Smooth displacement along the normals, at most `limit` metres, to where the occupancy crosses one half.

    `freedom` in [0, 1] holds vertices in place (lids, lips, inside of the mouth: finer than any texel of the field).
    A vertex from which no crossing is found within reach follows its neighbours.
    """
    used = np.unique(faces)
    normals = vertex_normals(vertices, faces)[used]
    steps = np.linspace(-limit, limit, _STEPS)
    points = vertices[used, None] + steps[:, None] * normals[:, None]
    value = occupancy(points.reshape(-1, 3)).reshape(len(used), -1) - 0.5
    crosses = (value[:, :-1] > 0) & (value[:, 1:] <= 0)
    found = crosses.any(1)
    # Of several crossings the one nearest to the vertex.
    middle = np.abs(steps[:-1] + steps[1:])
    k = np.where(crosses, middle, np.inf).argmin(1)
    row = np.arange(len(used))
    inside, outside = value[row, k], value[row, k + 1]
    t = steps[k] + (steps[1] - steps[0]) * inside / np.maximum(inside - outside, 1e-9)
    strength = np.zeros(len(vertices))
    target = np.zeros(len(vertices))
    strength[used] = np.where(found, 0.02 + 0.02 * freedom[used], 0) + 2.0 * (1 - freedom[used])
    target[used] = np.where(found, t, 0) * (0.02 + 0.02 * freedom[used]) * freedom[used]
    smooth = harmonic(faces, strength, target[:, None], len(vertices))[:, 0]
    offsets = np.zeros_like(vertices)
    offsets[used] = np.clip(smooth[used] * freedom[used], -limit, limit)[:, None] * normals
    return offsets
