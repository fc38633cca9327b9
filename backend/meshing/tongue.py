"""The tongue: the body model's own, fitted between the rows of teeth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from backend.meshing.dental_arch import measure_arch
from backend.meshing.inner_part import InnerPart
from backend.meshing.mesh import Mesh
from backend.meshing.texture import smoothstep
from backend.rigging.attach import Attachment
from backend.rigging.avatar import Material

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from backend.body_model.base import BodyModel

_SIZE = 256
_BEHIND_EDGES = 0.0105  # from the labial side of the upper front teeth to the tip, metres
_BESIDE_EDGES = 0.0125  # from the outer side of the upper molars to the tongue, metres
_FREE = 0.72  # share of the room inside the arch in which the tongue keeps its shape
_ABOVE_BITE = 0.002  # the back of the tongue rises this far above the biting plane, metres
_SIGHT = np.array([0.0, -0.6, 0.8])  # the upper chart shows what faces this way
_PINK, _DEEP = np.array([0.75, 0.43, 0.415]), np.array([0.52, 0.20, 0.21])


def tongue(model: BodyModel, neutral: Float[np.ndarray, "V 3"]) -> InnerPart | None:
    """The model's tongue, drawn back, narrowed and lowered so that it rests behind the teeth; None when it has none.

    Every vertex follows its own body vertex, so that jaw and tongue keys move it as they move the model's.
    """
    triangles = model.topology.parts.get("tongue", np.zeros(0, int))
    if len(triangles) == 0:
        return None
    used, faces = np.unique(model.topology.faces[triangles], return_inverse=True)
    faces = faces.reshape(-1, 3)
    vertices = _settle(model, neutral, neutral[used])
    uvs, uv_faces = _unwrap(vertices, faces)
    mesh = Mesh(vertices, faces, uvs, uv_faces)
    return InnerPart("tongue", mesh, _texture(), Material(roughness=0.42), Attachment.same(used))


def _settle(
    model: BodyModel, neutral: Float[np.ndarray, "V 3"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Fit the tongue into the room inside the lower arch."""
    arch = measure_arch(model, neutral)
    offset = points[:, :2] - arch.centre
    front = offset[:, 1] < 0
    # Seen from the centre of the arch: towards the front the tongue ends before the teeth, behind it before the cheeks.
    ahead = np.arctan2(offset[:, 0] / arch.stretch, -offset[:, 1])
    angle = np.where(front, ahead, np.copysign(np.pi / 2, offset[:, 0]))
    side = np.sin(angle) ** 2
    thickness = _BEHIND_EDGES * (1 - side) + _BESIDE_EDGES * side
    room = np.linalg.norm(arch.point(angle) - arch.centre, axis=1) - thickness * arch.scale
    distance = np.where(front, np.linalg.norm(offset, axis=1), np.abs(offset[:, 0]))
    share = distance / room
    share = np.where(share > _FREE, _FREE + (1 - _FREE) * np.tanh((share - _FREE) / (1 - _FREE)), share)
    factor = share * room / np.maximum(distance, 1e-9)
    offset = offset * np.stack([factor, np.where(front, factor, 1.0)], 1)
    x, y = (arch.centre + offset).T
    z = points[:, 2]
    forward = (y.max() - y) / np.ptp(y)  # 0 at the root, 1 at the tip

    # The front two thirds come down; the root stays in the throat.
    drop = max(0.0, (z - arch.height(y))[forward > 0.35].max() - _ABOVE_BITE * arch.scale)
    return np.stack([x, y, z - smoothstep(0.15, 0.55, forward) * drop], 1)


def _unwrap(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "t 2"], Int[np.ndarray, "F 3"]]:
    """Two parallel projections side by side: what faces up and forwards on the left, the underside on the right."""
    across = vertices[:, 0]
    along = vertices @ np.array([0.0, -_SIGHT[2], _SIGHT[1]])  # grows towards the tip
    u, v = ((q - q.min()) / np.ptp(q) for q in (across, along))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    under = (np.cross(b - a, c - a) @ _SIGHT) < 0
    upper = np.stack([0.01 + 0.48 * u, 0.01 + 0.98 * v], 1)
    lower = np.stack([0.51 + 0.48 * u, 0.01 + 0.98 * v], 1)
    return np.concatenate([upper, lower]), faces + len(vertices) * under[:, None]


def _texture() -> UInt8[np.ndarray, "S S 3"]:
    """Pink with a groove along the middle and fine papillae; darker at the root, smooth and deeper red below."""
    v, u = np.meshgrid(1 - (np.arange(_SIZE) + 0.5) / _SIZE, (np.arange(_SIZE) + 0.5) / _SIZE, indexing="ij")
    under = u >= 0.5
    across = np.where(under, u - 0.75, u - 0.25) * 4  # -1 to 1 over the chart
    # Papillae on a lattice that never repeats visibly, without a random number.
    i, j = np.mgrid[:_SIZE, :_SIZE]
    speckle = np.modf(np.abs(np.sin(i * 12.9898 + j * 78.233)) * 43758.5453)[0]
    fine = ndimage.gaussian_filter(speckle - 0.5, 0.9, mode="wrap")
    broad = ndimage.gaussian_filter(speckle - 0.5, 6.0, mode="wrap")
    noise = 0.05 * fine / fine.std() + 0.025 * broad / broad.std()
    groove = np.exp(-((across / 0.08) ** 2)) * smoothstep(0.97, 0.75, v) * smoothstep(0.1, 0.4, v)
    hollow = np.exp(-((across / 0.30) ** 2)) * smoothstep(1.0, 0.8, v)
    rim = smoothstep(0.55, 1.0, np.abs(across))
    colour = _PINK * (1 - 0.15 * groove - 0.09 * hollow)[..., None]
    colour = colour * (1 - rim[..., None] * [0.05, 0.16, 0.15])
    # The coat is palest in the middle of the back half.
    coat = (1 - rim) * smoothstep(0.85, 0.45, v) * 0.25
    colour = colour * (1 - coat[..., None]) + coat[..., None] * np.array([0.80, 0.58, 0.55])
    colour = np.where(under[..., None], _DEEP * (1 + 0.2 * v)[..., None], colour * (1 + noise)[..., None])
    shade = 0.42 + 0.58 * smoothstep(0.15, 0.75, v)
    return (np.clip(colour * shade[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)
