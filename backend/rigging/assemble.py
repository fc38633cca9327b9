"""From fitted body, shells and textures to the rigged avatar in its neutral pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.rigging.attach import Attachment
from backend.rigging.avatar import ARKIT_SHAPES, AvatarPart, Material

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from backend.body_model.base import EyeSphere
    from backend.meshing.mesh import Mesh

_SMALLEST_KEY = 5e-5
"""A key that moves no vertex of a part by this much (metres) is left out."""


def rigged_part(
    name: str,
    mesh: Mesh,
    texture: UInt8[np.ndarray, "H W C"],
    material: Material,
    attachment: Attachment,
    keys: dict[str, Float[np.ndarray, "V 3"]],
    skin_weights: Float[np.ndarray, "V J"],
) -> AvatarPart:
    """A part whose vertices follow the body: keys and bone weights are carried over by `attachment`."""
    carried = {key: attachment.carry(keys[key]) for key in ARKIT_SHAPES if key in keys}
    joints, weights = strongest_weights(attachment.carry_skin_weights(skin_weights))
    moving = {key: value for key, value in carried.items() if np.abs(value).max() > _SMALLEST_KEY}
    return AvatarPart(name, mesh, texture, material, joints, weights, moving)


def strongest_weights(
    weights: Float[np.ndarray, "V J"], count: int = 4
) -> tuple[Int[np.ndarray, "V 4"], Float[np.ndarray, "V 4"]]:
    """The four strongest bones of each vertex and their weights, rescaled to sum to one."""
    padded = np.pad(weights, ((0, 0), (0, max(0, count - weights.shape[1]))))
    joints = np.argsort(-padded, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(padded, joints, 1)
    kept = np.where(kept < 1e-4, 0, kept)
    joints = np.where(kept > 0, joints, 0)
    return joints.astype(np.int64), kept / kept.sum(1, keepdims=True)


def eye_part(
    name: str,
    mesh: Mesh,
    texture: UInt8[np.ndarray, "H W 3"],
    bone: int,
    sphere: EyeSphere,
    keys: dict[str, Float[np.ndarray, "V 3"]],
    eye_vertices: Int[np.ndarray, " n"],
    neutral: Float[np.ndarray, "V 3"],
) -> AvatarPart:
    """An eyeball that hangs on its own bone; the eyeLook keys turn it by the angle that they turn the body model's."""
    shape_keys = {}
    before = neutral[eye_vertices] - neutral[eye_vertices].mean(0)
    for key, offsets in keys.items():
        moved = offsets[eye_vertices]
        if np.abs(moved).max() <= _SMALLEST_KEY:
            continue
        after = before + moved
        u, _, vt = np.linalg.svd((after - after.mean(0)).T @ before)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        local = mesh.vertices - sphere.centre
        shape_keys[key] = local @ rotation.T - local + moved.mean(0)
    joints = np.zeros((len(mesh.vertices), 4), np.int64)
    joints[:, 0] = bone
    weights = np.zeros((len(mesh.vertices), 4))
    weights[:, 0] = 1
    return AvatarPart(name, mesh, texture, Material(roughness=0.15), joints, weights, shape_keys)


def close_openings(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], below: float
) -> list[Int[np.ndarray, " n"]]:
    """Loops of border vertices that lie below height `below` (metres), each in the order of its outgoing edges."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in keys if (b, a) not in keys}
    loops = []
    while following:
        start, current = next(iter(sorted(following.items())))
        loop = [start]
        del following[start]
        while current != start and current in following:
            loop.append(current)
            current = following.pop(current)
        if current == start and vertices[loop, 2].max() < below and len(loop) > 2:
            loops.append(np.array(loop))
    return loops
