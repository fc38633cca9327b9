"""The size of the iris in a picture: the one thing in a face whose true size is nearly the same in everybody.

The landmark network places its iris rings in proportion to the eye, so they say nothing about size. Here the limbus,
the edge between iris and white, is looked for in the picture itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Float

# Iris centre and the four ring landmarks of the person's right and left eye.
_EYES = ((468, (469, 470, 471, 472)), (473, (474, 475, 476, 477)))
_ANGLES = np.radians(np.concatenate([np.linspace(-28, 28, 15), np.linspace(152, 208, 15)]))
_SMALLEST = 4.0
"""Irises with a smaller radius, in pixels, are not measured."""


def iris_radius(image: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 2"]) -> float | None:
    """Radius of the irises in pixels, or None where the picture does not show it clearly.

    Along rays to both sides, which lids seldom cover, the steepest step from dark to bright is taken; distances to
    opposite sides are averaged, so that an error of the centre cancels.
    """
    grey = image.astype(np.float32).mean(2)
    radii = []
    for centre, ring in _EYES:
        middle = landmarks[centre]
        guess = float(np.mean([np.linalg.norm(landmarks[i] - middle) for i in ring]))
        if guess < _SMALLEST:
            continue
        steps = np.linspace(0.65, 1.5, 69) * guess
        rays = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
        points = middle + steps[None, :, None] * rays[:, None]
        profile = ndimage.map_coordinates(grey, [points[..., 1] - 0.5, points[..., 0] - 0.5], order=1, mode="nearest")
        step = (steps[1] - steps[0]) / guess
        slope = ndimage.gaussian_filter1d(profile, 0.07 / step, axis=1, order=1)
        best = slope[:, 3:-3].argmax(1) + 3
        height = slope[np.arange(len(best)), best] / step * 0.2
        clear = (height > 0.03) & (best > 4) & (best < len(steps) - 5)
        found = steps[best]
        right, left = found[:15][clear[:15]], found[15:][clear[15:]]
        if len(right) >= 5 and len(left) >= 5:
            radii.append((np.median(right) + np.median(left)) / 2)
    if not radii or (len(radii) == 2 and abs(radii[0] - radii[1]) > 0.15 * max(radii)):
        return None
    return float(np.mean(radii))
