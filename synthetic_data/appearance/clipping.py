"""Cutting a surface along the zero line of a field."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from synthetic_data.surface import Patch, extract

if TYPE_CHECKING:
    from jaxtyping import Float


def clip(patch: Patch, cut: Float[np.ndarray, " V"], *others: Float[np.ndarray, " V"]) -> Patch:
    """The part of a patch where linearly interpolated values are positive; triangles on the border are cut.

    The first value stays with the vertices as the attribute "cut".
    """
    patch = dataclasses.replace(patch, attributes={**patch.attributes, "cut": np.stack([cut, *others], 1)})
    for column in reversed(range(1 + len(others))):
        patch = _clip_once(patch, patch.attributes["cut"][:, column])
    return patch


def _clip_once(patch: Patch, values: Float[np.ndarray, " V"]) -> Patch:
    inside = values > 0
    count = inside[patch.faces].sum(1)
    whole = count == 3
    faces, uvs = [patch.faces[whole]], [patch.corner_uvs[whole]]
    crossed = patch.faces[(count == 1) | (count == 2)]
    crossed_uvs = patch.corner_uvs[(count == 1) | (count == 2)]
    if len(crossed) == 0:
        return extract(patch.vertices, faces[0], uvs[0], patch.attributes)
    # Turn every triangle so that its lone corner comes first.
    lone = np.where(inside[crossed].sum(1) == 1, inside[crossed].T, ~inside[crossed].T).argmax(0)
    order = (lone[:, None] + np.arange(3)) % 3
    crossed = np.take_along_axis(crossed, order, 1)
    crossed_uvs = np.take_along_axis(crossed_uvs, order[..., None], 1)
    edges = np.sort(np.stack([crossed[:, [0, 1]], crossed[:, [0, 2]]], 1).reshape(-1, 2), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    share = (values[unique[:, 0]] / (values[unique[:, 0]] - values[unique[:, 1]]))[:, None]

    def between(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, array[unique[:, 0]] * (1 - share) + array[unique[:, 1]] * share])

    new = len(patch.vertices) + index.reshape(-1, 2)
    a, b, c = crossed.T
    t = (values[a][:, None] / (values[a][:, None] - values[crossed[:, 1:]]))[..., None]
    cut_uvs = crossed_uvs[:, :1] * (1 - t) + crossed_uvs[:, 1:] * t
    alone = inside[a]
    faces.append(np.stack([a, new[:, 0], new[:, 1]], 1)[alone])
    uvs.append(np.stack([crossed_uvs[:, 0], cut_uvs[:, 0], cut_uvs[:, 1]], 1)[alone])
    pair = ~alone
    faces += [np.stack([new[:, 0], b, c], 1)[pair], np.stack([new[:, 0], c, new[:, 1]], 1)[pair]]
    uvs += [
        np.stack([cut_uvs[:, 0], crossed_uvs[:, 1], crossed_uvs[:, 2]], 1)[pair],
        np.stack([cut_uvs[:, 0], crossed_uvs[:, 2], cut_uvs[:, 1]], 1)[pair],
    ]
    attributes = {name: between(array) for name, array in patch.attributes.items()}
    return extract(between(patch.vertices), np.concatenate(faces), np.concatenate(uvs), attributes)
