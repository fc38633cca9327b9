"""Texture coordinates for models that come without: from an OBJ file beside the model, or from a cylinder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.correspondence import compact
from backend.body_model.model_files import unusable

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Bool, Float, Int

_STRIP = 0.24
"""Height of the strip at the bottom of the layout for eyeballs (a square at either end) and hidden surfaces."""
_PICTURE = 1024
"""Pixels in which overlaps are looked for."""


def cylindrical_layout(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], parts: dict[str, Int[np.ndarray, " n"]]
) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]]:
    """A layout without overlaps: the skin unrolled around the vertical axis, with its seam at the back.

    What another surface hides from the cylinder (folds of the ears, the backs of the lids, the inside of the mouth)
    is cut out and packed into the strip below, between the eyeballs.
    """
    uv_faces = np.zeros_like(faces)
    skin = parts["skin"]
    used, local = compact(faces[skin])
    unrolled, corners, wide = _unroll(vertices[used], local)
    hidden = wide.copy()
    hidden[~wide] = _hidden(vertices[used], local[~wide], unrolled[corners[~wide]])
    uvs = [unrolled * [1, 1 - _STRIP] + [0, _STRIP]]
    uv_faces[skin[~hidden]] = corners[~hidden]
    count = len(unrolled)
    if hidden.any():
        packed, packed_faces = _pack(vertices[used], local[hidden])
        uvs.append(packed * [1 - 2 * _STRIP, 0.96 * _STRIP] + [_STRIP, 0.0])
        uv_faces[skin[hidden]] = packed_faces + count
        count += len(packed)
    for part, left in (("eye_left", 0.0), ("eye_right", 1 - _STRIP)):
        if part in parts:
            used, local = compact(faces[parts[part]])
            uvs.append(flat_ball(vertices[used]) * _STRIP + [left, 0.0])
            uv_faces[parts[part]] = local + count
            count += len(used)
    kept, uv_faces = compact(uv_faces)
    return np.concatenate(uvs)[kept], uv_faces


def _hidden(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"], corners: Float[np.ndarray, "F 3 2"]
) -> Bool[np.ndarray, " F"]:
    """Triangles that the cylinder sees from behind, or, be it in one pixel, behind another one."""
    from backend.meshing.rasterizer import rasterize

    pixels = corners.reshape(-1, 2) * [_PICTURE, -_PICTURE] + [0, _PICTURE]
    depth = 10.0 - np.hypot(points[faces, 0], points[faces, 1]).ravel()
    sheet = np.arange(len(pixels)).reshape(-1, 3)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    doubled_area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    placed = np.c_[pixels, depth]
    seen = np.zeros(len(faces), int)
    front = rasterize(placed, sheet, _PICTURE, _PICTURE).face_index
    np.add.at(seen, front[front >= 0], 1)
    # Each pixel centre that a triangle holds, whether it is seen there or not: from the back, the order is reversed.
    behind = rasterize(np.c_[pixels, 20.0 - depth], sheet, _PICTURE, _PICTURE).face_index
    covered = (front >= 0) & (behind != front)
    hidden = (doubled_area <= 0) | (seen == 0)
    hidden[behind[covered]] = True
    return hidden


def _pack(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, "F 3"]]:
    """Charts in the unit square (xatlas)."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(points.astype(np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding = 512, 2
    atlas.generate(pack_options=packing)
    _, packed_faces, layout = atlas[0]
    return layout.astype(float), packed_faces.astype(np.int64)


def flat_ball(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """A ball that looks along -Y, flattened with its front in the middle and its back at the rim."""
    direction = points - (points.min(0) + points.max(0)) / 2
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    radius = np.arccos(np.clip(-direction[:, 1], -1, 1)) / np.pi
    around = np.arctan2(direction[:, 2], direction[:, 0])
    return 0.5 + 0.48 * np.stack([radius * np.cos(around), radius * np.sin(around)], 1)


def _unroll(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, "F 3"], Bool[np.ndarray, " F"]]:
    """Angle and height in [0, 1], corners, and which triangles are too wide to lie flat, around the axis.

    Triangles across the seam get corners of their own beyond the right edge.
    """
    u = np.arctan2(points[:, 0], -points[:, 1]) / (2 * np.pi) + 0.5
    turned = np.where(u < 0.5, u + 1, u)
    across = np.ptp(u[faces], axis=1) > 0.5
    wide = np.minimum(np.ptp(u[faces], axis=1), np.ptp(turned[faces], axis=1)) > 0.2
    beyond = (across & ~wide)[:, None] & (u[faces] < 0.5)
    doubled = np.unique(faces[beyond])
    second = np.zeros(len(points), int)
    second[doubled] = len(points) + np.arange(len(doubled))
    corners = np.where(beyond, second[faces], faces)
    layout = np.stack([np.concatenate([u, u[doubled] + 1]), np.concatenate([points[:, 2], points[doubled, 2]])], axis=1)
    low, high = layout.min(0), layout.max(0)
    return (layout - low) / np.maximum(high - low, 1e-9), corners, wide


def layout_from_obj(path: Path, faces: Int[np.ndarray, "F 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates of an OBJ whose vertices are those of `faces`, in any order of triangles and corners.

    Raises `MaquetteError` when the file is not such an OBJ.
    """
    uvs: list[tuple[float, float]] = []
    corners: dict[tuple[int, ...], dict[int, int]] = {}
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["vt"]:
                uvs.append((float(words[1]), float(words[2])))
            elif words[:1] == ["f"]:
                pairs = {int(v) - 1: int(t) - 1 for v, t in (word.split("/")[:2] for word in words[1:])}
                corners[tuple(sorted(pairs))] = pairs
        uv_faces = np.array([[corners[tuple(sorted(face))][v] for v in face] for face in faces.tolist()])
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise unusable(path, "its triangles are not those of the model") from error
    if not len(uvs) or uv_faces.min() < 0 or uv_faces.max() >= len(uvs):
        raise unusable(path, "its texture coordinates are incomplete")
    return np.array(uvs), uv_faces
