"""What lies deep inside of a surface, and what of the surface itself: hidden from wherever one looks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.meshing.rasterizer import rasterize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float, Int

    from backend.meshing.rasterizer import RasterBuffers

_COARSE, _FINE = 0.002, 0.0008
"""Pixels in metres: of depths, and for finding the visible triangles."""


@dataclasses.dataclass(frozen=True)
class DepthMaps:
    """Parallel views of a surface from 26 directions.

    `axes` hold the right, down and forward axis of each view, `origins` its top left corner, `depths` the distance of
    the surface along the forward axis at each pixel (+inf where it shows nothing); all in metres.
    """

    axes: list[Float[np.ndarray, "3 3"]]
    origins: list[Float[np.ndarray, "2"]]
    depths: list[Float[np.ndarray, "H W"]]

    @classmethod
    def of(
        cls,
        vertices: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        along: tuple[float, float, float] | None = None,
    ) -> DepthMaps:
        """Look at the surface along the edges, faces and diagonals of a cube; only roughly `along` one way if given."""
        maps = cls([], [], [])
        for axes, origin, buffers in _views(vertices, faces, _COARSE, along):
            maps.axes.append(axes)
            maps.origins.append(origin)
            maps.depths.append(buffers.depth)
        return maps

    def behind(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How far each point lies behind the surface, metres, in the view where that is least; below 0 if in sight."""
        least = np.full(len(points), np.inf)
        for axes, origin, depth in zip(self.axes, self.origins, self.depths, strict=True):
            place = points @ axes.T
            pixel = np.floor((place[:, :2] - origin) / _COARSE).astype(int)
            inside = (pixel >= 0).all(1) & (pixel < depth.shape[::-1]).all(1)
            column, row = np.where(inside[:, None], pixel, 0).T
            least = np.minimum(least, np.where(inside, place[:, 2] - depth[row, column], -np.inf))
        return least


def visible_faces(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " F"]:
    """Triangles that show from one of 26 directions, and those around them."""
    seen = np.zeros(len(vertices), bool)
    for _, _, buffers in _views(vertices, faces, _FINE):
        seen[faces[np.unique(buffers.face_index[buffers.face_index >= 0])]] = True
    return seen[faces].any(1)


def _views(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    pixel: float,
    along: tuple[float, float, float] | None = None,
) -> Iterator[tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "2"], RasterBuffers]]:
    """Axes, origin and picture of every view, depths in metres along the forward axis."""
    used = vertices[np.unique(faces)]
    for index in np.ndindex(3, 3, 3):
        forward = np.array(index) - 1.0
        if not forward.any() or (along is not None and forward @ np.array(along) <= 0):
            continue
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(forward, right), forward])
        corner, far = (used @ axes[:2].T).min(0), (used @ axes[:2].T).max(0)
        # A parallel view has no centre; all depths are made positive, which is all that the rasteriser asks.
        offset = 1 - (used @ forward).min()
        screen = np.c_[(vertices @ axes[:2].T - corner) / pixel, vertices @ forward + offset]
        width, height = np.ceil((far - corner) / pixel).astype(int).tolist()
        buffers = rasterize(screen, faces, max(height, 1), max(width, 1))
        yield axes, corner, buffers._replace(depth=buffers.depth - offset)
