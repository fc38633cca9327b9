"""Texture layout of the skin: the body model's own islands, upright, with the larger share for the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FACE_SHARE = 0.66
"""Fraction of the width and height of the texture that the face takes."""
_STRIP = 0.10
"""Height of the strip at the bottom that holds every island but the head's."""
_MARGIN = 0.004


def face_focused_uvs(
    uvs: Float[np.ndarray, "T 2"],
    uv_faces: Int[np.ndarray, "F 3"],
    faces: Int[np.ndarray, "F 3"],
    template: Float[np.ndarray, "V 3"],
    face_region: Float[np.ndarray, " V"],
) -> Float[np.ndarray, "T 2"]:
    """A new position for every texture coordinate; the islands keep their shape but for a smooth stretch per axis.

    The island with most of the face is turned upright (up in the texture is up on the head, right is the character's
    left) and stretched so that the face fills `FACE_SHARE` of the square. The other islands share a strip below.
    """
    island = _islands(uv_faces, len(uvs))
    on_face = face_region[faces].min(1) > 0.5
    head = np.bincount(island[uv_faces[on_face, 0]], minlength=island.max() + 1).argmax()
    position = np.zeros((len(uvs), 3))
    position[uv_faces] = template[faces]

    result = np.zeros_like(uvs)
    main = island == head
    oriented = _upright(uvs[main], position[main])
    face_uvs = np.zeros(len(uvs), bool)
    face_uvs[uv_faces[on_face]] = True
    low, high = oriented.min(0), oriented.max(0)
    unit = (oriented - low) / (high - low)
    for axis, (start, size) in enumerate(((_MARGIN, 1 - 2 * _MARGIN), (_STRIP, 1 - _STRIP - _MARGIN))):
        values = unit[face_uvs[main], axis]
        a, b = np.percentile(values, 1), np.percentile(values, 99)
        share = max(FACE_SHARE, b - a)
        rest = 1 - share
        before = rest * a / max(a + 1 - b, 1e-9)
        knots = np.array([[0, 0], [a, before], [b, before + share], [1, 1]])
        knots = knots[np.r_[True, np.diff(knots[:, 0]) > 1e-6]]
        stretched = PchipInterpolator(*knots.T)(unit[:, axis])
        result[main, axis] = start + size * np.clip(stretched, 0, 1)

    others = [k for k in range(island.max() + 1) if k != head and (island == k).any()]
    boxes = [uvs[island == k].max(0) - uvs[island == k].min(0) for k in others]
    height = _STRIP - 2 * _MARGIN
    if others:
        # Every island as high as the strip if the strip is long enough, all equally smaller if not.
        widths = np.array([box[0] / max(box[1], 1e-9) * height for box in boxes])
        widths = np.clip(widths, 0.02, 0.4)
        factor = min(1.0, (1 - _MARGIN * (len(others) + 1)) / widths.sum())
        x = _MARGIN
        for k, width in zip(others, widths, strict=True):
            values = uvs[island == k]
            unit = (values - values.min(0)) / np.maximum(values.max(0) - values.min(0), 1e-9)
            result[island == k] = unit * [width * factor, height * factor] + [x, _MARGIN]
            x += width * factor + _MARGIN
    return result


def _islands(uv_faces: Int[np.ndarray, "F 3"], count: int) -> Int[np.ndarray, " T"]:
    edges = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    graph = sparse.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1]


def _upright(uvs: Float[np.ndarray, "n 2"], position: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Quarter turn and mirror of an island after which u grows with +X and v with +Z of the front of the head."""
    front = position[:, 1] < np.median(position[:, 1])
    x, z = position[front, 0], position[front, 2]
    best, turned = -np.inf, uvs
    for swap in (False, True):
        base = uvs[:, ::-1] if swap else uvs
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            candidate = base * signs
            score = np.corrcoef(candidate[front, 0], x)[0, 1] + np.corrcoef(candidate[front, 1], z)[0, 1]
            if score > best:
                best, turned = score, candidate
    return turned
