"""Camera rigs around the head; the cameras themselves are `backend.radiance.cameras.Camera`."""

from __future__ import annotations

import numpy as np

from backend.radiance.cameras import Camera

ORBIT_DISTANCE, ORBIT_FOV = 1.35, 21.5
"""Metres and degrees: the head with the top of the shoulders fills the picture."""


def orbit_rig(size: int, count: int = 24) -> list[Camera]:
    """`count` views all round the head for training, from -20 to 50 degrees of elevation, the face seen most often."""
    turns = (np.arange(count) * 0.6180339887498949) % 1.0
    # Denser in front: half of the views lie within 60 degrees of the face.
    signed = 2 * turns - 1
    azimuths = 180 * np.sign(signed) * np.abs(signed) ** 1.4
    elevations = -20 + 70 * ((np.arange(count) + 0.5) / count) ** 1.3
    return [
        Camera.orbit(float(a), float(e), distance=ORBIT_DISTANCE, fov_degrees=ORBIT_FOV, size=size)
        for a, e in zip(azimuths, elevations, strict=True)
    ]


def held_out_rig(size: int, count: int = 8) -> list[Camera]:
    """Views between those of `orbit_rig`, for measuring."""
    azimuths = np.arange(count) * 360 / count + 22.5
    elevations = np.where(np.arange(count) % 2 == 0, 5.0, 20.0)
    return [
        Camera.orbit(float(a), float(e), distance=ORBIT_DISTANCE, fov_degrees=ORBIT_FOV, size=size)
        for a, e in zip(azimuths, elevations, strict=True)
    ]


def portrait_camera(
    size: int,
    *,
    azimuth_degrees: float = 0.0,
    elevation_degrees: float = 0.0,
    fov_degrees: float = 22.0,
    distance: float = 1.1,
) -> Camera:
    """A portrait of head and neck: at the default distance and angle 43 cm are in the picture."""
    return Camera.orbit(
        azimuth_degrees,
        elevation_degrees,
        distance=distance,
        fov_degrees=fov_degrees,
        size=size,
        target=(0.0, -0.02, -0.01),
    )
