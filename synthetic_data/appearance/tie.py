"""A tie: a band that hangs from the collar of a shirt and goes under the fronts of a jacket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from synthetic_data.appearance import collars, cutting
from synthetic_data.appearance.clipping import clip
from synthetic_data.appearance.pieces import grid_patch, thicken
from synthetic_data.identity import GarmentSpec
from synthetic_data.surface import Patch, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float

_TUCK = 0.018
"""How far a tie is followed under the jacket, metres; nobody sees farther."""
_UNDER = 0.0038
"""How far a tie under a jacket lies below the jacket's outside, metres: the cloth's thickness and a little air."""


def on_breast(
    shell: Patch, places: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points, normals and template points of the breast at some template (x, z)."""
    template = shell.attributes["template"]
    front = np.flatnonzero(template[:, 1] < 0.01)
    distance, nearest = KDTree(template[front][:, [0, 2]]).query(places, k=6)
    weight = np.exp(-((distance / 0.006) ** 2)) + 1e-9
    weight = (weight / weight.sum(1, keepdims=True))[..., None]
    normals = vertex_normals(shell.vertices, shell.faces)

    def mean(values: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "n 3"]:
        return (values[front[nearest]] * weight).sum(1)

    return mean(shell.vertices), unit(mean(normals)), mean(template)


def make_tie(shirt: Patch, jacket: Patch, spec: GarmentSpec) -> Patch:
    """The tie over the shirt, under the shell of the jacket; rows of texture coordinates run down it."""
    rows, columns = 44, 17
    t = np.linspace(0, 1, rows)
    half = np.interp(t, [0, 0.10, 0.16, 0.2, 1], [0.017, 0.014, 0.010, 0.013, 0.034])
    across = np.linspace(-1, 1, columns)
    z = -0.108 - 0.18 * t
    places = np.stack([np.outer(half, across), np.repeat(z[:, None], columns, 1)], -1).reshape(-1, 2)
    points, normals, template = on_breast(shirt, places)
    bulge = np.interp(t, [0, 0.06, 0.15, 0.2, 1], [0.008, 0.013, 0.010, 0.006, 0.006])[:, None]
    lift = 0.003 + bulge * (1 - 0.5 * across**2)
    middle = on_breast(shirt, np.stack([0 * z, z], 1))[0]
    points = points.reshape(rows, columns, 3)
    points[..., 1] = np.minimum(points[..., 1], middle[:, None, 1] + 0.004)
    points = points + lift[..., None] * normals.reshape(rows, columns, 3)
    points[:, :, 1] = ndimage.gaussian_filter1d(points[:, :, 1], 1.5, axis=0, mode="nearest")
    covered = cutting.neckline(template, spec)
    # Farther from the jacket's edge the tie may stand out more.
    room = 0.8 * np.maximum(-0.004 - covered, 0) - _UNDER
    flat = collars.keep_below(jacket, points.reshape(-1, 3), room)
    sheet = grid_patch(flat.reshape(rows, columns, 3)[:, ::-1])
    covered = covered.reshape(rows, columns)[:, ::-1].ravel()
    return thicken(clip(sheet, _TUCK - covered), 0.0012)
