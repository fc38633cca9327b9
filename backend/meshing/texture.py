"""Textures of the skin: the portrait where it saw the surface, a smooth continuation of its tone everywhere else.

The skin's colour is split in two. The *tone* is smooth and lives on the vertices: what the portrait shows, carried on
over the unseen surface by a harmonic interpolation on the mesh, so it has no seam wherever the texture has one. The
*detail* is what the portrait shows beyond the tone; it fades out where the view becomes grazing and is borrowed from
the other half of the face where only that half was seen.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from backend.meshing.mesh import Mesh, vertex_normals
from backend.meshing.rasterizer import interpolate, rasterize, rasterize_uv, sample_texture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from backend.radiance.cameras import Camera

# Cosine between view and normal from which a texel begins to count as seen, and from which it counts fully.
_GRAZING, _FACING = 0.18, 0.45
_LID_BLUR = 0.0015  # metres


@dataclasses.dataclass(frozen=True)
class View:
    """One picture of the surface.

    `image` is the colour without what lies behind (foreground colour, sRGB); `skin` in [0, 1] says how much a pixel
    shows skin: zero on hair, glasses, garment, background, inside the eyes and between the lips. `vertices` are the
    vertices as posed in this picture.
    """

    image: Float[np.ndarray, "H W 3"]
    skin: Float[np.ndarray, "H W"]
    camera: Camera
    vertices: Float[np.ndarray, "V 3"]


@dataclasses.dataclass(frozen=True)
class Projection:
    """A view carried onto texels: `colour` (S, S, 3) and `weight` (S, S) in [0, 1]."""

    colour: Float[np.ndarray, "S S 3"]
    weight: Float[np.ndarray, "S S"]


def visibility(
    view: View,
    occluders: Int[np.ndarray, "F 3"],
    points: Float[np.ndarray, "n 3"],
    tolerance: float | Float[np.ndarray, " n"] = 0.003,
) -> Bool[np.ndarray, " n"]:
    """Which surface points (metres) no triangle of `occluders` (over `view.vertices`) hides, with slack in metres."""
    camera = view.camera
    screen = np.c_[camera.project(view.vertices), camera.to_camera(view.vertices)[:, 2]]
    depth = rasterize(screen, occluders, camera.height, camera.width).depth
    pixels = camera.project(points)
    column = np.clip(pixels[:, 0].astype(int), 0, camera.width - 1)
    row = np.clip(pixels[:, 1].astype(int), 0, camera.height - 1)
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    return inside & (camera.to_camera(points)[:, 2] < depth[row, column] + tolerance)


def facing(view: View, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Cosine between the outward normal and the direction to the camera."""
    towards = view.camera.centre - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    return (towards * normals).sum(1)


def project_view(
    mesh: Mesh,
    view: View,
    occluders: Int[np.ndarray, "F 3"],
    size: int,
    strict: Float[np.ndarray, " V"] | None = None,
    also: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, " V"]] | None = None,
) -> Projection:
    """Colour and weight of each texel of `mesh` as seen in `view`. `mesh.faces` index `view.vertices`.

    `strict` in [0, 1] per vertex marks folds finer than the usual slack of the depth test (lids): there a texel
    counts only when it is plainly visible and faces the camera. `also` are pixels that show the surface, beside those
    of `view.skin`, on the part of it that the vertices' values in [0, 1] mark.
    """
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    points = interpolate(buffers, mesh.faces, view.vertices)[covered].astype(np.float64)
    normals = interpolate(buffers, mesh.faces, vertex_normals(view.vertices, mesh.faces))[covered]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    cosine = facing(view, points, normals)
    fold = np.zeros(len(points))
    if strict is not None:
        fold = interpolate(buffers, mesh.faces, strict[:, None].astype(np.float32))[covered][:, 0]
    weight = smoothstep(_GRAZING, _FACING, cosine - 0.2 * fold)
    weight = weight * visibility(view, occluders, points, np.where(fold > 0.5, 0.0012, 0.003))
    pixels = view.camera.project(points)
    shows = sample_image(view.skin[..., None], pixels)[:, 0]
    if also is not None:
        part = interpolate(buffers, mesh.faces, also[1][:, None].astype(np.float32))[covered][:, 0]
        shows = np.maximum(shows, part * sample_image(also[0][..., None], pixels)[:, 0])
    weight = weight * shows
    colour = np.zeros((*covered.shape, 3), np.float32)
    weights = np.zeros(covered.shape, np.float32)
    seen = sample_image(view.image, pixels)
    if strict is not None:
        # A lid in the picture is a narrow strip: over the closed lid its lashes and grain would stretch to streaks.
        seen += fold[:, None] * (sample_image(smoothed_skin(view, points, _LID_BLUR)[0], pixels) - seen)
    colour[covered] = seen
    weights[covered] = weight
    return Projection(colour, weights)


def vertex_tone(
    mesh: Mesh,
    view: View,
    occluders: Int[np.ndarray, "F 3"],
    mirror: Int[np.ndarray, " V"],
    trust: Float[np.ndarray, " V"] | None = None,
    blur_metres: float = 0.004,
) -> Float[np.ndarray, "V 3"]:
    """Smooth skin colour on every vertex of `mesh`.

    Args:
        mirror: index of each vertex's counterpart on the other side of the face.
        trust: how far the picture is believed at each vertex, in [0, 1].
        blur_metres: size of the detail that does not belong to the tone.
    """
    camera = view.camera
    used = np.unique(mesh.faces)
    smooth, total = smoothed_skin(view, view.vertices[used], blur_metres)
    normals = vertex_normals(view.vertices, mesh.faces)
    points = view.vertices
    weight = np.zeros(len(points))
    cosine = facing(view, points[used], normals[used])
    # Near the outline a pixel mixes in what lies behind, and the tone would carry that over the whole unseen side.
    seen = visibility(view, occluders, points[used]) * smoothstep(0.30, 0.60, cosine)
    pixels = camera.project(points)
    weight[used] = seen * np.clip(sample_image(total[..., None], pixels[used])[:, 0] * 2 - 0.6, 0, 1)
    if trust is not None:
        weight *= trust
    colour = sample_image(smooth, pixels)
    skin_tone = _robust_tone(colour[used], weight[used])

    # An unseen vertex whose counterpart was seen takes its colour from there.
    borrowed = 0.3 * weight[mirror] * (1 - weight)
    target = weight[:, None] * colour + borrowed[:, None] * colour[mirror] + 6e-3 * skin_tone
    strength = weight + borrowed + 6e-3
    return harmonic(mesh.faces, strength, target, len(points))


def smoothed_skin(
    view: View, points: Float[np.ndarray, "n 3"], blur_metres: float
) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """The picture, smoothed over its skin pixels alone, and how much skin there is around each pixel, in [0, 1].

    The blur is measured at the typical distance of `points`. A mean over skin only (normalised convolution) keeps hair
    and background from bleeding in.
    """
    sigma = blur_metres * view.camera.intrinsics[0, 0] / float(np.median(view.camera.to_camera(points)[:, 2]))
    total = cv2.GaussianBlur(view.skin.astype(np.float32), (0, 0), sigma)
    smooth = cv2.GaussianBlur((view.image * view.skin[..., None]).astype(np.float32), (0, 0), sigma)
    return smooth / np.maximum(total, 1e-4)[..., None], total


def _robust_tone(colour: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, "3"]:
    """Median colour of what was clearly seen."""
    clear = weight > 0.8
    return np.median(colour[clear], 0) if clear.sum() > 20 else np.array([0.72, 0.55, 0.47])


def harmonic(
    faces: Int[np.ndarray, "F 3"], strength: Float[np.ndarray, " V"], target: Float[np.ndarray, "V 3"], count: int
) -> Float[np.ndarray, "V 3"]:
    """Minimise the membrane energy on the mesh plus ``strength * |x - target / strength|**2``."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    ones = np.ones(len(edges))
    adjacency = sparse.csr_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count))
    adjacency = adjacency + adjacency.T
    laplacian = sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    system = sparse.csc_matrix(0.08 * laplacian + sparse.diags(np.maximum(strength, 1e-6)))
    return splu(system).solve(target)


def compose_texture(
    mesh: Mesh,
    tone: Float[np.ndarray, "V 3"],
    projection: Projection,
    mirror: Int[np.ndarray, " V"],
    no_borrow: Float[np.ndarray, " V"],
    size: int,
) -> Float[np.ndarray, "S S 3"]:
    """Tone plus detail, with every texel outside the islands filled from its nearest neighbour.

    `no_borrow` in [0, 1] marks vertices on which mirrored detail would look wrong (scalp, inside of the mouth).
    """
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    base = interpolate(buffers, mesh.faces, tone.astype(np.float32))
    # Feathered inside the seen region, so that the border of the detail has no step.
    trust = ndimage.gaussian_filter(np.minimum(projection.weight, _erode(projection.weight, size // 340)), size / 700)
    trust = np.minimum(trust, projection.weight)
    detail = (projection.colour - base) * trust[..., None]

    mirrored_uv = _mirror_uvs(mesh, buffers, mirror)
    trust_there = sample_texture(trust[..., None].astype(np.float32), mirrored_uv[covered])[:, 0]
    detail_there = sample_texture(detail.astype(np.float32), mirrored_uv[covered])
    allowed = 1 - interpolate(buffers, mesh.faces, no_borrow[:, None].astype(np.float32))[covered][:, 0]
    result = base + detail
    gain = (1 - trust[covered]) * np.clip(allowed, 0, 1) * (trust_there > 0.01)
    result[covered] += detail_there * gain[:, None]
    return fill_outside(np.clip(result, 0, 1), covered)


def fill_outside(texture: Float[np.ndarray, "S S C"], covered: Bool[np.ndarray, "S S"]) -> Float[np.ndarray, "S S C"]:
    """Texels that no triangle covers take the value of the nearest one that is covered."""
    if covered.all() or not covered.any():
        return texture
    nearest = np.asarray(ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return texture[nearest[0], nearest[1]]


def mirror_vertices(template: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, " V"]:
    """For each vertex the one nearest to its mirror image in the plane x = 0 of the symmetric template."""
    return np.asarray(KDTree(template).query(template * [-1, 1, 1])[1])


def _mirror_uvs(mesh: Mesh, buffers, mirror: Int[np.ndarray, " V"]) -> Float[np.ndarray, "S S 2"]:
    """Where in the texture the counterpart of each texel lies."""
    first_uv = np.zeros((len(mesh.vertices), 2), np.float32)
    first_uv[mesh.faces.ravel()] = mesh.uvs[mesh.uv_faces.ravel()]
    return interpolate(buffers, mesh.faces, first_uv[mirror])


def _erode(weight: Float[np.ndarray, "S S"], radius: int) -> Float[np.ndarray, "S S"]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.erode(weight.astype(np.float32), kernel)


def sample_image(image: Float[np.ndarray, "H W C"], pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n C"]:
    """Bicubic samples at pixel coordinates (centres at +0.5), clamped at the border."""
    height, width = image.shape[:2]
    # cv2.remap has limits on the number of rows: one long row is folded into a square.
    n = len(pixels)
    side = int(np.ceil(np.sqrt(max(n, 1))))
    xy = np.full((side * side, 2), 0, np.float32)
    xy[:n] = pixels - 0.5
    xy[:, 0] = np.clip(xy[:, 0], 0, width - 1)
    xy[:, 1] = np.clip(xy[:, 1], 0, height - 1)
    grid = xy.reshape(side, side, 2)
    sampled = cv2.remap(
        image.astype(np.float32), grid[..., 0], grid[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(sampled.reshape(side * side, -1)[:n], 0, 1)


def sample_nearest(
    image: Float[np.ndarray, "H W"], pixels: Float[np.ndarray, "n 2"], outside: float
) -> Float[np.ndarray, " n"]:
    """Values of the pixels that hold the points; `outside` beyond the picture."""
    height, width = image.shape
    column = np.clip(np.nan_to_num(pixels[:, 0]), 0, width - 1).astype(int)
    row = np.clip(np.nan_to_num(pixels[:, 1]), 0, height - 1).astype(int)
    beyond = (pixels < 0).any(1) | (pixels[:, 0] >= width) | (pixels[:, 1] >= height)
    return np.where(beyond, outside, image[row, column])


def smoothstep(low: float, high: float, x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
