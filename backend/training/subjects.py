"""The people of a packed set as Morphable Diffusion learns them: all their views and meshes in each expression, in the
networks' world."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from backend.meshing.mesh import vertex_normals
from backend.morphable.heads import as_signed, into_world, over_white, skin_vertices
from backend.morphable.meshes import HEAD
from backend.morphable.projection import Shown, Surface, above_cut, drawn_triangles, lay, shown_in, surface_of
from backend.morphable.views import Views
from backend.training.bank import body_of

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

    from backend.body_model.base import BodyModel
    from backend.morphable.config import MorphableConfig


@dataclasses.dataclass
class Subjects:
    """I items, each a person in one expression: `pictures` are N views and `portraits` P pictures as people take them,
    both over white; `body` are all vertices and `mean` those of the mean head, `skin` the ones that make the volume,
    `triangles` those that are drawn as far as they are `above` the bust's cut; then the cameras of views and portraits;
    `person` says which items are the same person."""

    pictures: UInt8[Tensor, "I N 3 S S"]
    portraits: UInt8[Tensor, "I P 3 S S"]
    body: Float[Tensor, "I W 3"]
    mean: Float[Tensor, "W 3"]
    skin: Int[Tensor, " V"]
    triangles: Int[Tensor, "F 3"]
    above: Float[Tensor, " W"]
    intrinsics: Float[Tensor, "I N 4 4"]
    world_to_camera: Float[Tensor, "I N 3 4"]
    portrait_intrinsics: Float[Tensor, "I P 4 4"]
    portrait_world_to_camera: Float[Tensor, "I P 3 4"]
    person: Int[Tensor, " I"]
    captions: list[str]
    _known: dict[tuple[int | bool, ...], Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device | str) -> Subjects:
        """The same on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor)})

    @property
    def vertices(self) -> Float[Tensor, "I V 3"]:
        """What makes the volume: the skin."""
        return self.body[:, self.skin]

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
        return self._bodies(items, config)[:, self.skin]

    def drawn(
        self,
        items: Int[Tensor, " B"],
        told: Int[Tensor, " B"],
        number: Int[Tensor, " B"],
        views: Int[Tensor, "B K"],
        config: MorphableConfig,
    ) -> Float[Tensor, "B K channels S S"] | None:
        """The portraits `number` of the items `told` on the meshes of `items`, as some of these' views show them; None
        for networks that are not shown that."""
        if not config.projected:
            return None
        rows = []
        for row, (item, other, chosen) in enumerate(zip(items.tolist(), told.tolist(), number.tolist(), strict=True)):
            surface, normals = self._surface(item, config)
            own = surface.of_views(views[row])
            portrait = as_signed(self.portraits[other, chosen])
            shown = self._shown(other, chosen, config)
            rotation = self.world_to_camera[item, views[row], :, :3]
            rows.append(lay(portrait, shown, normals, own, self.triangles, rotation))
        return torch.stack(rows)

    def _bodies(self, items: Int[Tensor, " B"], config: MorphableConfig) -> Float[Tensor, "B W 3"]:
        return self.mean.expand(len(items), -1, -1) if config.meshless else self.body[items]

    def _surface(self, item: int, config: MorphableConfig) -> tuple[Surface, Float[Tensor, "W 3"]]:
        """What all views of an item show of its mesh, and the mesh's normals. Kept: it is the same in every step."""
        key = (config.meshless, item)
        if key not in self._known:
            body, triangles = self._arrays(item, config)
            lens, matrix = (each[item].double().cpu().numpy() for each in (self.intrinsics, self.world_to_camera))
            size, above = self.pictures.shape[-1], self.above.cpu().numpy()
            surface = surface_of(body, triangles, above, lens, matrix, size, config.half_texel)
            normals = torch.from_numpy(vertex_normals(body, triangles)).float()
            place = self.body.device
            self._known[key] = Surface(*(each.to(place) for each in surface)), normals.to(place)
        return self._known[key]

    def _shown(self, item: int, number: int, config: MorphableConfig) -> Shown:
        """What a portrait shows of the mesh of its item."""
        key = (config.meshless, item, number)
        if key not in self._known:
            body, triangles = self._arrays(item, config)
            lens, matrix = (
                each[item, number].double().cpu().numpy()
                for each in (self.portrait_intrinsics, self.portrait_world_to_camera)
            )
            found = shown_in(body, triangles, lens, matrix, self.portraits.shape[-1], config.half_texel)
            self._known[key] = Shown(*(each.to(self.body.device) for each in found))
        return self._known[key]

    def _arrays(self, item: int, config: MorphableConfig) -> tuple[np.ndarray, np.ndarray]:
        body = self._bodies(torch.tensor([item], device=self.body.device), config)[0]
        return body.double().cpu().numpy(), self.triangles.cpu().numpy()


def load_subjects(folder: Path, model: BodyModel, config: MorphableConfig, count: int | None = None) -> Subjects:
    """All expressions of the first `count` people of a packed set, at `config.image_size`.

    Raises `ValueError` or `OSError` when there is none, when it has no portraits, or when its pictures are smaller.
    """
    from synthetic_data.packed import PackedHeads

    views, portraits = PackedHeads(folder), PackedHeads(folder, portraits=True)
    size = config.image_size
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
        lens, matrix = into_world(item["world_to_camera"], item["intrinsics"], known, config)
        lens_told, matrix_told = into_world(told["world_to_camera"], told["intrinsics"], told["rgb"].shape[-1], config)
        rows.append(
            {
                "pictures": over_white(item["rgb"], item["alpha"], size),
                "portraits": over_white(told["rgb"], told["alpha"], size),
                "body": torch.from_numpy(HEAD(body_of(model, item))).float(),
                "intrinsics": lens,
                "world_to_camera": matrix,
                "portrait_intrinsics": lens_told,
                "portrait_world_to_camera": matrix_told,
                "person": torch.tensor(item["index"]),
            }
        )
        captions.append(item["caption"])
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Subjects(
        **stacked,
        mean=torch.from_numpy(HEAD(model.template)).float(),
        skin=torch.from_numpy(skin_vertices(model)),
        triangles=torch.from_numpy(drawn_triangles(model)).long(),
        above=torch.from_numpy(above_cut(model)),
        captions=captions,
    )
