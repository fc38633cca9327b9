"""Hair, headwear and garment as layers over the body, measured from the outline of a portrait.

A *cover* is a thickness for every vertex of the posed skin. Where the surface turns away from the camera, the outline
of the hair (or garment) in the picture tells how far the layer stands off; over the rest of the head that measure is
carried on by a harmonic interpolation, bounded by the outline (visual hull). Long hair is the same thing: the sides of
the neck see a thick layer.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.meshing.mesh import vertex_normals
from backend.meshing.texture import View, facing, harmonic, sample_image, sample_nearest, smoothstep, visibility

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from backend.meshing.distance import SurfaceSamples
    from backend.radiance.cameras import Camera

_MAX_THICKNESS = 0.085
_STEPS = 44


@dataclasses.dataclass(frozen=True)
class CoverPrior:
    """What is assumed where the picture says nothing.

    `expected` (V,) in [0, 1]: where on the skin the layer usually is. `thickness`: its usual height, metres.
    `facing_limit`: greatest height where the layer faces the camera and its height cannot be seen, metres.
    """

    expected: Float[np.ndarray, " V"]
    thickness: float
    facing_limit: float
    least: float
    """Height that the layer has at least, even where the body reaches to the outline, metres."""
    evidence: tuple[float, float]
    """Shares of the expected region seen covered between which the unseen rest goes from bare to covered."""


@dataclasses.dataclass(frozen=True)
class Cover:
    """A layer over the skin: `thickness` (V,) in metres (0 where bare), and `coverage` (V,) in [0, 1]."""

    thickness: Float[np.ndarray, " V"]
    coverage: Float[np.ndarray, " V"]


def measure_cover(
    view: View,
    faces: Int[np.ndarray, "F 3"],
    mask: Float[np.ndarray, "H W"],
    person: Float[np.ndarray, "H W"],
    known: Bool[np.ndarray, "H W"],
    prior: CoverPrior,
) -> Cover:
    """Thickness and coverage of the layer whose soft class mask is `mask`, over the skin triangles `faces`.

    `person` is the matte, `known` is false outside the picture. Vertices that no picture shows keep the prior, scaled
    by how much of the expected region the picture shows covered (a bald head stays bald at the back).
    """
    vertices, camera = view.vertices, view.camera
    used = np.unique(faces)
    normals = np.zeros_like(vertices)
    normals[used] = vertex_normals(vertices, faces)[used]
    cosine = np.zeros(len(vertices))
    cosine[used] = facing(view, vertices[used], normals[used])
    seen = np.zeros(len(vertices))
    seen[used] = visibility(view, faces, vertices[used], 0.004) * smoothstep(0.1, 0.35, cosine[used])
    pixels = camera.project(vertices)
    # A body that reaches beyond the person's outline says nothing about what covers it.
    seen *= sample_nearest((known & (person > 0.5)).astype(np.float32), pixels, 0.0)
    value = sample_image(mask[..., None].astype(np.float32), pixels)[:, 0]

    expected_seen = seen * prior.expected
    presence = (expected_seen * value).sum() / expected_seen.sum() if expected_seen.sum() > 5 else 1.0
    presence = float(smoothstep(*prior.evidence, np.array(presence)))
    strength = seen + 0.15 * (1 - seen)
    target = seen * value + 0.15 * (1 - seen) * prior.expected * presence
    coverage = np.clip(harmonic(faces, strength, target[:, None], len(vertices))[:, 0], 0, 1)

    outline = _outline_height(view, faces, normals, mask, known)
    rim = smoothstep(0.45, 0.15, np.abs(cosine)) * (outline > 0.002) * (_known_along(camera, vertices, normals, known))
    strength = rim + 0.02
    target = rim * outline + 0.02 * prior.thickness
    height = harmonic(faces, strength, target[:, None], len(vertices))[:, 0]
    # Facing the camera the height cannot be seen: it is kept low, and falls towards the border of the layer.
    turned = smoothstep(0.5, -0.1, cosine)
    depth = float(np.median(camera.to_camera(vertices[used])[:, 2]))
    to_border = sample_nearest(signed_mask_distance(mask), pixels, 0.0) * depth / camera.intrinsics[0, 0]
    low = np.minimum(prior.facing_limit, 0.006 + 0.4 * np.maximum(to_border, 0))
    limit = low * (1 - turned) + _MAX_THICKNESS * turned
    height = np.clip(height, 0, np.minimum(limit, np.maximum(outline, prior.least) + 0.002))
    thickness = height * smoothstep(0.2, 0.55, coverage)
    thickness[np.setdiff1d(np.arange(len(vertices)), used)] = 0
    return Cover(thickness, coverage)


def _outline_height(
    view: View, faces: np.ndarray, normals: np.ndarray, mask: np.ndarray, known: np.ndarray
) -> Float[np.ndarray, " V"]:
    """How far each vertex can move outwards along its normal before it shows up as something else in the picture.

    A point hidden behind the body cannot show up; a point outside the picture is not held back.
    """
    from backend.meshing.rasterizer import rasterize

    camera, vertices = view.camera, view.vertices
    screen = np.c_[camera.project(vertices), camera.to_camera(vertices)[:, 2]]
    depth = rasterize(screen, faces, camera.height, camera.width).depth
    free = np.ones(len(vertices), bool)
    height = np.zeros(len(vertices))
    for t in np.linspace(0.002, _MAX_THICKNESS, _STEPS):
        points = vertices + t * normals
        pixels = camera.project(points)
        inside = sample_nearest(mask.astype(np.float32), pixels, 0.0) > 0.5
        hidden = camera.to_camera(points)[:, 2] > sample_nearest(depth, pixels, 0.0) + 0.002
        outside = sample_nearest(known.astype(np.float32), pixels, 0.0) < 0.5
        free &= inside | hidden | outside
        height[free] = t
    return height


def _known_along(camera: Camera, vertices: np.ndarray, normals: np.ndarray, known: np.ndarray) -> np.ndarray:
    return sample_nearest(known.astype(np.float32), camera.project(vertices + 0.02 * normals), 0.0) > 0.5


def signed_mask_distance(mask: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Distance in pixels to the outline of ``mask > 0.5``; positive inside."""
    inside = mask > 0.5
    if not inside.any():
        return np.full(mask.shape, -1e3, np.float32)
    within, beyond = (np.asarray(ndimage.distance_transform_edt(side)) for side in (inside, ~inside))
    return (within - beyond).astype(np.float32)


def cover_height(
    cover: Cover, samples: SurfaceSamples, distance: Float[np.ndarray, " n"], nearest: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Signed height of points under the top of the layer (metres, positive inside it), from their nearest samples."""
    thickness = samples.at_samples(cover.thickness)
    height = np.full(len(distance), -1.0)
    found = nearest >= 0
    top = thickness[nearest[found]]
    height[found] = np.where(top > 0.001, top - np.maximum(distance[found], 0), -np.abs(distance[found]) - 0.002)
    return height


def carve(
    points: Float[np.ndarray, "n 3"],
    camera: Camera,
    body_depth: Float[np.ndarray, "H W"],
    class_distance: Float[np.ndarray, "H W"],
    person_distance: Float[np.ndarray, "H W"],
    known: Bool[np.ndarray, "H W"],
) -> Float[np.ndarray, " n"]:
    """How deep points lie inside what the picture allows (metres, negative where the picture shows them empty).

    In front of the body a layer must lie inside its own outline; behind the body, inside the person's.
    """
    pixels = camera.project(points)
    depth = camera.to_camera(points)[:, 2]
    metres_per_pixel = depth / camera.intrinsics[0, 0]
    in_front = depth < sample_nearest(body_depth, pixels, 0.0) + 0.006
    allowed = np.where(
        in_front, sample_nearest(class_distance, pixels, 0.0), sample_nearest(person_distance, pixels, 0.0)
    )
    inside_picture = sample_nearest(known.astype(np.float32), pixels, 0.0) > 0.5
    # Meshing and smoothing shave thin edges off by about as much as this gives back.
    return np.where(inside_picture, allowed * metres_per_pixel + 0.0025, 1.0)
