"""Two rows of teeth in their gums, built tooth by tooth on an arch that is measured from the head."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import defaults
from backend.meshing.crowns import LOWER, UPPER, Row
from backend.meshing.dental_arch import measure_arch
from backend.meshing.gums import gums
from backend.meshing.inner_part import InnerPart
from backend.meshing.mesh import Mesh
from backend.meshing.teeth_texture import PER_ROW, paint
from backend.rigging.attach import Attachment
from backend.rigging.avatar import Material

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from backend.body_model.base import BodyModel

NATURAL_SHADE = (0.87, 0.83, 0.75)
"""Off-white of grown-up teeth, sRGB."""
_MATERIAL = Material(roughness=0.36)
_OVERJET = 0.0026  # the lower arch lies this far inside the upper one, metres
_OVERBITE = 0.0013  # lower edges stand this far above the upper biting plane, metres
_SOURCES = 16  # body vertices that a row rides on


def teeth(
    model: BodyModel,
    neutral: Float[np.ndarray, "V 3"],
    shade: Float[np.ndarray, "3"] | None,
    generator: np.random.Generator,
) -> list[InnerPart]:
    """The upper and the lower row of fourteen teeth with their gums, the upper one with the palate.

    They stand on the arch of the model's own teeth, or on one behind the lips when the model has none, and inside the
    lining of the mouth. The upper row follows only the head; the lower one moves as one piece with the jaw.

    Args:
        neutral: the neutral head with closed mouth, metres.
        shade: sRGB colour of the teeth in [0, 1]; None for a natural off-white.
        generator: tells tooth from tooth and speckles the gums.
    """
    arch = measure_arch(model, neutral)
    skin = model.topology.faces[model.topology.parts["skin"]]
    colour = np.array(NATURAL_SHADE if shade is None else shade, float)
    rows = []
    jaw_arch = dataclasses.replace(arch.inside(_OVERJET * arch.scale), bite=arch.bite + _OVERBITE * arch.scale)
    for name, row in (("teeth_upper", Row(arch, UPPER, 1.0)), ("teeth_lower", Row(jaw_arch, LOWER, -1.0))):
        mesh = _join([row.crown(k) for k in range(PER_ROW)] + gums(row, neutral, skin))
        follows = (
            upper_attachment(model, len(mesh.vertices)) if row.up > 0 else jaw_attachment(model, neutral, mesh.vertices)
        )
        rows.append(InnerPart(name, mesh, paint(colour, generator), _MATERIAL, follows))
    return rows


def upper_attachment(model: BodyModel, count: int) -> Attachment:
    """`count` vertices that ride on the one body vertex that moves least: of the upper teeth, or else of the scalp."""
    topology = model.topology
    strip = topology.parts.get("teeth_upper", np.zeros(0, int))
    candidates = np.unique(topology.faces[strip]) if len(strip) else np.flatnonzero(topology.regions["scalp"] > 0.5)
    moves = sum(
        np.abs(offsets[candidates]).sum(1)
        for offsets in model.arkit_offsets(defaults(model.identity_parameters)).values()
    )
    return Attachment.same(np.full(count, candidates[np.argmin(moves)]))


def jaw_attachment(model: BodyModel, neutral: Float[np.ndarray, "V 3"], points: Float[np.ndarray, "n 3"]) -> Attachment:
    """Points that ride on the lower teeth, or else on the chin, as one piece.

    The weights are the smallest ones (by squares) that sum to one and whose mean of the sources is the point itself.
    They depend linearly on the point, so that whatever the sources do, the points follow by one affine map.
    """
    topology = model.topology
    strip = topology.parts.get("teeth_lower", np.zeros(0, int))
    if len(strip):
        candidates = np.unique(topology.faces[strip])
    else:
        skin = np.unique(topology.faces[topology.parts["skin"]])
        follows = np.linalg.norm(model.arkit_offsets(defaults(model.identity_parameters))["jawOpen"][skin], axis=1)
        candidates = skin[(follows > 0.75 * follows.max()) & (topology.regions["lips"][skin] < 0.1)]
    sources = _spread(neutral, candidates, _SOURCES)
    centre, size = neutral[sources].mean(0), 0.03
    system = np.column_stack([(neutral[sources] - centre) / size, np.ones(len(sources))])
    wanted = np.column_stack([(points - centre) / size, np.ones(len(points))])
    weights = wanted @ np.linalg.pinv(system)
    return Attachment(np.broadcast_to(sources, weights.shape).copy(), weights)


def _spread(vertices: Float[np.ndarray, "V 3"], candidates: Int[np.ndarray, " m"], count: int) -> Int[np.ndarray, " k"]:
    """Up to `count` candidates far from one another (farthest-point sampling from the first)."""
    points, chosen = vertices[candidates], [0]
    distance = np.full(len(points), np.inf)
    for _ in range(min(count, len(candidates)) - 1):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return candidates[np.array(chosen)]


def _join(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    uv_starts = np.cumsum([0, *(len(mesh.uvs) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
        np.concatenate([mesh.uvs for mesh in meshes]),
        np.concatenate([mesh.uv_faces + start for mesh, start in zip(meshes, uv_starts, strict=False)]),
    )
