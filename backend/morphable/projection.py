"""The portrait as it lies on the posed mesh, drawn into the views: what networks learn slowly that the camera tells.

The published networks bring the portrait to the mesh by attention alone, which takes many people and weeks of a
graphics card. A small one is shown it (`MorphableConfig.projected`): in every pixel of a view where the mesh is, the
colour that the portrait has at the same place of the skin, whether it shows that place at all, and which way the skin
faces; and the same of the mesh blown up, where hair and clothes may be. What of these is where stays the networks' to
say, and all that the portrait hides theirs to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import rasterize
from backend.morphable.meshes import HEAD
from synthetic_data.appearance.atlas import smoothstep
from synthetic_data.appearance.cutting import bust

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
    from torch import Tensor

    from backend.body_model.base import BodyModel

LAYERS = (0.0, 0.03)
"""Metres outside of the skin where the portrait is laid."""
LAYER = 8
"""Channels of a pixel in each layer: colour in [-1, 1] (0 where the portrait shows nothing), how far the portrait shows
it, the skin's normal in the view's axes, and whether there is no mesh at all."""
CHANNELS = LAYER * len(LAYERS)
_HIDDEN = 0.01
"""Depth behind what is nearest to the portrait's camera from which on a vertex is hidden; 4 mm."""
_INSIDE = 0.3
"""How far a normal points away where the inside of the mesh is seen, which the portrait never shows; less is a rounding
outline."""
_FACING = (0.1, 0.35)
"""Cosines to the portrait's camera between which a vertex begins to count as shown."""


class Surface(NamedTuple):
    """What N views show of the L layers of a mesh: the triangle of each pixel (-1 for none), and the weights of its
    first two corners in 255ths."""

    triangles: Int[Tensor, "L N S S"]
    weights: UInt8[Tensor, "L N S S 2"]

    def of_views(self, indices: Int[Tensor, " K"]) -> Surface:
        """The same for some of the views."""
        return Surface(*(each[:, indices] for each in self))


class Shown(NamedTuple):
    """Where the vertices of a mesh's layers lie in the portrait, (x, y) in [-1, 1] from edge to edge, and how far it
    shows each."""

    places: Float[Tensor, "L W 2"]
    seen: Float[Tensor, "L W"]


def drawn_triangles(model: BodyModel) -> Int[np.ndarray, "F 3"]:
    """What is drawn of a body model: its bust (`above_cut`) without lashes and garment."""
    topology = model.topology
    parts = [part for name, part in topology.parts.items() if name not in ("lashes", "garment")]
    faces = topology.faces[np.sort(np.concatenate(parts))]
    return faces[(above_cut(model) > 0)[faces].any(1)]


def above_cut(model: BodyModel) -> Float[np.ndarray, " W"]:
    """Metres of each vertex from the cut where the busts of the training set end, positive inside."""
    return bust(model.template)


def pixels_of(
    body: Float[np.ndarray, "W 3"], lens: Float[np.ndarray, "4 4"], matrix: Float[np.ndarray, "3 4"], half: float
) -> Float[np.ndarray, "W 3"]:
    """Pixels and depths of vertices; `half` is what `heads.into_world` has taken off, in pixels."""
    seen = body @ matrix[:, :3].T + matrix[:, 3]
    pixels = seen @ lens[:2, :3].T
    return np.column_stack([pixels / seen[:, 2:] + half, seen[:, 2]])


def surface_of(
    body: Float[np.ndarray, "W 3"],
    triangles: Int[np.ndarray, "F 3"],
    above: Float[np.ndarray, " W"],
    lenses: Float[np.ndarray, "N 4 4"],
    matrices: Float[np.ndarray, "N 3 4"],
    size: int,
    half: float,
) -> Surface:
    """What each view shows of a mesh in the networks' world, down to where it is no longer `above` the cut; there one
    may look into it."""

    def visible(faces: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        return (above[triangles[faces]] * weights).sum(1) > 0

    found = [
        [
            rasterize(pixels_of(layer, lens, matrix, half), triangles, size, size, visible=visible)
            for lens, matrix in zip(lenses, matrices, strict=True)
        ]
        for layer in _layers(body, vertex_normals(body, triangles))
    ]
    faces = np.array([[one.face_index for one in layer] for layer in found]).astype(np.int16)
    weights = np.array([[np.rint(255 * one.barycentric[..., :2]) for one in layer] for layer in found])
    return Surface(torch.from_numpy(faces), torch.from_numpy(weights.astype(np.uint8)))


def shown_in(
    body: Float[np.ndarray, "W 3"],
    triangles: Int[np.ndarray, "F 3"],
    lens: Float[np.ndarray, "4 4"],
    matrix: Float[np.ndarray, "3 4"],
    size: int,
    half: float,
) -> Shown:
    """What a portrait of `size` pixels shows of a mesh in the networks' world."""
    centre, normals = -matrix[:, :3].T @ matrix[:, 3], vertex_normals(body, triangles)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in _layers(body, normals):
        places = pixels_of(layer, lens, matrix, half)
        depth = rasterize(places, triangles, size, size).depth
        # The farthest of the pixels around: where the skin slopes, a vertex lies behind the middle of its pixel.
        around = F.max_pool2d(torch.from_numpy(depth)[None], 3, 1, 1)[0].numpy()
        column, row = (np.clip(places[:, k].astype(np.int64), 0, size - 1) for k in range(2))
        inside = ((places[:, :2] > 0) & (places[:, :2] < size)).all(1) & (places[:, 2] < around[row, column] + _HIDDEN)
        ray = centre - layer
        facing = (normals * ray).sum(1) / np.linalg.norm(ray, axis=1)
        found.append((places[:, :2] * 2 / size - 1, inside * smoothstep(*_FACING, facing)))
    places, seen = (torch.from_numpy(np.array(each)).float() for each in zip(*found, strict=True))
    return Shown(places, seen)


def _layers(body: Float[np.ndarray, "W 3"], normals: Float[np.ndarray, "W 3"]) -> list[Float[np.ndarray, "W 3"]]:
    return [body + HEAD.scale * height * normals for height in LAYERS]


def lay(
    portrait: Float[Tensor, "3 P P"],
    shown: Shown,
    normals: Float[Tensor, "W 3"],
    surface: Surface,
    triangles: Int[Tensor, "F 3"],
    rotations: Float[Tensor, "K 3 3"],
) -> Float[Tensor, "K channels S S"]:
    """The portrait (in [-1, 1]) on the mesh of `surface`, whose `normals` these are, as its K views show it."""
    layers: list[Tensor] = []
    for place, known, faces, first in zip(*shown, *surface, strict=True):
        none = faces < 0
        corners = triangles[faces.long().clamp(min=0)]
        weights = first.float() / 255
        weights = torch.cat([weights, 1 - weights.sum(-1, keepdim=True)], -1)
        told = torch.cat([place, known[:, None], normals], 1)
        told = (told[corners] * weights[..., None]).sum(-2) * ~none[..., None]
        colour = F.grid_sample(
            portrait[None].expand(len(told), -1, -1, -1), told[..., :2], padding_mode="border", align_corners=False
        )
        facing = torch.einsum("nij,nhwj->nihw", rotations, told[..., 3:])
        seen = told[..., 2][:, None] * (facing[:, 2:] < _INSIDE)
        layers += [colour * seen, seen, facing, none[:, None].to(seen)]
    return torch.cat(layers, 1)


def mirrored(drawn: Float[Tensor, "*n channels S S"]) -> Float[Tensor, "*n channels S S"]:
    """As a mirror shows it."""
    side = torch.ones(CHANNELS, device=drawn.device)
    side[4::LAYER] = -1
    return drawn.flip(-1) * side[:, None, None]


def as_pictures(drawn: Float[Tensor, "M channels S S"]) -> Float[Tensor, "M L 3 S S"]:
    """What is known of a view before anything is drawn, layer by layer, in [-1, 1]: the portrait on the mesh, grey
    where it shows nothing of it, over white."""
    layers = drawn.unflatten(1, (len(LAYERS), LAYER))
    return layers[:, :, :3] + layers[:, :, 7:]
