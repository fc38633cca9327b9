"""Pictures of an avatar by the software rasteriser: texture colour under a soft studio light, or as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import rasterize, sample_texture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Float32, Int, Num

    from backend.radiance.cameras import Camera
    from backend.rigging.avatar import AvatarPart


class _Light(NamedTuple):
    """A directional light fixed to the camera: where it stands (x right, y up, z towards the viewer), and how strong.

    `wrap` lets it reach round the horizon of the surface as a large lamp does: 0 is a point, 1 half the sky.
    """

    position: tuple[float, float, float]
    strength: float
    wrap: float


_KEY = _Light((-0.55, 0.6, 0.8), 0.72, 0.25)
_LIGHTS = (_KEY, _Light((0.9, 0.05, 0.5), 0.26, 0.6), _Light((0.5, 0.7, -0.8), 0.35, 0.1))
_SKY, _GROUND = 0.38, 0.2  # ambient light from straight above and straight below
_REFLECTANCE = 0.04  # of skin, eyes and cloth alike, seen head-on


def render(
    parts: Sequence[AvatarPart],
    camera: Camera,
    *,
    vertices: Sequence[Float[np.ndarray, "V 3"]] | None = None,
    supersample: int = 2,
    background: tuple[float, float, float] | None = (0.84, 0.84, 0.85),
    lighting: Literal["studio", "unlit"] = "studio",
) -> Float32[np.ndarray, "H W C"]:
    """A picture of `parts` through `camera`, sRGB in [0, 1].

    Args:
        parts: what to draw, depth-tested together. Faces that turn their back are left out unless the material is
            double-sided, and texels with alpha below one half are holes if it has an alpha mask, as in glTF.
        camera: gives the size of the picture.
        vertices: per part, replaces the neutral vertices, e.g. by `pose_avatar`.
        supersample: samples per pixel along each side; they are averaged in linear light.
        background: sRGB colour, or None for a picture with straight alpha in a fourth channel.
        lighting: "studio" has soft lamps that stay with the camera; "unlit" shows the texture's own colours.
    """
    fine = camera.resized(camera.width * supersample, camera.height * supersample)
    light = np.zeros((fine.height, fine.width, 4), np.float32)  # linear RGB and coverage
    nearest = np.full((fine.height, fine.width), np.inf, np.float32)
    for index, part in enumerate(parts):
        _draw(part, part.mesh.vertices if vertices is None else vertices[index], fine, lighting, light, nearest)
    light = _block_mean(light, supersample)
    coverage = light[..., 3:]
    if background is not None:
        behind = to_linear(np.array(background, np.float32))
        return to_srgb(light[..., :3] + (1 - coverage) * behind)
    return np.concatenate([to_srgb(light[..., :3] / np.maximum(coverage, 1e-6)), coverage], -1)


def to_linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light of sRGB-encoded values in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB encoding in [0, 1] of linear light; brighter light is cut off."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def shrink_texture(texture: Num[np.ndarray, "H W C"], factor: int) -> Num[np.ndarray, "h w C"]:
    """The mean of blocks of `factor` x `factor` texels, in the texture's own type; a rest at the end is cut off."""
    height, width = texture.shape[0] // factor, texture.shape[1] // factor
    if factor == 1 or min(height, width) == 0:
        return texture
    mean = _block_mean(texture[: height * factor, : width * factor], factor)
    return np.round(mean).astype(np.uint8) if texture.dtype == np.uint8 else mean


def _block_mean(image: Num[np.ndarray, "H W C"], factor: int) -> Float32[np.ndarray, "h w C"]:
    total = np.zeros((image.shape[0] // factor, image.shape[1] // factor, image.shape[2]), np.float32)
    for y, x in np.ndindex(factor, factor):  # numpy's mean over two short axes takes ten times as long
        total += image[y::factor, x::factor]
    return total / factor**2


def _draw(
    part: AvatarPart,
    vertices: Float[np.ndarray, "V 3"],
    camera: Camera,
    lighting: str,
    light: Float32[np.ndarray, "H W 4"],
    nearest: Float32[np.ndarray, "H W"],
) -> None:
    """Draw one part over `light` and `nearest`, in place."""
    mesh, material = part.mesh, part.material
    in_camera = camera.to_camera(vertices)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = in_camera @ camera.intrinsics.T
        pixels = np.column_stack([pixels[:, :2] / pixels[:, 2:], in_camera[:, 2]])
    window = _window(pixels, camera)
    if window is None:
        return
    rows, columns = window
    pixels[:, :2] -= [columns.start, rows.start]
    texture = _texture_for(part, pixels)

    def texels(face: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n C"]:
        return sample_texture(texture, _blend(mesh.uvs, mesh.uv_faces.take(face, 0), weights))

    def is_solid(face: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        return texels(face, weights)[:, 3] >= 0.5

    buffers = rasterize(
        pixels,
        mesh.faces,
        rows.stop - rows.start,
        columns.stop - columns.start,
        cull="none" if material.double_sided else "back",
        visible=is_solid if material.alpha_mask else None,
    )
    won = buffers.depth < nearest[window]
    nearest[window][won] = buffers.depth[won]
    won_pixels = np.flatnonzero(won)
    face = buffers.face_index.ravel().take(won_pixels)
    weights = buffers.barycentric.reshape(-1, 3).take(won_pixels, 0)
    colour = np.ones((len(face), 4), np.float32)
    colour[:, :3] = to_linear(texels(face, weights)[:, :3])
    if lighting == "studio":
        normals = vertex_normals(vertices, mesh.faces) @ camera.world_to_camera[:3, :3].T * [1, -1, -1]
        normal = _blend(normals, mesh.faces.take(face, 0), weights)
        if material.double_sided:
            seen_from_inside = _signed_area(pixels[mesh.faces, :2]) > 0
            normal[seen_from_inside[face]] *= -1
        colour[:, :3] = _studio(colour[:, :3], normal, material.roughness)
    light[window][won] = colour


def _window(pixels: Float[np.ndarray, "V 3"], camera: Camera) -> tuple[slice, slice] | None:
    """The rows and columns of the picture that a part can reach, or None when it is out of sight."""
    in_front = pixels[pixels[:, 2] > 0, :2]
    if not len(in_front):
        return None
    left, top = np.floor(np.clip(in_front.min(0), 0, [camera.width, camera.height])).astype(int).tolist()
    right, bottom = np.ceil(np.clip(in_front.max(0), 0, [camera.width, camera.height])).astype(int).tolist()
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def _blend(
    attribute: Float[np.ndarray, "V C"], corners: Int[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n C"]:
    attribute, weights = attribute.astype(np.float32), weights.astype(np.float32)
    first, second, third = (weights[:, k, None] * attribute.take(corners[:, k], 0) for k in range(3))
    return first + second + third


def _texture_for(part: AvatarPart, pixels: Float[np.ndarray, "V 3"]) -> Num[np.ndarray, "H W C"]:
    """The part's texture at about the resolution of the picture, so that fine detail does not flicker."""
    height, width, _ = part.texture.shape
    on_screen = np.abs(_signed_area(pixels[part.mesh.faces, :2]))
    in_texture = np.abs(_signed_area((part.mesh.uvs * np.array([width, height]))[part.mesh.uv_faces]))
    drawn = np.isfinite(on_screen) & (on_screen > 1e-3)
    if not drawn.any():
        return part.texture
    # A low quantile: the sides of the head are seen at a slant, and would ask for less detail than the face needs.
    ratio = np.sort(np.sqrt(in_texture[drawn] / on_screen[drawn]))
    texels_per_pixel = ratio[len(ratio) // 4]
    return shrink_texture(part.texture, 2 ** int(max(np.log2(texels_per_pixel), 0)))


def _signed_area(corners: Float[np.ndarray, "F 3 2"]) -> Float[np.ndarray, " F"]:
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return 0.5 * (ax * by - ay * bx)


def _studio(
    colour: Float32[np.ndarray, "n 3"], normal: Float32[np.ndarray, "n 3"], roughness: float
) -> Float32[np.ndarray, "n 3"]:
    """Linear light that leaves the surface towards the viewer; `normal` has x right, y up, z towards the viewer."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    diffuse = _GROUND + (_SKY - _GROUND) * (0.5 + 0.5 * normal[:, 1])
    for lamp in _LIGHTS:
        towards = np.array(lamp.position, np.float32) / np.float32(np.linalg.norm(lamp.position))
        diffuse += lamp.strength * np.maximum((normal @ towards + lamp.wrap) / (1 + lamp.wrap), 0)
    # Blinn and Phong's highlight of the key light, with the exponent that goes with a GGX roughness.
    towards = np.array(_KEY.position) / np.linalg.norm(_KEY.position)
    half = towards + np.array([0, 0, 1])
    half = (half / np.linalg.norm(half)).astype(np.float32)
    exponent = 2 / max(roughness, 0.1) ** 4
    gloss = _REFLECTANCE * _KEY.strength * (exponent + 2) / 8 * np.maximum(normal @ half, 0) ** exponent
    return colour * diffuse[:, None] + gloss[:, None]
