"""Eyeballs: a polar grid about the gaze axis, so that iris and pupil have crisp, exactly known edges."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from backend.body_model.base import EyeSphere
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.identity import EyeSpec

if TYPE_CHECKING:
    from jaxtyping import Float, Int

IRIS_RADIUS = 0.0060
"""Metres; nearly the same in all adults."""
_CORNEA_BULGE = 0.0005
_RINGS, _SECTORS = 100, 96


@dataclasses.dataclass(frozen=True)
class Eyeball:
    """Vertices with linear RGBA colours, and quads."""

    vertices: Float[np.ndarray, "V 3"]
    colours: Float[np.ndarray, "V 4"]
    quads: Int[np.ndarray, "Q 4"]


def gaze_rotation(gaze: tuple[float, float]) -> Float[np.ndarray, "3 3"]:
    """Turns -Y into the direction with this yaw (towards +X) and pitch (up), radians."""
    yaw, pitch = gaze
    return (Rotation.from_euler("z", yaw) * Rotation.from_euler("x", -pitch)).as_matrix()


def make_eyeball(sphere: EyeSphere, gaze: tuple[float, float], spec: EyeSpec) -> Eyeball:
    """The eyeball that fills `sphere` and looks along `gaze`."""
    rng = np.random.default_rng(spec.noise_seed)
    limbus = np.arcsin(IRIS_RADIUS / sphere.radius)
    # Most rings lie on the iris, where the colour changes.
    polar = np.concatenate([np.linspace(0, 1.6 * limbus, 64), np.linspace(1.6 * limbus, np.pi, _RINGS - 63)[1:]])
    sector = np.arange(_SECTORS) / _SECTORS * 2 * np.pi
    theta, phi = np.meshgrid(polar, sector, indexing="ij")
    direction = np.stack([np.sin(theta) * np.cos(phi), -np.cos(theta), np.sin(theta) * np.sin(phi)], -1)
    radius = sphere.radius + _CORNEA_BULGE * np.exp(-((theta / limbus) ** 4))
    vertices = (direction * radius[..., None]).reshape(-1, 3) @ gaze_rotation(gaze).T + sphere.centre

    colours = _colours(theta, np.sin(theta) * sphere.radius / IRIS_RADIUS, spec, rng)
    ring, column = np.meshgrid(np.arange(_RINGS - 1), np.arange(_SECTORS), indexing="ij")
    following = (column + 1) % _SECTORS
    corners = [(ring, column), (ring, following), (ring + 1, following), (ring + 1, column)]
    quads = np.stack([r * _SECTORS + c for r, c in corners], -1).reshape(-1, 4)
    return Eyeball(vertices, np.c_[colours.reshape(-1, 3), np.ones(len(vertices))], quads)


def _colours(
    theta: Float[np.ndarray, "r s"], iris_fraction: Float[np.ndarray, "r s"], spec: EyeSpec, rng: np.random.Generator
) -> Float[np.ndarray, "r s 3"]:
    """Pupil, fibrous iris with a dark rim, and a sclera that reddens towards the back."""
    u = np.where(theta < np.pi / 2, iris_fraction, 9.0)[..., None]
    fibres = np.interp(np.arange(_SECTORS), np.linspace(0, _SECTORS, 49), np.resize(rng.random(48), 49))[None, :, None]
    fibres = 0.6 * fibres + 0.4 * rng.random((1, _SECTORS, 1))
    iris = np.array(spec.iris) * (0.55 + 0.9 * fibres) * (0.75 + 0.5 * np.exp(-(((u - 0.55) / 0.25) ** 2)))
    iris = iris * (1 - 0.7 * smoothstep(0.80, 1.0, u)) * smoothstep(spec.pupil - 0.03, spec.pupil + 0.05, u)
    veins = rng.random((1, _SECTORS, 1))
    redness = np.array([0.2, 1.0, 0.9]) * smoothstep(1.3, 2.6, u) * (0.12 + 0.15 * veins)
    sclera = np.array([0.56, 0.51, 0.48]) * (1 - redness)
    colour = iris + (sclera - iris) * smoothstep(0.94, 1.06, u)
    return np.where(theta[..., None] > 1.5, np.array([0.6, 0.3, 0.25]), colour)
