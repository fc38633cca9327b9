"""The rig of one head carried over to another surface: a level set, or a mesh that an artist has edited."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from backend.body_model.correspondence import Correspondence, correspond, edges
from backend.body_model.transfer import continue_field, spread
from backend.rigging.assemble import strongest_weights
from backend.rigging.avatar import AvatarPart, Material

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from backend.meshing.mesh import Mesh

_CLOSE, _FADE = 0.006, 0.015
"""What lies within the first, in metres, follows the skin; beyond it, less with the second as width of a Gaussian."""
_FAR = 0.045
"""Where hardly anything is left of a key, so that it may jump."""
STRETCH_LIMIT = 3.0
_FINEST = 0.0005
_ROUNDS = 5
_SMALLEST_KEY = 5e-5
"""A key that moves no vertex of a part by this much (metres) is left out."""


@dataclasses.dataclass(frozen=True)
class RigSource:
    """What is known on a head: shape keys and bone weights over its vertices (metres, head frame).

    `shift` are further offsets that are carried like a shape key, such as those from the neutral head to this one.
    `eye_faces` marks the triangles of the eyeballs, if there are any.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    shape_keys: dict[str, Float[np.ndarray, "V 3"]]
    skin_weights: Float[np.ndarray, "V J"]
    shift: Float[np.ndarray, "V 3"] | None = None
    eye_faces: Bool[np.ndarray, " F"] | None = None


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


def carry_rig(
    source: RigSource, vertices: Float[np.ndarray, "T 3"], faces: Int[np.ndarray, "G 3"], *, fused: bool = True
) -> CarriedRig:
    """Carry a rig to a surface that lies on the source.

    What stands off (hair, clothes) follows the less the further off it is; its bones continue smoothly. Where a `fused`
    surface is one piece and the source is not, a key stretches it like a skin instead of tearing it: over the lips of
    a level set (see `StretchGuard`), and over its eyes, which a blink presses together.
    """
    found = correspond(source.vertices, source.faces, vertices, faces)
    weights = spread(found, source.faces, {"weights": source.skin_weights}, vertices, faces)["weights"]
    weights = np.clip(weights, 0, None)
    shift = np.zeros_like(source.vertices) if source.shift is None else source.shift
    carried = _spread_keys(found, source, {**source.shape_keys, "shift": shift}, vertices, faces)
    follows = np.exp(-((np.maximum(found.distance - _CLOSE, 0) / _FADE) ** 2))[:, None]
    neutral = vertices - carried.pop("shift") * follows
    keys = {name: offsets * follows for name, offsets in carried.items()}
    if fused:
        guard = StretchGuard(neutral, faces)
        keys = {name: guard.limit(offsets) for name, offsets in keys.items()}
    return CarriedRig(neutral, keys, weights / weights.sum(1, keepdims=True))


def _spread_keys(
    found: Correspondence,
    source: RigSource,
    fields: dict[str, Float[np.ndarray, "V k"]],
    vertices: Float[np.ndarray, "T 3"],
    faces: Int[np.ndarray, "G 3"],
) -> dict[str, Float[np.ndarray, "T k"]]:
    """Fields of the source over the target; what eyeballs do not do by turning, lids do to the eyes between them."""
    if source.eye_faces is None:
        return spread(found, source.faces, fields, vertices, faces, _FAR)
    turning = {name: field for name, field in fields.items() if name.startswith("eyeLook")}
    rest = {name: field for name, field in fields.items() if name not in turning}
    on_lids = dataclasses.replace(found, distance=np.where(source.eye_faces[found.face], np.inf, found.distance))
    carried = spread(found, source.faces, turning, vertices, faces, _FAR)
    carried |= spread(on_lids, source.faces, rest, vertices, faces, _FAR)
    return {name: carried[name] for name in fields}  # shape keys keep their order


class StretchGuard:
    """Keeps offsets from drawing the edges of a surface out much beyond `limit` times their length."""

    def __init__(
        self, vertices: Float[np.ndarray, "T 3"], faces: Int[np.ndarray, "G 3"], limit: float = STRETCH_LIMIT
    ) -> None:
        self._vertices, self._faces, self._stretch = vertices, faces, limit
        self._links = edges(faces)
        a, b = self._links.T
        self._span = vertices[a] - vertices[b]
        length = np.linalg.norm(self._span, axis=1)
        # Edges shorter than the finest detail may stretch more: nobody sees them.
        self._allowed = limit * np.maximum(length, _FINEST)
        self._graph = sparse.csr_matrix((np.maximum(length, 1e-6), (a, b)), (len(vertices),) * 2)

    def limit(self, offsets: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
        """The offsets, forgotten around edges that they would tear and continued smoothly across.

        The band is as wide as the gap needs: the tear becomes a stretch that its neighbourhood shares.
        """
        a, b = self._links.T
        width = 1.0
        for _ in range(_ROUNDS):
            stretched = np.linalg.norm(self._span + offsets[a] - offsets[b], axis=1)
            torn = stretched > self._allowed
            if not torn.any():
                break
            radius = width * stretched[torn].max() / (2 * (self._stretch - 1))
            seeds = np.unique(self._links[torn])
            walk = dijkstra(self._graph, directed=False, indices=seeds, limit=radius, min_only=True)
            offsets = continue_field(offsets, ~np.isfinite(walk), self._vertices, self._faces)
            width *= 1.3
        return offsets
