"""The colour of hair as a plain number, for strands that are not rendered with pigments."""

from __future__ import annotations

import numpy as np

from synthetic_data.identity import Colour, HairSpec

_HAIR = np.array(
    [
        (0.0, 0.62, 0.60, 0.56),
        (0.15, 0.50, 0.36, 0.20),
        (0.35, 0.27, 0.165, 0.085),
        (0.6, 0.095, 0.052, 0.028),
        (0.8, 0.034, 0.020, 0.013),
        (1.0, 0.008, 0.007, 0.006),
    ]
)
"""Pigment, and the linear RGB that a head of such hair has: white, blond, brown, dark brown, black."""
_GINGER = np.array([1.35, 0.72, 0.42])


def hair_colour(spec: HairSpec) -> Colour:
    """Linear RGB of a head of hair under even light."""
    natural = np.array([np.interp(spec.melanin, _HAIR[:, 0], _HAIR[:, k]) for k in (1, 2, 3)])
    # Red pigment shows most in hair that is neither white nor black.
    share = spec.redness * np.clip(4 * spec.melanin * (1 - spec.melanin), 0, 1)
    colour = natural * (1 + share * (_GINGER - 1))
    colour = colour + spec.dye * (0.8 * np.array(spec.dye_colour) - colour)
    return (float(colour[0]), float(colour[1]), float(colour[2]))
