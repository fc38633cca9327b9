"""The rig of one head carried over to another surface: a level set, or a mesh that an artist has edited."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from backend.body_model.correspondence import correspond, edges
from backend.body_model.transfer import REACH, continue_field, spread

from backend.rigging.assemble import strongest_weights
from backend.rigging.avatar import AvatarPart, Material

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from backend.meshing.mesh import Mesh

_CLOSE, _FADE = 0.006, 0.015
_LIMIT, _FINEST = 3.0, 0.0005
_ROUNDS = 5
_SMALLEST_KEY = 5e-5
"""A key that moves no vertex of a part by this much (metres) is left out."""


@dataclasses.dataclass(frozen=True)
class RigSource:
    """What is known on a head: shape keys and bone weights over its vertices (metres, head frame).

    `shift` are further offsets that are carried like a shape key, such as those from the neutral head to this one.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    shape_keys: dict[str, Float[np.ndarray, "V 3"]]
    skin_weights: Float[np.ndarray, "V J"]
    shift: Float[np.ndarray, "V 3"] | None = None


@dataclasses.dataclass(frozen=True)
class CarriedRig:
    """The same over the vertices of another surface, whose `neutral` positions are `shift` back from where it lay."""

    neutral: Float[np.ndarray, "T 3"]
    shape_keys: dict[str, Float[np.ndarray, "T 3"]]
    skin_weights: Float[np.ndarray, "T J"]

    def part(self, name: str, mesh: Mesh, texture: UInt8[np.ndarray, "H W C"], material: Material) -> AvatarPart:
        """The surface as a part of an avatar, in its neutral shape, with the keys that move it."""
        joints, weights = strongest_weights(self.skin_weights)
        moving = {key: value for key, value in self.shape_keys.items() if np.abs(value).max() > _SMALLEST_KEY}
        neutral = dataclasses.replace(mesh, vertices=self.neutral)
        return AvatarPart(name, neutral, texture, material, joints, weights, moving)


def carry_rig(source: RigSource, vertices: Float[np.ndarray, "T 3"], faces: Int[np.ndarray, "G 3"]) -> CarriedRig:
    """Carry a rig to a surface that lies on the source.

    What stands off (hair, clothes) follows the less the further off it is; its bones continue smoothly. Where the
    surface is one piece and the source is not, as over the lips of a level set, a key stretches it like a skin
    (see `limit_stretch`) instead of tearing it.
    """
    found = correspond(source.vertices, source.faces, vertices, faces)
    shift = np.zeros_like(source.vertices) if source.shift is None else source.shift
    fields = {**source.shape_keys, "shift": shift, "skin weights": source.skin_weights}
    carried = spread(found, source.faces, fields, vertices, faces)
    # Beyond the reach of the transfer the walk over the surface counts, not the nearest point, which may jump.
    beyond = np.where(found.distance < REACH, np.maximum(found.distance - _CLOSE, 0), found.distance - _CLOSE)
    follows = np.exp(-((beyond / _FADE) ** 2))[:, None]
    neutral = vertices - carried.pop("shift") * follows
    weights = np.clip(carried.pop("skin weights"), 0, None)
    keys = {name: limit_stretch(offsets * follows, neutral, faces) for name, offsets in carried.items()}
    return CarriedRig(neutral, keys, weights / weights.sum(1, keepdims=True))


def limit_stretch(
    offsets: Float[np.ndarray, "T 3"],
    vertices: Float[np.ndarray, "T 3"],
    faces: Int[np.ndarray, "G 3"],
    limit: float = _LIMIT,
) -> Float[np.ndarray, "T 3"]:
    """Offsets under which no edge grows much beyond `limit` times its length.

    Around the edges that would, the offsets are forgotten within as wide a band as the gap needs and continued
    smoothly across it: the tear becomes a stretch that its neighbourhood shares.
    """
    links = edges(faces)
    a, b = links.T
    span = vertices[a] - vertices[b]
    length = np.linalg.norm(span, axis=1)
    # Edges shorter than the finest detail may stretch more: nobody sees them.
    allowed = limit * np.maximum(length, _FINEST)
    graph = sparse.csr_matrix((np.maximum(length, 1e-6), (a, b)), (len(vertices),) * 2)
    width = 1.0
    for _ in range(_ROUNDS):
        stretched = np.linalg.norm(span + offsets[a] - offsets[b], axis=1)
        torn = stretched > allowed
        if not torn.any():
            break
        radius = width * stretched[torn].max() / (2 * (limit - 1))
        seeds = np.unique(links[torn])
        walk = dijkstra(graph, directed=False, indices=seeds, limit=radius, min_only=True)
        offsets = continue_field(offsets, ~np.isfinite(walk), vertices, faces)
        width *= 1.3
    return offsets
