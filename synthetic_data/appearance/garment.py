"""A shirt: the body model's hull, lifted off the skin and cut at the neckline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.pieces import Piece, thicken
from synthetic_data.identity import GarmentSpec
from synthetic_data.surface import Patch, extract, vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_CLEARANCE = 0.007
_COLLAR = 0.010
_BUST_BOTTOM, _BUST_SIDE = 0.275, 0.270
"""Where the bust ends below and at the sides on the template, metres."""


def below_neckline(template: Float[np.ndarray, "*n 3"], spec: GarmentSpec) -> Float[np.ndarray, "*n"]:
    """Metres from the neckline on the template, positive on the side that the garment covers.

    The neckline is where an ellipsoid around the neck meets the hull; it passes the throat at height `spec.neckline`.
    """
    x, y, z = np.moveaxis(template, -1, 0)
    radius = 0.080 + 0.03 * spec.neckline
    return np.sqrt(0.92 * x**2 + (y - 0.03) ** 2 + (z + 0.090) ** 2) - radius


def hidden_skin(model: BodyModel, spec: GarmentSpec) -> Bool[np.ndarray, " S"]:
    """Triangles of the part "skin" that lie well under the garment and need not be rendered."""
    topology = model.topology
    skin = topology.faces[topology.parts["skin"]]
    chest = model.template[:, 2] < -0.10
    covered = (below_neckline(model.template, spec) > 0.02) & chest
    return covered[skin].all(1)


def make_garment(model: BodyModel, vertices: Float[np.ndarray, "V 3"], spec: GarmentSpec) -> list[Piece]:
    """The shirt with a linear RGBA "colour" per vertex, darker at the collar; None when the model has no hull."""
    topology = model.topology
    triangles = topology.parts.get("garment", np.zeros(0, int))
    if len(triangles) == 0:
        return []
    faces = topology.faces[triangles]
    lifted = vertices + _CLEARANCE * vertex_normals(vertices, faces)
    patch = extract(lifted, faces, topology.uvs[topology.uv_faces[triangles]], {"template": model.template})
    patch = patch.refined(2)
    distance = below_neckline(patch.attributes["template"], spec)
    x, _, z = patch.attributes["template"].T
    edge = np.minimum(z + _BUST_BOTTOM, _BUST_SIDE - np.abs(x))
    patch = clip(patch, np.minimum(distance, edge))
    return [Piece("garment", thicken(patch, 0.0025), "garment", "cloth", spec.colour)]


def clip(patch: Patch, values: Float[np.ndarray, " V"]) -> Patch:
    """The part of a patch where a linearly interpolated value is positive; triangles on the border are cut."""
    vertices, faces = [patch.vertices], []
    attributes = {name: [array] for name, array in patch.attributes.items()}
    uvs = []
    cuts: dict[tuple[int, int], int] = {}
    growing = [(patch.vertices, vertices)] + [(patch.attributes[name], attributes[name]) for name in attributes]
    size = len(patch.vertices)

    def cut(i: int, j: int) -> tuple[int, float]:
        key = (min(i, j), max(i, j))
        t = values[key[0]] / (values[key[0]] - values[key[1]])
        if key not in cuts:
            cuts[key] = size + len(cuts)
            for array, parts in growing:
                parts.append((array[key[0]] + t * (array[key[1]] - array[key[0]]))[None])
        return cuts[key], float(t if i == key[0] else 1 - t)

    for face, corner_uvs in zip(patch.faces, patch.corner_uvs, strict=True):
        polygon: list[tuple[int, np.ndarray]] = []
        for k in range(3):
            i, j, uv, next_uv = face[k], face[(k + 1) % 3], corner_uvs[k], corner_uvs[(k + 1) % 3]
            if values[i] > 0:
                polygon.append((int(i), uv))
            if (values[i] > 0) != (values[j] > 0):
                index, t = cut(int(i), int(j))
                polygon.append((index, uv + t * (next_uv - uv)))
        for k in range(1, len(polygon) - 1):
            corners = (polygon[0], polygon[k], polygon[k + 1])
            faces.append([c[0] for c in corners])
            uvs.append([c[1] for c in corners])
    joined = {name: np.concatenate(parts) for name, parts in attributes.items()}
    return extract(np.concatenate(vertices), np.array(faces), np.array(uvs), joined)
