"""Eyelashes: the body model's strips along the lids, cut by their texture into separate hairs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from scipy.spatial import KDTree

from backend.meshing.inner_part import InnerPart
from backend.meshing.mesh import Mesh, vertex_normals
from backend.meshing.texture import smoothstep
from backend.rigging.attach import Attachment
from backend.rigging.avatar import Material

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from backend.body_model.base import BodyModel

_WIDTH, _HEIGHT = 1024, 128  # texels of one strip: along the lid, and from root to tip
_MARGIN = 0.02  # of a strip's half of the texture, kept free, so that no filter mixes upper and lower lashes
_UPPER_COUNT, _LOWER_COUNT = 132, 62
_LIFT = (0.0003, 0.0007)
"""Distance of lower lashes from the lid, metres: at its rim, and what it grows by towards the tips. Models have them
further off, where they pierce a closing upper lid instead of vanishing behind it."""
_UPPER_FOLLOW = 0.94
"""Upper lashes follow their strip by so much: the model's own come down lower than the rim of the closing lid."""
_HAZE = 0.26
"""Alpha between the hairs. Below the cut of one half it does not show, but where a viewer reads a smaller version of
the texture, it lets rows of hairs pass that cover a third of it: from afar, thin lashes would else vanish."""
_STEPS = (0.7548776662, 0.5698402910, 0.6180339887, 0.4142135624)
"""Irrational steps whose multiples fill [0, 1) evenly: scatter that needs no random numbers."""


def lashes(model: BodyModel, neutral: Float[np.ndarray, "V 3"], colour: Float[np.ndarray, "3"]) -> InnerPart | None:
    """Lashes of both eyes in `colour` (sRGB); None when the model has no strips for them.

    In the texture u runs along the lid from the inner to the outer corner of the eye, and v from the lid to the tips:
    upper lids have the upper half, lower lids the lower one, left and right share both. Every vertex follows its own
    body vertex, so that the lashes go with blinking lids.
    """
    triangles = model.topology.parts.get("lashes", np.zeros(0, int))
    if len(triangles) == 0:
        return None
    used, faces = np.unique(model.topology.faces[triangles], return_inverse=True)
    faces = faces.reshape(-1, 3)
    vertices = neutral[used]
    spheres = model.eye_spheres(model.template)
    uvs, follow = np.zeros((len(used), 2)), np.ones(len(used))
    for strip in _strips(faces, len(used)):
        # On the template, so that everybody's lashes have the same texture coordinates.
        points = model.template[used[strip]]
        side = int(np.argmin([np.linalg.norm(sphere.centre - points.mean(0)) for sphere in spheres]))
        centre = spheres[side].centre
        local = np.searchsorted(strip, faces[np.isin(faces[:, 0], strip)])
        along, out = strip_coordinates(points, local, centre)
        if (points[np.argmax(along), 0] - points[np.argmin(along), 0]) * centre[0] < 0:
            along = 1 - along
        upper = points[out == 0, 2].mean() > centre[2]
        if not upper:
            vertices[strip] = _lay_on_lid(model, neutral, vertices[strip], out)
        follow[strip] = _UPPER_FOLLOW if upper else 1.0
        half = 0.5 * (_MARGIN + (1 - 2 * _MARGIN) * out)
        uvs[strip] = np.stack([_MARGIN + (1 - 2 * _MARGIN) * along, half + 0.5 * upper], 1)
    mesh = Mesh(vertices, faces, uvs, faces.copy())
    material = Material(roughness=0.7, double_sided=True, alpha_mask=True)
    return InnerPart(
        "lashes", mesh, _texture(np.asarray(colour, float)), material, Attachment(used[:, None], follow[:, None])
    )


def _lay_on_lid(
    model: BodyModel,
    neutral: Float[np.ndarray, "V 3"],
    points: Float[np.ndarray, "n 3"],
    out: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3"]:
    """Bring lower lashes, beyond the rim of the lid, to a small distance from the skin."""
    skin = model.topology.faces[model.topology.parts["skin"]]
    lids = np.flatnonzero(model.topology.regions["eyelids"] > 0.1)
    normals = vertex_normals(neutral, skin)[lids]
    distance, nearest = KDTree(neutral[lids]).query(points, k=6)
    weight = 1 / (distance + 5e-4) ** 2
    weight = (weight / weight.sum(1, keepdims=True))[..., None]
    normal = (normals[nearest] * weight).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = ((points - (neutral[lids][nearest] * weight).sum(1)) * normal).sum(1)
    beyond = smoothstep(0.15, 0.45, out)
    wanted = _LIFT[0] + _LIFT[1] * out
    return points + (beyond * (wanted - height))[:, None] * normal


def strip_coordinates(
    points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"], centre: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Position along the lid and from root (0) to tip (1) of the vertices of one strip of lashes.

    The strip is a bent rectangular grid. The root is the long side nearer to the eyeball's `centre`; sides are
    measured by their length, and in between both coordinates are harmonic.
    """
    root, last, tip, first = _sides(points, faces)
    if np.linalg.norm(points[root] - centre, axis=1).mean() > np.linalg.norm(points[tip] - centre, axis=1).mean():
        root, last, tip, first = tip, first, root, last
    # Corners come twice, with the same values.
    known = np.concatenate([root, tip[::-1], first[::-1], last])
    lengths = [_share_of_length(points[line]) for line in (root, tip[::-1], first[::-1], last)]
    along = np.concatenate([lengths[0], lengths[1], np.zeros(len(first)), np.ones(len(last))])
    out = np.concatenate([np.zeros(len(root)), np.ones(len(tip)), lengths[2], lengths[3]])
    known, chosen = np.unique(known, return_index=True)
    along, out = along[chosen], out[chosen]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    adjacency = sparse.csr_matrix((np.ones(2 * len(edges)), np.concatenate([edges, edges[:, ::-1]]).T))
    adjacency.data[:] = 1
    laplacian = sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    return _harmonic(laplacian, known, along), _harmonic(laplacian, known, out)


def _sides(points: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " m"]]:
    """The four sides of a grid of triangles one after the other around it, a long one first.

    Corners are where the faces of a border vertex span the smallest angle, under the condition that opposite sides
    have as many vertices.
    """
    loop = _border(faces)
    angle = np.zeros(len(points))
    for k in range(3):
        first, second = (points[faces[:, (k + step) % 3]] - points[faces[:, k]] for step in (1, 2))
        cosine = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
        angle += np.bincount(faces[:, k], np.arccos(np.clip(cosine, -1, 1)), len(points))
    half = len(loop) // 2
    opposite = angle[loop] + np.roll(angle[loop], -half)
    choices = [(opposite[i] + opposite[(i + side) % half], i, side) for i in range(half) for side in range(1, half)]
    _, start, side = min(choices)
    turned = np.append(np.roll(loop, -start), loop[start])
    bounds = [0, side, half, half + side, len(loop)]
    sides = [turned[a : b + 1] for a, b in itertools.pairwise(bounds)]
    return sides if _length(points[sides[0]]) > _length(points[sides[1]]) else sides[1:] + sides[:1]


def _strips(faces: Int[np.ndarray, "F 3"], count: int) -> list[Int[np.ndarray, " n"]]:
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    number, label = connected_components(sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)), False)
    return [np.flatnonzero(label == k) for k in range(number)]


def _border(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " n"]:
    """Border vertices of an open strip in order."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    inner = set(map(tuple, edges[:, ::-1].tolist()))
    following = {a: b for a, b in edges.tolist() if (a, b) not in inner}
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return np.array(loop)


def _length(line: Float[np.ndarray, "n 3"]) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _share_of_length(line: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return length / length[-1]


def _harmonic(
    laplacian: sparse.spmatrix, known: Int[np.ndarray, " m"], values: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    matrix = sparse.csr_matrix(laplacian)
    result = np.zeros(matrix.get_shape()[0])
    result[known] = values
    free = np.setdiff1d(np.arange(len(result)), known)
    if len(free):
        result[free] = spsolve(matrix[free][:, free].tocsc(), -(matrix[free][:, known] @ values))
    return result


def _texture(colour: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "256 1024 4"]:
    """RGBA of upper (top half) and lower lashes; the colour fills the whole texture, so that hairs have no rim."""
    upper = _hairs(_UPPER_COUNT, (0.66, 1.0), root_texels=5.0)
    lower = _hairs(_LOWER_COUNT, (0.56, 0.86), root_texels=4.0)
    alpha = np.concatenate([upper, lower])
    v = np.tile(1 - (np.arange(_HEIGHT) + 0.5) / _HEIGHT, 2)[:, None, None]
    rgb = np.broadcast_to(colour * (0.85 + 0.3 * v), (*alpha.shape, 3))
    return (np.clip(np.concatenate([rgb, alpha[..., None]], -1), 0, 1) * 255 + 0.5).astype(np.uint8)


def _hairs(count: int, lengths: tuple[float, float], root_texels: float) -> Float[np.ndarray, "h w"]:
    """Coverage by tapering hairs that bend outwards; longest over the outer half of the eye, in loose clumps."""
    number = np.arange(1, count + 1)
    scatter = [np.modf(number * step)[0] for step in _STEPS]
    root = (number - 0.5 + 0.9 * (scatter[0] - 0.5)) / count
    # Shorter towards both corners, most of all towards the inner one.
    profile = smoothstep(-0.12, 0.35, root) * (1 - 0.35 * smoothstep(0.82, 1.05, root))
    length = (lengths[0] + (lengths[1] - lengths[0]) * scatter[1]) * (0.45 + 0.55 * profile)
    # Three or four neighbours lean together, more or less.
    clump = np.round(root * count / 3.6 + 0.2 * scatter[2]) * 3.6 / count
    lean = 0.55 * (clump - root) + 0.020 * (scatter[3] - 0.5) + 0.05 * (root - 0.42)
    width = root_texels * (0.8 + 0.4 * scatter[2]) * (0.65 + 0.35 * profile)

    x = np.arange(_WIDTH) + 0.5
    picture = np.zeros((_HEIGHT, _WIDTH))
    for row in range(_HEIGHT):
        t = (1 - (row + 0.5) / _HEIGHT - _MARGIN) / length  # 0 at the root, 1 at the tip
        here = t < 1
        at = np.clip(t[here], 0, 1)
        middle = (root[here] + lean[here] * at**1.6) * _WIDTH
        half = 0.5 * width[here] * (1 - at) ** 0.55
        cover = np.clip(half[:, None] + 0.5 - np.abs(x - middle[:, None]), 0, 1).max(0, initial=0)
        haze = _HAZE * np.clip(half[:, None] + 3.0 - np.abs(x - middle[:, None]), 0, 1).max(0, initial=0)
        picture[row] = np.maximum(cover, haze)
    return picture
