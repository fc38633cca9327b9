"""The software rasteriser, in numpy: visibility, texture baking, preview and turntable all use this one.

Triangles are cut into the rows of pixels they cover, and the rows into pixels, by array expressions over all triangles
at once, so the cost follows the number of covered pixels whatever the shape of the triangles. A pixel belongs to a
triangle when its centre (at +0.5) lies inside or on an edge; where several triangles hold it, the nearest wins, and
the lowest face index among equals. There is no randomness and no thread: same input, same bytes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float, Float32, Int, Int32, Num

# Pixels: a centre this close to an edge counts as on it, so that no chart border loses a texel. A row needs less: along
# an edge that is almost level a small step up or down is a large step to the side.
_EDGE_TOLERANCE, _ROW_TOLERANCE = 1e-6, 1e-9
_SMALLEST_AREA = 1e-12  # square pixels; thinner triangles have no weights to speak of
_CHUNK = 1 << 20  # candidate pixels held in memory at a time


class RasterBuffers(NamedTuple):
    """What a camera sees: face index (-1 for none), barycentric weights (sum to one, or all zero), depth (or +inf)."""

    face_index: Int32[np.ndarray, "H W"]
    barycentric: Float32[np.ndarray, "H W 3"]
    depth: Float32[np.ndarray, "H W"]


class UVBuffers(NamedTuple):
    """Which face each texel belongs to (-1 for none), and where in it."""

    face_index: Int32[np.ndarray, "H W"]
    barycentric: Float32[np.ndarray, "H W 3"]


def rasterize(
    vertices_px: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    height: int,
    width: int,
    *,
    near: float = 1e-3,
    cull: Literal["none", "back", "front"] = "none",
    visible: Callable[[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]], Bool[np.ndarray, " n"]] | None = None,
) -> RasterBuffers:
    """Nearest triangle, perspective-correct barycentric weights and planar depth of each pixel.

    Args:
        vertices_px: pixel coordinates u (right), v (down) with centres at +0.5, and the planar camera depth
            (`Camera.project` and the last coordinate of `Camera.to_camera`), any unit.
        faces: triangles. Those with a corner nearer than `near`, with a coordinate that is not finite, or without
            area on the screen are left out: there is no clipping.
        height, width: size of the picture, pixels.
        near: depth of the near plane.
        cull: leave out the faces that turn their back (or front) to the camera; counter-clockwise is the front.
        visible: called with faces and perspective-correct weights of points, tells which are there; the others are
            holes that show what lies behind. This is how cut-out textures are drawn.
    """
    vertices_px = np.asarray(vertices_px, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_depth = 1.0 / vertices_px[:, 2]
    points = vertices_px[:, :2]
    area = _doubled_area(points, faces)
    in_front = vertices_px[:, 2] >= near
    keep = in_front[faces[:, 0]] & in_front[faces[:, 1]] & in_front[faces[:, 2]]
    keep &= np.isfinite(area) & (np.abs(area) > _SMALLEST_AREA)
    if cull != "none":
        keep &= (area < 0) if cull == "back" else (area > 0)  # v points down, which mirrors the orientation
    kept = np.flatnonzero(keep)

    # Inverse depth is what runs linearly over the screen; the nearest pixel has the largest.
    nearest = np.zeros(height * width)
    face_index = np.full(height * width, -1, np.int32)
    for row_face, pixel, value in _covered_pixels(points, faces[kept], height, width, inverse_depth):
        assert value is not None
        if visible is not None:
            unhidden = np.flatnonzero(value > nearest[pixel])
            row_face, pixel, value = row_face[unhidden], pixel[unhidden], value[unhidden]
            weights, _ = _perspective(
                _barycentric(kept[row_face], pixel, width, points, faces), inverse_depth[faces[kept[row_face]]]
            )
            there = visible(kept[row_face], weights)
            row_face, pixel, value = row_face[there], pixel[there], value[there]
        before = nearest[pixel]
        np.maximum.at(nearest, pixel, value)
        wins = (value == nearest[pixel]) & (value > before)
        # With repeated indices numpy keeps the last value: backwards, that is the lowest face index.
        face_index[pixel[wins][::-1]] = kept[row_face[wins]][::-1]
    covered = np.flatnonzero(face_index >= 0)
    face = face_index[covered]
    barycentric = np.zeros((height * width, 3), np.float32)
    depth = np.full(height * width, np.inf, np.float32)
    weights = _barycentric(face, covered, width, points, faces)
    barycentric[covered], depth[covered] = _perspective(weights, inverse_depth[faces[face]])
    shape = (height, width)
    return RasterBuffers(face_index.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape))


def rasterize_uv(
    uvs: Float[np.ndarray, "T 2"], uv_faces: Int[np.ndarray, "F 3"], size: int | tuple[int, int]
) -> UVBuffers:
    """Face and barycentric weights of each texel centre of a texture (row 0 = top = v 1).

    `size` is the side of a square texture, or (height, width), in texels. Overlapping charts go to the lowest face.
    """
    height, width = (size, size) if isinstance(size, int) else size
    points = np.asarray(uvs, np.float64) * [width, -height] + [0.0, height]
    area = _doubled_area(points, uv_faces)
    kept = np.flatnonzero(np.isfinite(area) & (np.abs(area) > _SMALLEST_AREA))
    face_index = np.full(height * width, -1, np.int32)
    for row_face, pixel, _ in _covered_pixels(points, uv_faces[kept], height, width):
        free = face_index[pixel] < 0
        face_index[pixel[free][::-1]] = kept[row_face[free]][::-1]
    covered = np.flatnonzero(face_index >= 0)
    barycentric = np.zeros((height * width, 3), np.float32)
    barycentric[covered] = _barycentric(face_index[covered], covered, width, points, uv_faces)
    return UVBuffers(face_index.reshape(height, width), barycentric.reshape(height, width, 3))


def interpolate(
    buffers: RasterBuffers | UVBuffers, faces: Int[np.ndarray, "F 3"], attribute: Num[np.ndarray, "V C"]
) -> Float32[np.ndarray, "H W C"]:
    """A per-vertex attribute at each pixel; zero where there is no face.

    `faces` index `attribute`: give `mesh.uv_faces` with `mesh.uvs`, whatever faces the buffers were made with.
    """
    attribute = np.asarray(attribute, np.float32)
    result = np.zeros((*buffers.face_index.shape, attribute.shape[1]), np.float32)
    covered = buffers.face_index >= 0
    corners = faces[buffers.face_index[covered]]
    weights = buffers.barycentric[covered]
    result[covered] = sum(weights[:, k, None] * attribute.take(corners[:, k], 0) for k in range(3))
    return result


def sample_texture(texture: Num[np.ndarray, "H W C"], uv: Float[np.ndarray, "*n 2"]) -> Float32[np.ndarray, "*n C"]:
    """Bilinear samples of a texture at `uv` (u right, v up, row 0 = v 1), clamped at the border.

    8-bit textures are returned in [0, 1]; others keep their range.
    """
    height, width, channels = texture.shape
    uv = np.asarray(uv, np.float32)
    x = np.clip(uv[..., 0] * np.float32(width) - np.float32(0.5), 0, width - 1)
    y = np.clip((1 - uv[..., 1]) * np.float32(height) - np.float32(0.5), 0, height - 1)
    left, top = x.astype(np.int64), y.astype(np.int64)
    step_right, step_down = (left < width - 1).astype(np.int64), (top < height - 1) * width
    fx, fy = (x - left.astype(np.float32))[..., None], (y - top.astype(np.float32))[..., None]
    texels, corner = texture.reshape(-1, channels), top * width + left
    rows = []
    for at in (corner, corner + step_down):
        left_texel, right_texel = (texels.take(k, 0).astype(np.float32, copy=False) for k in (at, at + step_right))
        rows.append(left_texel + (right_texel - left_texel) * fx)
    result = rows[0] + (rows[1] - rows[0]) * fy
    return result / np.float32(255) if texture.dtype == np.uint8 else result


def _doubled_area(points: Float[np.ndarray, "V 2"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " F"]:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _expand(counts: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """For n groups of `counts` members: the group of each member, and its number within the group."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)


def _covered_pixels(
    points: Float[np.ndarray, "V 2"],
    faces: Int[np.ndarray, "F 3"],
    height: int,
    width: int,
    value: Float[np.ndarray, " V"] | None = None,
) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"] | None]]:
    """Yield (face, flat pixel index, `value` interpolated over the screen) of covered pixels, faces ascending."""
    # Corners from top to bottom: neighbours then compute their shared edge with the same operations, and no pixel can
    # fall between them.
    order = np.argsort(points[faces, 1], axis=1, kind="stable")
    faces = np.take_along_axis(faces, order, 1)
    top, bottom = points[faces[:, 0], 1], points[faces[:, 2], 1]
    first_row = np.ceil(np.clip(top - 0.5 - _ROW_TOLERANCE, 0, height)).astype(np.int64)
    last_row = np.floor(np.clip(bottom - 0.5 + _ROW_TOLERANCE, -1, height - 1)).astype(np.int64)
    row_counts = np.maximum(last_row - first_row + 1, 0)
    # A chunk ends where its bounding boxes hold enough pixels; the rows cover less than that.
    a, b, c = (np.clip(points[faces[:, k], 0], 0, width) for k in range(3))
    box_width = np.maximum(np.maximum(a, b), c) - np.minimum(np.minimum(a, b), c) + 2
    chunk = np.cumsum(row_counts * box_width) // _CHUNK
    bounds = np.flatnonzero(np.diff(chunk, prepend=-1, append=np.inf))
    for start, stop in itertools.pairwise(bounds):
        face, row = _expand(row_counts[start:stop])
        face += start
        row += first_row[face]
        left, right, left_value, right_value = _row_spans(points, faces[face], row + 0.5, value)
        first = np.ceil(np.clip(left - 0.5 - _EDGE_TOLERANCE, 0, width)).astype(np.int64)
        last = np.floor(np.clip(right - 0.5 + _EDGE_TOLERANCE, -1, width - 1)).astype(np.int64)
        span, column = _expand(np.maximum(last - first + 1, 0))
        column += first[span]
        pixel_value = None
        if value is not None:
            slope = (right_value - left_value) / np.maximum(right - left, 1e-12)
            # The ends of the span bound the value, however thin the triangle.
            pixel_value = left_value[span] + np.clip(column + 0.5 - left[span], 0, (right - left)[span]) * slope[span]
        yield face[span], row[span] * width + column, pixel_value


def _row_spans(
    points: Float[np.ndarray, "V 2"],
    corners: Int[np.ndarray, "R 3"],
    v: Float[np.ndarray, " R"],
    value: Float[np.ndarray, " V"] | None,
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"], Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Where the horizontal line at `v` enters and leaves each triangle: u left, u right, value left, value right.

    `corners` run from top to bottom: one side of the triangle is the edge from the first to the last, the other is bent
    at the second. A level edge is taken by way of its two ends.
    """
    above, middle, below = corners.T
    bent_below = v + _ROW_TOLERANCE >= points[middle, 1]
    ends = []
    for a, b in ((above, below), (np.where(bent_below, middle, above), np.where(bent_below, below, middle))):
        (u, start), (u_end, stop) = points[a].T, points[b].T
        t = np.clip((v - start) / np.maximum(stop - start, 1e-300), 0, 1)
        ends.append((u + t * (u_end - u), 0 * t if value is None else value[a] + t * (value[b] - value[a])))
    (u, at), (other_u, other_at) = ends
    swap = u > other_u
    return np.minimum(u, other_u), np.maximum(u, other_u), np.where(swap, other_at, at), np.where(swap, at, other_at)


def _barycentric(
    face: Int[np.ndarray, " n"],
    pixel: Int[np.ndarray, " n"],
    width: int,
    points: Float[np.ndarray, "V 2"],
    faces: Int[np.ndarray, "F 3"],
) -> Float[np.ndarray, "n 3"]:
    """Screen-space barycentric weights of the centres of flat `pixel` indices in their faces."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        to_b, to_c = (b - a), (c - a)
        area = _doubled_area(points, faces)[:, None]
        weight_b = np.stack([to_c[:, 1], -to_c[:, 0]], 1) / area
        weight_c = np.stack([-to_b[:, 1], to_b[:, 0]], 1) / area
    x, y = pixel % width + 0.5 - a[face, 0], pixel // width + 0.5 - a[face, 1]
    second = np.clip(x * weight_b[face, 0] + y * weight_b[face, 1], 0, 1)
    third = np.clip(x * weight_c[face, 0] + y * weight_c[face, 1], 0, 1)
    first = np.clip(1 - second - third, 0, 1)
    return np.stack([first, second, third], 1) / (first + second + third)[:, None]


def _perspective(
    weights: Float[np.ndarray, "n 3"], inverse_depth: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """Weights on the surface instead of on the screen, and the depth there."""
    weights = weights * inverse_depth
    total = weights[:, 0] + weights[:, 1] + weights[:, 2]
    return weights / total[:, None], 1 / total
