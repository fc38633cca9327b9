"""The heads of a packed set in memory, drawn from in batches of many heads at once.

Pictures stay bytes until they are drawn, rays are made of their pixels when they are asked for: a head of 8 views of
128 x 128 pixels takes 0.8 MB, and its warp 0.2 MB.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from backend.body_model.controls import control_vertices
from backend.radiance.canonical import FOVEA, Fovea, warp_grid
from backend.radiance.renderer import intersect_cube
from backend.radiance.supervision import GAP, GUIDED_BAND, NEAR_BAND, OPAQUE, SURFACE
from backend.radiance.triplane import DEFAULT_HALF_SIZE

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from backend.body_model.base import BodyModel

# Of `synthetic_data.person.SEGMENTS`: background, skin, eye, teeth, tongue, hair, brow, lash, garment, beard, glasses,
# headwear, earring.
CLASS_OF_SEGMENT = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 2, 3, 4, 5, 4], dtype=torch.uint8)


_ON_RIM = 0.2
"""The share of pixels that are drawn at outlines."""


@dataclasses.dataclass(frozen=True)
class Points:
    """Labelled points of B heads in cube coordinates: occupancy 0 or 1, sRGB colours, classes (of
    `radiance.decoder.CLASSES`); weights of zero leave one out."""

    places: Float[Tensor, "B N 3"]
    occupancy: Float[Tensor, "B N"]
    colours: Float[Tensor, "B N 3"]
    classes: Int[Tensor, "B N"]
    weights: Float[Tensor, "B N"]
    colour_weights: Float[Tensor, "B N"]


@dataclasses.dataclass(frozen=True)
class Rays:
    """Rays of B heads in cube coordinates: `t` sorted sample parameters, `rgb` over white."""

    origins: Float[Tensor, "B R 3"]
    directions: Float[Tensor, "B R 3"]
    near: Float[Tensor, "B R 1"]
    far: Float[Tensor, "B R 1"]
    t: Float[Tensor, "B R S"]
    rgb: Float[Tensor, "B R 3"]
    alpha: Float[Tensor, "B R 1"]


@dataclasses.dataclass
class HeadBank:
    """N heads: V views each with depth in whole millimetres, and P portraits as a condition.

    `body` holds the vertices that carry the warp and the aligned features, metres. `warps` are None where
    nobody asked for them. `rims` are pixels, ``row * W + column``, at outlines, some of each view: where a field is
    wrong it is mostly wrong there.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    classes: Tensor
    world_to_camera: Float[Tensor, "N V 4 4"]
    intrinsics: Float[Tensor, "N V 3 3"]
    portraits: Tensor
    portrait_world_to_camera: Float[Tensor, "N P 4 4"]
    portrait_intrinsics: Float[Tensor, "N P 3 3"]
    body: Float[Tensor, "N K 3"]
    warps: Float[Tensor, "N 3 R R R"] | None
    rims: Int[Tensor, "N V M"]
    indices: Int[np.ndarray, " N"]
    captions: list[str]
    attributes: list[dict[str, Any]]
    half_size: float = DEFAULT_HALF_SIZE

    def __len__(self) -> int:
        return len(self.rgb)

    def to(self, device: torch.device | str) -> HeadBank:
        """The same bank on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor)})

    def fingerprint(self) -> str:
        """The same for the same people in the same order and pictures of one size, whoever decoded them."""
        return f"{len(self)} people, {zlib.crc32(self.indices.tobytes())}, {tuple(self.rgb.shape[1:])}"

    def subset(self, heads: list[int]) -> HeadBank:
        """Some of the heads alone."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rows = {k: v[heads] for k, v in values.items() if isinstance(v, (torch.Tensor, np.ndarray))}
        lists = {k: [v[head] for head in heads] for k, v in values.items() if isinstance(v, list)}
        return dataclasses.replace(self, **rows, **lists)

    def thinned(self, most: int) -> HeadBank:
        """The same heads with pictures of at most `most` pixels along a side: of large ones every second, third...
        pixel, as cameras with fewer of them would see it."""
        step = -(-self.rgb.shape[-1] // most)
        lenses = self.intrinsics.clone()
        lenses[..., :2, :] /= step
        lenses[..., :2, 2] += 0.5 - 0.5 / step
        names = ("rgb", "alpha", "depth", "classes")
        pictures = {name: getattr(self, name)[..., ::step, ::step] for name in names}
        rims = torch.stack([rims_of(alpha[:, 0].float() / 255) for alpha in pictures["alpha"]])
        return dataclasses.replace(self, **pictures, intrinsics=lenses, rims=rims)

    def warp(self, heads: Tensor) -> Float[Tensor, "B 3 R R R"] | None:
        """The warps of some heads."""
        return None if self.warps is None else self.warps[heads].float()

    def draw_points(self, heads: Int[Tensor, " B"], count: int, generator: torch.Generator) -> Points:
        """About `count` points of each head: per pixel one on the surface and two in the free space before it, or one
        anywhere along the ray of a background pixel."""
        batch, pixels = len(heads), count // 3
        view, row, column = self._pixels(heads, pixels, generator, on_head=0.6)
        rgb, alpha, z, origin, direction = self._at(heads, view, row, column)
        classes = self.classes[heads[:, None], view, 0, row, column].long()
        near, far = intersect_cube(origin, direction, 1.0)
        per_unit = 1 / direction.norm(dim=-1, keepdim=True)
        sees = (z > 0) & (z >= near) & (z <= far) & (alpha > 127)
        blocked = ((z > 0) & (z < near)) | (far <= near) | ((alpha > 0) & ~sees & (z <= far))
        u = torch.rand((3, batch, pixels, 1), generator=generator, device=generator.device).to(z.device)
        low, high = SURFACE
        first = torch.where(sees, torch.maximum(z - GAP * per_unit, near), far)
        surface = z + (low + (high - low) * u[0]) * per_unit
        close = torch.maximum(first - u[1] ** 2 * NEAR_BAND * per_unit, near)
        anywhere = near + (first - near) * u[2]
        places = torch.cat([origin + direction * t for t in (surface, close, anywhere)], 1)
        ok, hit = (~blocked)[..., 0].float(), sees[..., 0].float()
        zeros = torch.zeros_like(ok)
        weights = torch.cat([ok * hit, ok * hit, ok], 1)
        colour_weights = torch.cat([ok * hit * (alpha[..., 0] > 255 * OPAQUE), zeros, zeros], 1)
        occupancy = torch.cat([hit, zeros, zeros], 1)
        return Points(places, occupancy, rgb.repeat(1, 3, 1), classes.repeat(1, 3), weights, colour_weights)

    def draw_rays(self, heads: Int[Tensor, " B"], count: int, samples: int, generator: torch.Generator) -> Rays:
        """Rays, most of them through the head; a third of the samples all along, the rest around the known depth."""
        view, row, column = self._pixels(heads, count, generator, on_head=0.35)
        return self._rays(heads, view, row, column, samples, generator)

    def _rays(
        self, heads: Tensor, view: Tensor, row: Tensor, column: Tensor, samples: int, generator: torch.Generator
    ) -> Rays:
        rgb, alpha, z, origin, direction = self._at(heads, view, row, column)
        near, far = intersect_cube(origin, direction, 1.0)
        per_unit = 1 / direction.norm(dim=-1, keepdim=True)
        # A ray that misses the cube gets no length at all; what it sees lies outside, as does all behind the cube.
        outside = (far <= near) | ((z > 0) & (z > far))
        far = torch.maximum(far, near)
        coverage = (alpha / 255) * (~outside).float()
        known = (z > 0) & (z >= near) & (z <= far)
        low = torch.where(known, torch.maximum(z + GUIDED_BAND[0] * per_unit, near), near)
        high = torch.where(known, torch.minimum(z + GUIDED_BAND[1] * per_unit, far), far)
        coarse = samples // 3

        def spread(number: int) -> Tensor:
            u = torch.rand((*z.shape[:2], number), generator=generator, device=generator.device).to(z.device)
            return (torch.arange(number, device=z.device) + u) / number

        t = torch.cat([near + (far - near) * spread(coarse), low + (high - low) * spread(samples - coarse)], -1)
        colour = rgb * coverage + 1 - coverage
        return Rays(origin, direction, near, far, t.sort(-1)[0], colour, coverage)

    def _pixels(
        self, heads: Tensor, count: int, generator: torch.Generator, *, on_head: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random pixels of each head as (view, row, column): the share `on_head` of them where there is somebody, and
        `_ON_RIM` at outlines."""
        batch, (views, _, height, width) = len(heads), self.rgb.shape[1:]
        shape = (batch, count, 4)
        u = torch.rand(shape, generator=generator, device=generator.device).to(self.rgb.device)
        chosen = (u * torch.tensor([views, height, width, 1.0], device=u.device)).long()
        view, row, column = (chosen[..., k] for k in range(3))
        # A second throw within the bounds of the head, kept where it falls on the head.
        alpha = self.alpha[heads[:, None], view, 0, row, column] > 0
        wanted = u[..., 3] < on_head
        for _ in range(3):
            again = torch.rand((batch, count, 2), generator=generator, device=generator.device).to(u.device)
            r, c = (again[..., 0] * height).long(), (again[..., 1] * width).long()
            retry = wanted & ~alpha
            row, column = torch.where(retry, r, row), torch.where(retry, c, column)
            alpha = self.alpha[heads[:, None], view, 0, row, column] > 0
        at_rim = u[..., 3] > 1 - _ON_RIM
        rim = self.rims[heads[:, None], view, (u[..., 1] * self.rims.shape[-1]).long()].long()
        row, column = torch.where(at_rim, rim // width, row), torch.where(at_rim, rim % width, column)
        return view, row, column

    def _at(
        self, heads: Tensor, view: Tensor, row: Tensor, column: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """sRGB, alpha (0 to 255), planar depth (metres, which is the ray's parameter), origin and direction (cube)."""
        b = heads[:, None]
        rgb = self.rgb[b, view, :, row, column].float() / 255
        alpha = self.alpha[b, view, :, row, column].float()
        depth = self.depth[b, view, :, row, column].float() / 1000
        matrix, k = self.world_to_camera[b, view], self.intrinsics[b, view]
        x = (column + 0.5 - k[..., 0, 2]) / k[..., 0, 0]
        y = (row + 0.5 - k[..., 1, 2]) / k[..., 1, 1]
        direction = torch.einsum("bnji,bnj->bni", matrix[..., :3, :3], torch.stack([x, y, torch.ones_like(x)], -1))
        origin = -torch.einsum("bnji,bnj->bni", matrix[..., :3, :3], matrix[..., :3, 3])
        return rgb, alpha, depth, origin / self.half_size, direction / self.half_size


def load_bank(
    folder: Path,
    model: BodyModel,
    *,
    first: int = 0,
    count: int | None = None,
    canonical: bool = True,
    fovea: Fovea = FOVEA,
    half_size: float = DEFAULT_HALF_SIZE,
    device: str = "cpu",
    warps: bool = True,
) -> HeadBank:
    """Read the heads `first` to ``first + count`` of a packed set onto `device`, and lay out their warps, which take
    most of the time; those who look at pictures alone need none."""
    from synthetic_data.packed import PackedHeads

    views, portraits = PackedHeads(folder), PackedHeads(folder, portraits=True)
    chosen = range(first, len(views) if count is None else min(first + count, len(views)))
    controls = control_vertices(model)
    rest = torch.from_numpy(model.template[controls]).float().to(device)
    rows: list[dict[str, Any]] = []
    for number in chosen:
        item, condition = views[number], portraits[number]
        body = torch.from_numpy(body_of(model, item)[controls]).float().to(device)
        target = rest if canonical else body
        rows.append(
            {
                "rgb": _bytes(item["rgb"]),
                "alpha": _bytes(item["alpha"]),
                "depth": (item["depth"] * 1000).round().to(torch.int16),
                "classes": CLASS_OF_SEGMENT[item["segmentation"]],
                "world_to_camera": item["world_to_camera"],
                "intrinsics": item["intrinsics"],
                "portraits": _portraits(condition, item["rgb"]),
                "portrait_world_to_camera": condition["world_to_camera"],
                "portrait_intrinsics": condition["intrinsics"],
                "body": body,
                "warps": warp_grid(body, target, half_size, fovea).half() if warps else None,
                "rims": rims_of(item["alpha"][:, 0]),
                "index": item["index"],
                "caption": item["caption"],
                "attributes": item["attributes"],
            }
        )
    names = [name for name, value in rows[0].items() if torch.is_tensor(value)]
    tensors: dict[str, Any] = {"warps": None}
    tensors |= {name: torch.stack([row[name] for row in rows]).to(device) for name in names}
    return HeadBank(
        **tensors,
        indices=np.array([row["index"] for row in rows]),
        captions=[row["caption"] for row in rows],
        attributes=[row["attributes"] for row in rows],
        half_size=half_size,
    )


def _portraits(condition: dict[str, Any], rgb: Tensor) -> Tensor:
    """Colours and alpha of the portraits, if a set has any."""
    if "rgb" not in condition:
        return torch.zeros(0, 4, *rgb.shape[-2:], dtype=torch.uint8)
    return torch.cat([_bytes(condition["rgb"]), _bytes(condition["alpha"])], 1)


def body_of(model: BodyModel, item: dict[str, Any]) -> Float[np.ndarray, "V 3"]:
    """Vertices of an item of `synthetic_data.packed` in its expression, metres, head frame.

    The neck is straight, as in a body fit, which sees too little of the shoulders: how they are turned against the
    head is left to the planes.
    """
    identity, expression = item["identity"].double().numpy(), item["expression"].double().numpy()
    return model.neutral(identity) + np.tensordot(expression, model.expression_offsets(identity), 1)


def rims_of(alpha: Float[Tensor, "V H W"], count: int = 256, reach: int = 2) -> Int[Tensor, "V count"]:
    """Pixels, ``row * W + column``, that are within `reach` of both somebody and nobody: `count` of each view at equal
    distances, some of them more than once where there are fewer; 0 where a view has none."""
    side = 2 * reach + 1
    near = lambda inside: F.max_pool2d(inside.float(), side, 1, reach) > 0  # noqa: E731
    rims = (near(alpha > 0.5) & near(alpha <= 0.5)).flatten(1)
    found = torch.zeros(len(alpha), count, dtype=torch.int32)
    for view, rim in enumerate(rims):
        places = rim.nonzero()[:, 0]
        if len(places):
            found[view] = places[torch.linspace(0, len(places) - 1, count).long()].int()
    return found


def _bytes(pictures: Float[Tensor, "*n"]) -> Tensor:
    return (pictures * 255).round().to(torch.uint8)


def batches(count: int, size: int, generator: torch.Generator) -> Iterable[Tensor]:
    """All of `count` numbers in random order, in batches of `size`; the last one is filled up with others."""
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    for start in range(0, count, size):
        chosen = order[start : start + size]
        yield torch.cat([chosen, order[: size - len(chosen)]])
