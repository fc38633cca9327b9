"""The people of a packed set as Morphable Diffusion learns them: all their views and meshes in each expression, in the
networks' world."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from backend.morphable.heads import into_world, over_white, skin_vertices
from backend.morphable.meshes import HEAD
from backend.morphable.views import Views
from backend.training.bank import body_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.morphable.config import MorphableConfig


@dataclasses.dataclass
class Subjects:
    """I items, each a person in one expression: `pictures` are N views and `portraits` P pictures as people take them,
    both over white; `vertices` the skin, `mean` that of the mean head, `intrinsics` and `world_to_camera` the views'
    cameras; `person` says which items are the same person."""

    pictures: UInt8[Tensor, "I N 3 S S"]
    portraits: UInt8[Tensor, "I P 3 S S"]
    vertices: Float[Tensor, "I V 3"]
    mean: Float[Tensor, "V 3"]
    intrinsics: Float[Tensor, "I N 4 4"]
    world_to_camera: Float[Tensor, "I N 3 4"]
    person: Int[Tensor, " I"]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device | str) -> Subjects:
        """The same on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor)})

    def views(self, items: Int[Tensor, " B"], chosen: Int[Tensor, " M"]) -> Views:
        """Cameras of some of the views."""
        lens, matrix = self.intrinsics[items][:, chosen], self.world_to_camera[items][:, chosen]
        return Views(lens, matrix, "perspective", self.pictures.shape[-1])

    def others(self, items: Int[Tensor, " B"], generator: torch.Generator) -> Int[Tensor, " B"]:
        """For each item one of the same person's, itself among them, whatever the expression."""
        same = self.person[items][:, None] == self.person[None]
        weight = torch.rand(same.shape, generator=generator, device=generator.device).to(same.device)
        return weight.masked_fill(~same, -1).argmax(1)

    def meshes(self, items: Int[Tensor, " B"], config: MorphableConfig) -> Float[Tensor, "B V 3"]:
        """What networks of `config` are shown of some items: their meshes, or the mean head for each."""
        return self.mean.expand(len(items), -1, -1) if config.meshless else self.vertices[items]


def load_subjects(folder: Path, model: BodyModel, config: MorphableConfig, count: int | None = None) -> Subjects:
    """All expressions of the first `count` people of a packed set, at `config.image_size`.

    Raises `ValueError` or `OSError` when there is none, when it has no portraits, or when its pictures are smaller.
    """
    from synthetic_data.packed import PackedHeads

    views, portraits = PackedHeads(folder), PackedHeads(folder, portraits=True)
    skin, size = skin_vertices(model), config.image_size
    rows: list[dict[str, Tensor]] = []
    captions: list[str] = []
    seen: set[int] = set()
    for number in range(len(views)):
        item, told = views[number], portraits[number]
        seen.add(item["index"])
        if count is not None and len(seen) > count:
            break
        if "rgb" not in item or "rgb" not in told:
            raise ValueError("it has no views, or no portraits")
        if (known := item["rgb"].shape[-1]) < size:
            raise ValueError(f"its pictures have {known} pixels, the recipe wants {size}")
        vertices = HEAD(body_of(model, item)[skin])
        lens, matrix = into_world(item["world_to_camera"], item["intrinsics"], known, config)
        rows.append(
            {
                "pictures": over_white(item["rgb"], item["alpha"], size),
                "portraits": over_white(told["rgb"], told["alpha"], size),
                "vertices": torch.from_numpy(vertices).float(),
                "intrinsics": lens,
                "world_to_camera": matrix,
                "person": torch.tensor(item["index"]),
            }
        )
        captions.append(item["caption"])
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Subjects(**stacked, mean=torch.from_numpy(HEAD(model.template[skin])).float(), captions=captions)
