"""Textures for meshes that come without one: the colours of an avatar that lies there, or painted vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.body_model.correspondence import NORMAL_LENGTH
from backend.meshing.distance import SurfaceSamples
from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import interpolate, rasterize_uv, sample_texture
from backend.meshing.texture import fill_outside

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from backend.meshing.mesh import Mesh
    from backend.rigging.avatar import AvatarPart

_LARGEST = 2048
_SPACING = 0.0008
_NEIGHBOURS = 3
_NEAR, _SPARSE = 0.005, 16
"""Metres to which samples are looked up exactly; beyond, one of so many."""
_CHUNK = 1 << 18


def borrow_texture(mesh: Mesh, lenders: list[AvatarPart]) -> UInt8[np.ndarray, "S S C"]:
    """Each texel takes the colour of the avatar's surface at its place that faces the same way.

    Args:
        mesh: with texture coordinates, lying on the lenders.
        lenders: parts of the avatar. Lashes lend only when they are alone. What is cut out lends nothing, unless all
            lenders have an alpha: then it is lent too.
    """
    lenders = [part for part in lenders if part.name != "lashes"] or lenders
    size = min(_LARGEST, max(max(part.texture.shape[:2]) for part in lenders))
    channels = min(part.texture.shape[2] for part in lenders)
    places, colours = [], []
    for part in lenders:
        samples, uvs = _samples(part)
        texels = sample_texture(part.texture, uvs)
        lent = np.ones(len(texels), bool) if texels.shape[1] == channels else texels[:, 3] >= 0.5
        places.append(np.c_[samples.points, NORMAL_LENGTH * samples.normals][lent])
        colours.append(texels[lent, :channels])
    lender = _Lender(np.concatenate(places), np.concatenate(colours))

    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    covered = buffers.face_index >= 0
    points = interpolate(buffers, mesh.faces, mesh.vertices)[covered]
    normals = interpolate(buffers, mesh.faces, vertex_normals(mesh.vertices, mesh.faces))[covered]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    wanted = np.c_[points, NORMAL_LENGTH * normals]
    texels = [lender.colour(wanted[start : start + _CHUNK]) for start in range(0, len(wanted), _CHUNK)]
    texture = np.zeros((size, size, channels))
    texture[covered] = np.concatenate(texels)
    return _to_8_bit(fill_outside(texture, covered))


class _Lender:
    """Colours at places: three metres, and three of a normal as long as its disagreement weighs."""

    def __init__(self, places: Float[np.ndarray, "n 6"], colours: Float[np.ndarray, "n C"]) -> None:
        self._colours = colours
        self._near, self._anywhere = KDTree(places), KDTree(places[::_SPARSE, :3])

    def colour(self, wanted: Float[np.ndarray, "m 6"]) -> Float[np.ndarray, "m C"]:
        """Mean of the nearest samples that face the same way; of the nearest at all where those are far."""
        distance, nearest = map(np.asarray, self._near.query(wanted, k=_NEIGHBOURS, distance_upper_bound=_NEAR))
        far = ~np.isfinite(distance[:, 0])
        # A long search visits nearly every sample, most of all in six dimensions; far away a rough answer will do.
        away, there = self._anywhere.query(wanted[far, :3], k=_NEIGHBOURS, eps=0.2)
        distance[far], nearest[far] = away, np.asarray(there) * _SPARSE
        weight = 1 / (distance + 2e-4) ** 2
        weight /= weight.sum(1, keepdims=True)
        return (self._colours[np.minimum(nearest, len(self._colours) - 1)] * weight[..., None]).sum(1)


def paint_vertices(mesh: Mesh, colours: Float[np.ndarray, "V 3"], size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Colours in [0, 1] of the vertices, interpolated over their triangles."""
    buffers = rasterize_uv(mesh.uvs, mesh.uv_faces, size)
    return _to_8_bit(fill_outside(interpolate(buffers, mesh.faces, colours), buffers.face_index >= 0))


def _samples(part: AvatarPart) -> tuple[SurfaceSamples, Float[np.ndarray, "n 2"]]:
    """Points closely over a part, and where in its texture they are."""
    mesh = part.mesh
    # About as fine as its texels; of a picture over a whole head few are smaller than the least.
    spacing = max(_SPACING, float(np.ptp(mesh.vertices, axis=0).max()) / max(part.texture.shape[:2]))
    corners = SurfaceSamples.spread(mesh.vertices.astype(np.float64), mesh.faces, spacing)
    # The same grid over the texture coordinates, which have triangles of their own.
    order = {tuple(face): k for k, face in enumerate(mesh.faces.tolist())}
    rows = np.array([order[tuple(face)] for face in corners.faces.tolist()])
    uvs = (mesh.uvs[mesh.uv_faces[rows]] * corners.barycentric[..., None]).sum(1)
    return corners, uvs


def _to_8_bit(texture: Float[np.ndarray, "S S C"]) -> UInt8[np.ndarray, "S S C"]:
    return (np.clip(texture, 0, 1) * 255 + 0.5).astype(np.uint8)
