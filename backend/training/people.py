"""The people of a packed set as latent and prior know them: pictures from the front, body, words; no planes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.training.prompts import Prompts

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

FRONTAL_VIEWS = 2
"""Views of the rig that are taken beside the portraits: those that see the face best."""


@dataclasses.dataclass
class People:
    """N people: `pictures` are sRGB and alpha, the portraits first; `identity` the body model's parameters."""

    pictures: UInt8[Tensor, "N P 4 H W"]
    identity: Float[Tensor, "N I"]
    prompts: Prompts

    def __len__(self) -> int:
        return len(self.pictures)


def load_people(folder: Path, count: int | None = None) -> People:
    """The first `count` people of a packed set. Raises `ValueError` or `OSError` when there is none."""
    from synthetic_data.packed import PackedHeads

    views, portraits = PackedHeads(folder), PackedHeads(folder, portraits=True)
    pictures: list[Tensor] = []
    identity: list[Tensor] = []
    captions: list[str] = []
    attributes: list[dict[str, Any]] = []
    for number in range(min(len(views), count or len(views))):
        seen, item = portraits[number], views[number]
        matrix = item["world_to_camera"].double().numpy()
        centre = -np.einsum("nji,nj->ni", matrix[:, :3, :3], matrix[:, :3, 3])
        away = np.abs(np.arctan2(centre[:, 0], -centre[:, 1]))
        front = torch.from_numpy(np.argsort(away)[:FRONTAL_VIEWS].copy())
        both = [torch.cat([part["rgb"], part["alpha"]], 1) for part in (seen, item)]
        pictures.append((torch.cat([both[0], both[1][front]]) * 255).round().to(torch.uint8))
        identity.append(item["identity"])
        captions.append(item["caption"])
        attributes.append(item["attributes"])
    return People(torch.stack(pictures), torch.stack(identity), Prompts(captions, attributes))
