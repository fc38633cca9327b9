"""The size of the iris in a picture: the one thing in a face whose true size is nearly the same in everybody.

The landmark network places its iris rings in proportion to the eye, so they say nothing about size. Here the limbus,
the edge between iris and white, is looked for in the picture itself: edge points along rays, then the circle through
most of them. Its centre is free, for lids cover part of an iris that looks up or down, and the network then places
the centre in the middle of what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares

if TYPE_CHECKING:
    from jaxtyping import Float

# Iris centre and the four ring landmarks of the person's right and left eye.
_EYES = ((468, (469, 470, 471, 472)), (473, (474, 475, 476, 477)))
# To both sides and down (y points down), where upper lid and lashes seldom are.
_ANGLES = np.radians(np.concatenate([np.linspace(-35, 75, 37), np.linspace(105, 215, 37)]))
_RAYS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_SMALLEST = 4.0
"""Irises with a smaller radius, in pixels, are not measured."""
_TOLERANCE = 0.06
"""Distance from the circle, in radii, from which a point counts as something else (a lid, a lash, a reflection)."""
_CENTRE_SD = np.array([0.35, 0.7])
"""How far, in radii, the circle's centre is expected from the network's, across and along the opening of the lids."""


def iris_radius(image: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 2"]) -> float | None:
    """Radius of the irises in pixels as it appears (foreshortened), or None where the picture does not show it."""
    grey = image.astype(np.float32).mean(2)
    radii = []
    for centre, ring in _EYES:
        middle = landmarks[centre]
        guess = float(np.mean([np.linalg.norm(landmarks[i] - middle) for i in ring]))
        radius = _limbus(grey, middle, guess) if guess >= _SMALLEST else None
        if radius is not None:
            radii.append(radius)
    if not radii or (len(radii) == 2 and abs(radii[0] - radii[1]) > 0.15 * max(radii)):
        return None
    return float(np.mean(radii))


def _limbus(grey: Float[np.ndarray, "H W"], middle: Float[np.ndarray, "2"], guess: float) -> float | None:
    """Radius of the limbus near a circle about `middle`; None unless both its sides are clear."""
    circle = np.append(middle, guess)
    points = np.zeros((0, 2))
    for _ in range(3):  # the better the centre, the better the rays meet the edge at right angles
        points, strength = _edge_points(grey, circle[:2], guess)
        if len(points) < 14:
            return None

        def residuals(
            c: np.ndarray, points: np.ndarray = points, strength: np.ndarray = strength
        ) -> Float[np.ndarray, " n"]:
            off = (np.linalg.norm(points - c[:2], axis=1) - c[2]) * strength
            shift = (c[:2] - middle) / guess / _CENTRE_SD
            return np.append(np.arctan(off / (_TOLERANCE * guess)), shift)

        circle = least_squares(residuals, circle).x
    near = np.abs(np.linalg.norm(points - circle[:2], axis=1) - circle[2]) < _TOLERANCE * guess
    right = int((points[near, 0] > circle[0]).sum())
    both_sides = min(right, int(near.sum()) - right) >= 5
    return float(circle[2]) if both_sides and near.mean() > 0.4 else None


def _edge_points(
    grey: Float[np.ndarray, "H W"], middle: Float[np.ndarray, "2"], guess: float
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Steepest step from dark to bright on every ray from `middle`, where there is a clear one, and its weight."""
    steps = np.linspace(0.65, 1.5, 86) * guess
    at = middle + steps[None, :, None] * _RAYS[:, None]
    profile = ndimage.map_coordinates(grey, [at[..., 1] - 0.5, at[..., 0] - 0.5], order=1, mode="nearest")
    step = (steps[1] - steps[0]) / guess
    slope = ndimage.gaussian_filter1d(profile, 0.07 / step, axis=1, order=1)
    best = slope[:, 3:-3].argmax(1) + 3
    ray = np.arange(len(best))
    height = slope[ray, best] / step * 0.2
    clear = (height > 0.03) & (best > 4) & (best < len(steps) - 5)
    return at[ray, best][clear], np.sqrt(np.minimum(height[clear], 0.15) / 0.15)
