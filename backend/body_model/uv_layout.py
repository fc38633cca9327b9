"""Texture coordinates for models that come without: from an OBJ file beside the model, or from a cylinder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.model_files import unusable

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

_EYE_TILE = 0.14
"""Edge of the square that each eyeball gets, at the bottom of the layout."""


def cylindrical_layout(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], parts: dict[str, Int[np.ndarray, " n"]]
) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]]:
    """A simple layout: the skin unrolled around the vertical axis with its seam at the back, eyes in squares below.

    Surfaces that lie behind each other as seen from the axis (the inside of the mouth, folds of the ear) overlap.
    """
    uvs: list[np.ndarray] = []
    uv_faces = np.zeros_like(faces)
    count = 0
    for part, indices in parts.items():
        used, local = np.unique(faces[indices], return_inverse=True)
        local = local.reshape(-1, 3)
        points = vertices[used]
        if part.startswith("eye"):
            layout, corners = _disc(points), local
            layout = layout * _EYE_TILE + [0.0 if part == "eye_left" else 1 - _EYE_TILE, 0.0]
        else:
            layout, corners = _unroll(points, local)
            layout = layout * [1, 1 - _EYE_TILE] + [0, _EYE_TILE]
        uvs.append(layout)
        uv_faces[indices] = corners + count
        count += len(layout)
    return np.concatenate(uvs), uv_faces


def _disc(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """A ball that looks along -Y, flattened with its front in the middle and its back at the rim."""
    direction = points - (points.min(0) + points.max(0)) / 2
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    radius = np.arccos(np.clip(-direction[:, 1], -1, 1)) / np.pi
    around = np.arctan2(direction[:, 2], direction[:, 0])
    return 0.5 + 0.48 * np.stack([radius * np.cos(around), radius * np.sin(around)], 1)


def _unroll(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, "F 3"]]:
    """Angle and height, in [0, 1]; triangles across the seam get corners of their own beyond the right edge."""
    u = np.arctan2(points[:, 0], -points[:, 1]) / (2 * np.pi) + 0.5
    across = np.ptp(u[faces], axis=1) > 0.5
    beyond = across[:, None] & (u[faces] < 0.5)
    doubled = np.unique(faces[beyond])
    second = np.zeros(len(points), int)
    second[doubled] = len(points) + np.arange(len(doubled))
    corners = np.where(beyond, second[faces], faces)
    u = np.concatenate([u, u[doubled] + 1])
    height = np.concatenate([points[:, 2], points[doubled, 2]])
    layout = np.stack([u, height], 1)
    low, high = layout.min(0), layout.max(0)
    return (layout - low) / np.maximum(high - low, 1e-9), corners


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
