"""A few vertices that stand for the whole body: they carry the warp into canonical space."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from jaxtyping import Int

    from backend.body_model.base import BodyModel

CONTROLS = 800


@functools.lru_cache(maxsize=4)
def control_vertices(model: BodyModel, count: int = CONTROLS) -> Int[np.ndarray, " K"]:
    """Vertices of the outer skin spread evenly over the canonical body by farthest-point sampling, in mirrored pairs:
    the second half of the result is the mirror image of the first."""
    topology = model.topology
    mirrored = np.asarray(KDTree(model.template).query(model.template * [-1, 1, 1])[1])
    skin = np.unique(topology.faces[topology.parts["skin"]])
    skin = skin[(topology.regions["mouth_interior"][skin] < 0.5) & (model.template[skin, 0] > 1e-4)]
    places = model.template[skin]
    chosen = [int(np.argmin(places[:, 1]))]
    distance = np.full(len(skin), np.inf)
    while len(chosen) < min(count // 2, len(skin)):
        distance = np.minimum(distance, ((places - places[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    half = skin[np.array(chosen)]
    return np.concatenate([half, mirrored[half]])
