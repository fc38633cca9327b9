"""Teeth and tongue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece
from synthetic_data.surface import extract

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
            pieces.append(Piece(part, patch.refined(1), segment, finish, colour))
    return pieces
