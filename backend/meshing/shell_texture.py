"""Textures of hair and garment shells: the picture where it shows them, tone and strands or weave elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import interpolate, rasterize, rasterize_uv
from backend.meshing.texture import (
    View,
    fill_outside,
    harmonic,
    project_view,
    sample_image,
    sample_nearest,
    smoothstep,
    visibility,
)
from backend.meshing.texture import facing as facing_cosine

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from backend.meshing.mesh import Mesh

_INSET = 0.012
"""Metres below the visible skin where the inner side of a shell still belongs to its border."""
_TOLD = 0.3
"""Cosine to the camera from which on the picture says where the border of a shell runs."""
_CARRIED = 0.03
"""Strength of a shell's own border against the picture's, which is carried on a little beyond what it shows."""
_BARE = {"hair": 0.35, "garment": 0.45}
"""How bare a pixel may be for the shell to show: hair ends where the picture of its ends lies on the skin."""
_FRAY = 0.3
"""How far single hairs reach over or fall short of a border that nobody has seen, as a part of `inside`."""
_RELIEF = (0.75, 1.2)
"""Least and greatest factor by which a field makes a shell darker or lighter than the picture's tone."""


def bake_shell(
    mesh: Mesh,
    view: View,
    mask: Float[np.ndarray, "H W"],
    bare: Float[np.ndarray, "H W"],
    body: Int[np.ndarray, "f 3"],
    occluders: Int[np.ndarray, "F 3"],
    name: str,
    size: int,
    generator: np.random.Generator,
    thickness: float,
    inside: Float[np.ndarray, " V"],
    expected: Float[np.ndarray, "V 3"] | None = None,
) -> UInt8[np.ndarray, "S S 4"]:
    """Texture of a shell. Its alpha is zero where the picture shows the bare person below the shell, and beyond the
    border of the shell where it shows nothing.

    Args:
        mesh: the shell; its faces index `view.vertices`, which holds body and shells as posed in the picture.
        mask: soft mask of the pixels that show this shell.
        bare: soft mask of the pixels that show the person without hair or garment.
        body: triangles of the body alone.
        occluders: every triangle that can hide the shell.
        name: ``"hair"`` adds strands where the picture shows nothing, ``"garment"`` a fine weave.
        thickness: typical height of the shell over the skin, metres.
        inside: in [0, 1], how far vertices lie inside the border of the shell, which runs where it is one half.
        expected: colours that somebody believes the vertices to have. Only their light and dark is believed, where the
            picture shows nothing: the hue is the picture's.
    """
    seen_view = View(view.image, np.clip((mask - 0.6) / 0.3, 0, 1), view.camera, view.vertices)
    projection = project_view(mesh, seen_view, occluders, size)
    tone = _tone(mesh, seen_view, occluders, mask)
    if expected is not None:
        tone = np.clip(tone * _relief(mesh, expected)[:, None], 0, 1)
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    base = interpolate(buffers, mesh.faces, tone.astype(np.float32))
    points = interpolate(buffers, mesh.faces, view.vertices.astype(np.float32))[covered]
    contrast = _contrast(view.image, mask)
    if name == "hair":
        # Short hair shows ends, not lengths.
        length = smoothstep(0.008, 0.022, np.array(thickness))
        pattern = length * strands(points, generator) + (1 - length) * stubble(points, generator)
    else:
        pattern = 0.35 * weave(points, generator)
    filled = base.copy()
    filled[covered] *= 1 + contrast * pattern[:, None]
    trust = ndimage.gaussian_filter(projection.weight, size / 340)
    trust = np.minimum(trust, projection.weight)[..., None]
    result = projection.colour * trust + filled * (1 - trust)
    alpha = np.ones((*covered.shape, 1), np.float32)
    both = np.concatenate([points, view.vertices])
    told, shown = (np.split(each, [len(points)]) for each in _cut_out(both, view, bare, body, _BARE[name]))
    # Beside what it tells, its border goes over into the other one.
    strength = told[1] + _CARRIED
    target = (told[1] * shown[1] + _CARRIED * inside)[:, None]
    carried = harmonic(mesh.faces, strength, target, len(view.vertices)).astype(np.float32)
    within = interpolate(buffers, mesh.faces, carried)[covered][:, 0]
    frayed = within + (_FRAY * np.clip(pattern, -1.5, 1.5) * (1 - within) if name == "hair" else 0)
    alpha[covered, 0] = np.where(told[0], shown[0], np.clip((frayed - 0.5) * 4 + 0.5, 0, 1))
    result = fill_outside(np.concatenate([result, alpha], -1), covered)
    return (np.clip(result, 0, 1) * 255 + 0.5).astype(np.uint8)


def _cut_out(
    points: Float[np.ndarray, "n 3"],
    view: View,
    bare: Float[np.ndarray, "H W"],
    body: Int[np.ndarray, "f 3"],
    limit: float,
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For which points of a shell the picture tells whether they show, since they lie before the visible body; and
    their alpha: the shell is cut along the border of what is less than `limit` bare.

    Where the body turns away from the camera, the picture does not tell. The inner side of the shell and its rim are
    cut like the outer side, or they would stay around the hole.
    """
    camera = view.camera
    screen = np.c_[camera.project(view.vertices), camera.to_camera(view.vertices)[:, 2]]
    drawn = rasterize(screen, body, camera.height, camera.width)
    a, b, c = (view.vertices[body[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    cosine = facing_cosine(view, (a + b + c) / 3, normals) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    turned = np.where(drawn.face_index >= 0, cosine[drawn.face_index], 0.0).astype(np.float32)
    pixels = camera.project(points)
    below = sample_nearest(np.where(turned > _TOLD, drawn.depth, -1).astype(np.float32), pixels, -1.0)
    before = camera.to_camera(points)[:, 2] < below + _INSET
    # Steeper than the mask, so that bilinear lookups keep the border where it is.
    shown = np.clip((limit - sample_image(bare[..., None], pixels)[:, 0]) * 4 + 0.5, 0, 1)
    return before, shown


def _tone(
    mesh: Mesh,
    view: View,
    occluders: Int[np.ndarray, "F 3"],
    mask: Float[np.ndarray, "H W"],
) -> Float[np.ndarray, "V 3"]:
    """Smooth colour per vertex: what the picture shows, carried around by a harmonic interpolation."""
    used = np.unique(mesh.faces)
    sigma = 0.008 * view.camera.intrinsics[0, 0] / view.camera.to_camera(view.vertices[used]).mean(0)[2]
    solid = np.clip((mask - 0.6) / 0.3, 0, 1)
    total = ndimage.gaussian_filter(solid, sigma)
    smooth = np.stack([ndimage.gaussian_filter(view.image[..., c] * solid, sigma) for c in range(3)], -1)
    smooth /= np.maximum(total, 1e-4)[..., None]
    pixels = view.camera.project(view.vertices)
    normals = vertex_normals(view.vertices, mesh.faces)[used]
    weight = np.zeros(len(view.vertices))
    weight[used] = visibility(view, occluders, view.vertices[used]) * smoothstep(
        0.05, 0.4, facing_cosine(view, view.vertices[used], normals)
    )
    weight *= np.clip(sample_image(total[..., None], pixels)[:, 0] * 2 - 0.6, 0, 1)
    colour = sample_image(smooth, pixels)
    chosen = view.image[mask > 0.7]
    typical = np.median(chosen, 0) if len(chosen) > 50 else np.median(colour[used], 0)
    strength = weight + 4e-3
    # The unseen side is lit less than the side that the photographer chose.
    return harmonic(mesh.faces, strength, weight[:, None] * colour + 4e-3 * 0.92 * typical, len(view.vertices))


def _relief(mesh: Mesh, expected: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    """How much lighter or darker than usual each vertex is believed to be, as a factor around 1."""
    grey = expected.mean(1) + 0.02  # nearly black hair has no relief worth speaking of
    return np.clip(grey / np.median(grey[np.unique(mesh.faces)]), *_RELIEF)


def _contrast(image: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]) -> float:
    """Relative deviation of the fine structure inside the mask."""
    inside = mask > 0.8
    if inside.sum() < 200:
        return 0.15
    grey = image.mean(2)
    detail = grey - ndimage.gaussian_filter(grey, 6)
    return float(np.clip(detail[inside].std() / max(grey[inside].mean(), 0.05), 0.03, 0.35))


def strands(points: Float[np.ndarray, "n 3"], generator: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Streaks that run down from the crown: fine across, slow along; mean 0, deviation about 1."""
    x, y, z = points[:, 0], points[:, 1] - 0.02, points[:, 2] - 0.03
    around = np.arctan2(x, -y)
    # Near the crown the streaks fan out from a point; further down they fall straight.
    down = np.arctan2(np.hypot(x, y), z)
    wave = 0.05 * np.sin(7 * down + 3 * np.sin(2 * around))
    return _streaks(np.stack([around + wave, down], 1), (60.0, 2.5), generator) + 0.6 * _streaks(
        np.stack([around + wave, down], 1), (190.0, 5.0), generator
    )


def stubble(points: Float[np.ndarray, "n 3"], generator: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Fine grain of cropped hair, the same in all directions."""
    a = np.stack([points[:, 0] + 0.7 * points[:, 1], points[:, 2] - 0.4 * points[:, 1]], 1)
    b = np.stack([points[:, 1] - 0.6 * points[:, 0], points[:, 2] + 0.5 * points[:, 0]], 1)
    return 0.7 * _streaks(a, (500.0, 500.0), generator) + 0.7 * _streaks(b, (330.0, 330.0), generator)


def weave(points: Float[np.ndarray, "n 3"], generator: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Soft, even noise of cloth."""
    return _streaks(np.stack([points[:, 0] + points[:, 1], points[:, 2]], 1), (400.0, 400.0), generator)


def _streaks(
    position: Float[np.ndarray, "n 2"], frequency: tuple[float, float], generator: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Value noise of unit deviation on a table that repeats, at the given cycles per unit of each coordinate."""
    table = generator.standard_normal((512, 64)).astype(np.float32)
    scaled = position * np.array(frequency)
    # `around` runs over 2 pi: the table must close there.
    closes = max(1, round(2 * np.pi * frequency[0]))
    rows = np.floor(scaled[:, 0]).astype(int)
    columns = np.floor(scaled[:, 1]).astype(int)
    u = scaled[:, 0] - rows
    v = scaled[:, 1] - columns
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)

    def at(i: int, j: int) -> np.ndarray:
        return table[((rows + i) % closes) % 512, (columns + j) % 64]

    return (at(0, 0) * (1 - u) + at(1, 0) * u) * (1 - v) + (at(0, 1) * (1 - u) + at(1, 1) * u) * v
