"""Eyeballs: spheres that turn, with the iris of the portrait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.mesh import Mesh

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from backend.body_model.base import EyeSphere
    from backend.meshing.texture import View

IRIS_RADIUS = 0.0059
"""Radius of the human iris, metres; it hardly varies between people."""
_PUPIL_SHARE = 0.38
_CORNEA_BULGE = 0.0005
# Exponent of the texture's radius in the polar angle: below one, the iris gets more texels than the back.
_RADIAL_POWER = 0.75


def eyeball_mesh(sphere: EyeSphere, rings: int = 20, segments: int = 32) -> Mesh:
    """A sphere looking along -Y, with its front pole in the middle of the texture and rings around it."""
    # Denser rings at the front, where the outline of the iris lies.
    theta = np.pi * (np.arange(1, rings) / rings) ** 1.3
    phi = 2 * np.pi * np.arange(segments) / segments
    polar = np.concatenate([[0.0], np.repeat(theta, segments), [np.pi]])
    around = np.concatenate([[0.0], np.tile(phi, rings - 1), [0.0]])
    direction = np.stack([np.sin(polar) * np.cos(around), -np.cos(polar), np.sin(polar) * np.sin(around)], 1)
    radius = sphere.radius + _CORNEA_BULGE * np.exp(-((polar / 0.35) ** 4))
    vertices = sphere.centre + direction * radius[:, None]
    last = len(vertices) - 1
    faces = []
    for k in range(segments):
        j = (k + 1) % segments
        faces.append((0, 1 + k, 1 + j))
        for ring in range(rings - 2):
            a, b = 1 + ring * segments + k, 1 + ring * segments + j
            c, d = a + segments, b + segments
            faces += [(a, c, d), (a, d, b)]
        faces.append((last - segments + j, last - segments + k, last))
    faces = np.array(faces)
    # Counter-clockwise from outside.
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    outward = ((np.cross(b - a, c - a)) * ((a + b + c) / 3 - sphere.centre)).sum(1)
    faces[outward < 0] = faces[outward < 0][:, ::-1]
    # The back pole is the whole rim of the texture: each of its triangles reads the rim beside it.
    middle = phi + np.pi / segments
    rim = np.stack([0.5 + 0.5 * np.cos(middle), 0.5 + 0.5 * np.sin(middle)], 1)
    uv_faces = faces.copy()
    uv_faces[uv_faces == last] = last + np.arange(segments)
    return Mesh(vertices, faces, np.concatenate([texture_position(direction[:-1]), rim]), uv_faces)


def texture_position(direction: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Texture coordinates of directions from the centre of an eye that looks along -Y."""
    polar = np.arccos(np.clip(-direction[:, 1], -1, 1))
    radius = 0.5 * (polar / np.pi) ** _RADIAL_POWER
    around = np.arctan2(direction[:, 2], direction[:, 0])
    return np.stack([0.5 + radius * np.cos(around), 0.5 + radius * np.sin(around)], 1)


def _texel_directions(size: int) -> Float[np.ndarray, "S S 3"]:
    """Inverse of `texture_position` at texel centres (row 0 on top)."""
    u, v = np.meshgrid((np.arange(size) + 0.5) / size - 0.5, 0.5 - (np.arange(size) + 0.5) / size)
    radius = np.clip(np.hypot(u, v) / 0.5, 0, 1)
    polar = np.pi * radius ** (1 / _RADIAL_POWER)
    around = np.arctan2(v, u)
    return np.stack([np.sin(polar) * np.cos(around), -np.cos(polar), np.sin(polar) * np.sin(around)], -1)


def eye_texture(
    sphere: EyeSphere,
    rotation: Float[np.ndarray, "3 3"],
    view: View,
    opening: Float[np.ndarray, "H W"],
    generator: np.random.Generator,
    size: int = 512,
) -> UInt8[np.ndarray, "S S 3"]:
    """Texture of one eyeball: iris and white in the portrait's colours, with the portrait itself where it shows them.

    Args:
        rotation: from looking along -Y to the gaze of the portrait.
        opening: soft mask of the visible eyeball in the picture (between the lids).
    """
    from scipy import ndimage

    from backend.meshing.texture import sample_image

    direction = _texel_directions(size)
    polar = np.arccos(np.clip(-direction[..., 1], -1, 1))
    share = polar * sphere.radius / IRIS_RADIUS  # 1 at the rim of the iris
    points = sphere.centre + sphere.radius * direction.reshape(-1, 3) @ rotation.T
    pixels = view.camera.project(points)
    # The rim of the opening carries lashes and the shadow of the lids.
    unit = IRIS_RADIUS * view.camera.intrinsics[0, 0] / view.camera.to_camera(sphere.centre)[2]
    inner = ndimage.gaussian_filter(
        ndimage.grey_erosion(opening, footprint=_disc(max(1, int(0.10 * unit)))), 0.06 * unit
    )
    trust = sample_image(inner[..., None], pixels)[:, 0].reshape(size, size)
    towards = (points - sphere.centre) @ (view.camera.centre - sphere.centre)
    trust = trust * (towards.reshape(size, size) > 0)
    colour = sample_image(view.image, pixels).reshape(size, size, 3)

    def typical(mask: np.ndarray, fallback: tuple[float, float, float], quantile: float) -> np.ndarray:
        chosen = colour[mask & (trust > 0.5)]
        if len(chosen) < 40:
            return np.array(fallback)
        order = np.argsort(chosen.mean(1))
        middle = order[int(len(order) * (quantile - 0.2)) : int(len(order) * (quantile + 0.2)) + 1]
        return chosen[middle].mean(0)

    iris = typical((share > 0.5) & (share < 0.9), (0.30, 0.22, 0.16), 0.5)
    white = typical((share > 1.25) & (share < 2.2), (0.80, 0.77, 0.75), 0.5)
    spokes = _ring_noise(direction, generator)
    model = white * (1 - 0.10 * np.clip(share - 1.6, 0, 2)[..., None])
    pink = np.clip((share - 2.2) / 2.0, 0, 1)[..., None]
    model = model * (1 - pink) + pink * white * [0.95, 0.62, 0.58]
    ring = iris * (0.72 + 0.5 * spokes * np.clip(1.1 - np.abs(share - 0.62) / 0.5, 0, 1))[..., None]
    ring = ring * (1 - 0.65 * np.clip((share - 0.80) / 0.2, 0, 1))[..., None]
    inside = np.clip((1.06 - share) / 0.12, 0, 1)[..., None]
    model = model * (1 - inside) + ring * inside
    pupil = np.clip((_PUPIL_SHARE + 0.05 - share) / 0.09, 0, 1)[..., None]
    model = model * (1 - pupil) + pupil * np.minimum(iris * 0.15, 0.04)
    result = model * (1 - trust[..., None]) + colour * trust[..., None]
    return (np.clip(result, 0, 1) * 255 + 0.5).astype(np.uint8)


def _ring_noise(direction: Float[np.ndarray, "S S 3"], generator: np.random.Generator) -> Float[np.ndarray, "S S"]:
    """Radial streaks in [0, 1] around the front pole."""
    around = np.arctan2(direction[..., 2], direction[..., 0])
    table = generator.random(96)
    position = (around / (2 * np.pi) + 0.5) * 96
    low = position.astype(int) % 96
    weight = position - np.floor(position)
    return table[low] * (1 - weight) + table[(low + 1) % 96] * weight


def _disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius
