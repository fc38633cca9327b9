"""Teeth, shaped from the model's two strips, and the tongue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece
from synthetic_data.surface import Patch, extract, unit, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float


def make_mouth(model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> list[Piece]:
    """What the model has of teeth and tongue."""
    topology = model.topology
    pieces = []
    for part, colour, finish, segment in (
        ("teeth_upper", (0.76, 0.70, 0.60), "tooth", "teeth"),
        ("teeth_lower", (0.76, 0.70, 0.60), "tooth", "teeth"),
        ("tongue", (0.42, 0.13, 0.12), "wet", "tongue"),
    ):
        triangles = topology.parts.get(part, np.zeros(0, int))
        if len(triangles):
            patch = extract(vertices, topology.faces[triangles], topology.uvs[topology.uv_faces[triangles]])
            if part.startswith("teeth"):
                given = {"template": model.template}
                patch = extract(
                    vertices, topology.faces[triangles], topology.uvs[topology.uv_faces[triangles]], given
                ).refined(3)
                patch = _crowns(patch, upper=part == "teeth_upper")
                pieces.append(Piece(part, patch, segment, finish, colour))
            else:
                pieces.append(Piece(part, patch.refined(1), segment, finish, colour))
    return pieces


_BORDERS = (0.0, 0.0083, 0.0150, 0.0225, 0.0295, 0.0365, 0.0465, 0.0565)
"""Where teeth meet along the upper arch, metres from its middle; lower front teeth are narrower."""


def _crowns(patch: Patch, *, upper: bool) -> Patch:
    """Grooves between the teeth, rounded edges, and gums towards the roots, as shape and as the attribute "colour"."""
    template = patch.attributes["template"]
    x, y, z = template.T
    # Length along the arch, which is about a parabola.
    front = y.min()
    along = np.hypot(np.abs(x), 0.75 * (y - front)) * (1.0 if upper else 1.18)
    borders = np.array(_BORDERS)
    which = np.clip(np.searchsorted(borders, along) - 1, 0, len(borders) - 2)
    place = np.clip((along - borders[which]) / (borders[which + 1] - borders[which]), 0, 1)
    low, high = z.min(), z.max()
    root = (z - low) / (high - low) if upper else (high - z) / (high - low)
    groove = np.exp(-((np.minimum(place, 1 - place) / 0.09) ** 2))
    # The gum scallops up over the middle of every tooth.
    gum = np.clip((root - 0.66 + 0.10 * (2 * place - 1) ** 2) / 0.06, 0, 1)
    sunk = (0.0009 * groove * (1 - gum))[:, None]
    normals = unit(vertex_normals(patch.vertices, patch.faces))
    shade = 1 - 0.55 * groove - 0.12 * np.clip((along - 0.02) / 0.03, 0, 1)
    colour = shade[:, None] * np.ones(3)
    colour = colour + gum[:, None] * (np.array([0.55, 0.20, 0.22]) - colour)
    painted = np.concatenate([colour, np.ones((len(colour), 1))], 1)
    return Patch(patch.vertices - sunk * normals, patch.faces, patch.corner_uvs, {"colour": painted})
