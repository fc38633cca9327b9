"""What the portrait shows at the places that a plane's texels stand for.

A texel is a line through canonical space. The body's surface crosses it at a first and a last place; where the line
misses the body, the nearest texel that does not lends its depth. These *anchors* ride on the posed body, and the
portrait's camera, which the body fit has found, says where they are in the picture. So a pixel of the eye reaches the
texels of the eye, in all three planes, whatever the person's shape, expression and pose.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from backend.body_model.controls import control_vertices
from backend.meshing.mesh import vertex_normals
from backend.meshing.rasterizer import rasterize
from backend.radiance.canonical import FOVEA, Fovea, blend_weights
from backend.radiance.triplane import DEFAULT_HALF_SIZE, PLANE_AXES

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from backend.body_model.base import BodyModel

ANCHOR_CHANNELS = 8
"""Colour, alpha, cosine of the surface to the camera, and how far the body has moved the place (3)."""
_FINEST = 32
"""Moves are smooth: finer anchors take theirs from planes of this size."""


class Anchors:
    """The anchors of planes of one size, for one body model. All in metres.

    `places` (3, 2, S, S, 3) canonical, `normals` alike; `weights` (6 s s, K) carry the moves of the K controls to
    anchors of s = S, or less, texels, from which those of S texels are interpolated. There are A = 6 S S anchors.
    """

    def __init__(self, places: Tensor, normals: Tensor, weights: Tensor, controls: Tensor) -> None:
        self.places, self.normals, self.weights, self.controls = places, normals, weights, controls
        self.size = places.shape[2]

    def to(self, device: torch.device | str) -> Anchors:
        """Copy on another device."""
        return Anchors(*(t.to(device) for t in (self.places, self.normals, self.weights, self.controls)))

    def moves(self, body: Float[Tensor, "B K 3"]) -> Float[Tensor, "B A 3"]:
        """How far each anchor is from its canonical place, when the controls are at `body`."""
        moves = self.weights @ (body - self.controls)
        s = round((len(self.weights) / 6) ** 0.5)
        if s == self.size:
            return moves
        coarse = moves.reshape(-1, s, s, 3).permute(0, 3, 1, 2)
        fine = F.interpolate(coarse, (self.size, self.size), mode="bilinear", align_corners=False)
        return fine.permute(0, 2, 3, 1).reshape(len(body), -1, 3)

    def see(
        self,
        moves: Float[Tensor, "B A 3"],
        picture: Float[Tensor, "B C H W"],
        world_to_camera: Float[Tensor, "B 4 4"],
        intrinsics: Float[Tensor, "B 3 3"],
        size: tuple[int, int],
    ) -> Float[Tensor, "B 3 2 C S S"]:
        """The picture (or a feature map of it) at the anchors; intrinsics are those of a picture of `size` (H, W)."""
        places = self.places.reshape(-1, 3) + moves
        seen = places @ world_to_camera[:, :3, :3].transpose(1, 2) + world_to_camera[:, None, :3, 3]
        pixels = seen @ intrinsics.transpose(1, 2)
        pixels = pixels[..., :2] / pixels[..., 2:].clamp(min=1e-3)
        height, width = size
        grid = pixels / torch.tensor([width, height], device=pixels.device) * 2 - 1
        samples = F.grid_sample(picture, grid[:, :, None].to(picture.dtype), padding_mode="zeros", align_corners=False)
        s = self.size
        return samples[..., 0].unflatten(2, (3, 2, s, s)).permute(0, 2, 3, 1, 4, 5)

    def facing(self, moves: Float[Tensor, "B A 3"], world_to_camera: Float[Tensor, "B 4 4"]) -> Tensor:
        """Cosine between the canonical normal and the way to the camera, B x 3 x 2 x 1 x S x S."""
        rotation, shift = world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]
        centre = -(rotation.transpose(1, 2) @ shift[..., None])[..., 0]
        way = F.normalize(centre[:, None] - (self.places.reshape(-1, 3) + moves), dim=-1)
        s = self.size
        return (way * self.normals.reshape(-1, 3)).sum(-1).reshape(-1, 3, 2, 1, s, s)


@functools.lru_cache(maxsize=4)
def make_anchors(model: BodyModel, size: int, fovea: Fovea = FOVEA, half_size: float = DEFAULT_HALF_SIZE) -> Anchors:
    """Anchors on the canonical body for planes of `size` texels."""
    topology = model.topology
    skin = topology.faces[topology.parts["skin"]]
    skin = skin[(topology.regions["mouth_interior"] < 0.5)[skin].all(1)]
    eyes = [topology.faces[topology.parts[part]] for part in ("eye_left", "eye_right") if part in topology.parts]
    faces = np.concatenate([skin, *eyes])
    vertices = model.template
    normals = vertex_normals(vertices, faces)
    on_planes = fovea(vertices / half_size)
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    columns, rows = np.meshgrid(centres, centres)
    places, turned = np.zeros((3, 2, size, size, 3)), np.zeros((3, 2, size, size, 3))
    for plane, (u, v) in enumerate(PLANE_AXES):
        depth_axis = 3 - u - v
        for side, sign in enumerate((1.0, -1.0)):
            texels = (on_planes[:, [u, v]] + 1) / 2 * size
            screen = np.c_[texels, 100 + sign * on_planes[:, depth_axis]]
            drawn = rasterize(screen, faces, size, size)
            hit = drawn.face_index >= 0
            lent: Any = ndimage.distance_transform_edt(~hit, return_distances=False, return_indices=True)
            depth = sign * (drawn.depth - 100)
            coordinates = np.zeros((size, size, 3))
            coordinates[..., u], coordinates[..., v] = columns, rows
            depth = depth[tuple(lent)]
            coordinates[..., depth_axis] = np.where(hit, depth, ndimage.gaussian_filter(depth, size / 20))
            places[plane, side] = fovea.inverse(coordinates) * half_size
            nearest = faces[drawn.face_index[tuple(lent)], 0]
            turned[plane, side] = np.where(hit[..., None], normals[nearest], 0)
    controls = torch.from_numpy(vertices[control_vertices(model)]).float()
    flat = torch.from_numpy(places).float()
    carried = flat if size <= _FINEST else make_anchors(model, _FINEST, fovea, half_size).places
    weights = blend_weights(carried.reshape(-1, 3), controls)
    return Anchors(flat, torch.from_numpy(turned).float(), weights, controls)
