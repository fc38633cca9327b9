"""Training of the head parser on rendered people, put before other people and things that no renderer has seen."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from backend.portrait.alignment import LEFT_IRIS, RIGHT_IRIS, source_to_crop
from backend.portrait.parser import CLASSES, PICTURE, HeadParser, ParserConfig
from backend.training.judge_stage import blur
from backend.training.stage import Stage, quick_in_bf16

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, UInt8
    from torch import Tensor

# Of `synthetic_data.person.SEGMENTS`, as `CLASSES`; what is neither, an earring, is not asked for.
_BACKGROUND, _HAIR, _SKIN, _GARMENT, UNASKED = range(5)
CLASS_OF_SEGMENT = np.array([0, 2, 2, 2, 2, 1, 2, 2, 3, 2, 2, 1, 4], np.uint8)
_TURNED, _RAISED = 70.0, 40.0
"""Degrees beside and above the face from which on a view is no portrait."""


@dataclasses.dataclass(frozen=True)
class ParserStageConfig:
    """The recipe: `steps` of `batch` pictures."""

    model: ParserConfig = dataclasses.field(default_factory=ParserConfig)
    steps: int = 40_000
    batch: int = 64
    rate: float = 1e-3
    warm_up: int = 100
    final_rate: float = 0.02
    weight_decay: float = 0.01
    average: float = 0.998
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Pictures:
    """P pictures of people as a set has them: colours and alpha, the class of each pixel (of `CLASSES`, or `UNASKED`),
    and the similarity to the crop that the product would make of them. Below the bust, where a set shows nobody, people
    go on (`continued`)."""

    rgba: UInt8[Tensor, "P 4 S S"]
    classes: UInt8[Tensor, "P S S"]
    to_crop: Float[Tensor, "P 3 3"]

    def __len__(self) -> int:
        return len(self.rgba)


def load_pictures(folder: Path, count: int | None = None) -> Pictures:
    """All pictures of the first `count` people of a set that show the face, views and portraits alike.

    Raises `MaquetteError` when the set cannot be read, `ValueError` when it shows no face.
    """
    from synthetic_data.loader import Heads, Selection

    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    heads = Heads(folder, Selection(("rgba", "segmentation"), ("view", "portrait")))
    for number in range(len(heads) if count is None else min(count, len(heads))):
        item = heads[number]
        for view in range(len(item["rgb"])):
            matrix = _to_crop(item, view)
            if matrix is None:
                continue
            rgba = (torch.cat([item["rgb"][view], item["alpha"][view]]) * 255).round().byte().numpy()
            classes = CLASS_OF_SEGMENT[item["segmentation"][view, 0].numpy()]
            rgba, classes = continued(rgba, classes)
            rows.append((torch.from_numpy(rgba), torch.from_numpy(classes), torch.from_numpy(matrix).float()))
    if not rows:
        raise ValueError("it has no picture of a face")
    return Pictures(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _to_crop(item: dict[str, Any], view: int) -> Float[np.ndarray, "3 3"] | None:
    """From pixels of a view to the crop of `PICTURE` pixels; None for views that show too little of the face."""
    matrix, points = item["world_to_camera"][view].double().numpy(), item["points"].double().numpy()
    seen = points @ matrix[:3, :3].T + matrix[:3, 3]
    # The face looks along what is square to its eyes and to the line from its chin to its forehead.
    right, left, chin, top = (seen[k] for k in (RIGHT_IRIS, LEFT_IRIS, 152, 10))
    ahead = np.cross(chin - top, left - right)
    ahead /= np.linalg.norm(ahead)
    yaw, pitch = np.degrees([np.arctan2(ahead[0], -ahead[2]), np.arcsin(np.clip(ahead[1], -1, 1))])
    if abs(yaw) > _TURNED or abs(pitch) > _RAISED:
        return None
    pixels = item["pixels"][view].double().numpy()
    focal = float(item["intrinsics"][view, 0, 0])
    depth = seen[:, 2] * focal / seen[[RIGHT_IRIS, LEFT_IRIS], 2].mean()
    return source_to_crop(pixels, depth, yaw, PICTURE)


def continued(
    rgba: UInt8[np.ndarray, "4 S S"], classes: UInt8[np.ndarray, "S S"]
) -> tuple[UInt8[np.ndarray, "4 S S"], UInt8[np.ndarray, "S S"]]:
    """A picture in which what ends with the bust goes on down to the border, as its mirror image."""
    size = len(classes)
    there = rgba[3] > 127
    last = np.where(there.any(0), size - 1 - there[::-1].argmax(0), -1)
    columns = np.flatnonzero((last > 0.55 * size) & (last < size - 1))
    columns = columns[np.isin(classes[last[columns], columns], (_GARMENT, _SKIN))]
    rgba, classes = rgba.copy(), classes.copy()
    for column in columns:
        end = last[column] - 1  # the last row is half background
        back = np.maximum(2 * end - np.arange(end + 1, size), 0)
        # What a mirror would show of head and background is no shoulder.
        good = np.isin(classes[back, column], (classes[end, column],))
        back = np.where(good, back, end)
        rgba[:, end + 1 :, column] = rgba[:, back, column]
        rgba[3, end + 1 :, column] = 255
        classes[end + 1 :, column] = classes[end, column]
    return rgba, classes


class ParserStage(Stage[HeadParser, ParserStageConfig]):
    """The network under training on some pictures."""

    def __init__(self, pictures: Pictures, config: ParserStageConfig, device: str = "cpu") -> None:
        told = {"pictures": [len(pictures), int(pictures.classes[::50].long().sum())]}
        super().__init__(config, device, lambda: HeadParser(config.model), told)
        self.pictures = Pictures(*(part.to(device) for part in (pictures.rgba, pictures.classes, pictures.to_crop)))

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        crops, chances = draw_crops(self.pictures, self.config.batch, self.generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=quick_in_bf16(self.device)):
            said = self.model(crops)
        said = said.float()
        asked = chances.sum(1) > 0.99
        loss = -(chances * said.log_softmax(1)).sum(1)[asked].mean()
        right = (said.argmax(1) == chances.argmax(1))[asked].float().mean()
        return loss, {"loss": loss, "right": right}


def draw_crops(
    pictures: Pictures, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "B 4 S S"], Float[Tensor, "B 4 S S"]]:
    """`count` crops as `HeadParser` takes them, and how far each pixel shows each of `CLASSES`; these add up to less
    than one beyond the picture, and where nobody asks."""
    device, size = pictures.rgba.device, pictures.rgba.shape[-1]
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    chosen, others = ((uniform(count) * len(pictures)).long() for _ in range(2))
    colour, alpha, shares, to_crop = _people(pictures, chosen, generator)
    beside, beside_alpha, _, _ = _people(pictures, others, generator)
    # Somebody else, larger or smaller, at one side, behind or seldom before the person; or nobody.
    side = torch.where(uniform(count) < 0.5, -1.0, 1.0) * (0.35 + 0.6 * uniform(count))
    shift = torch.stack([side, 0.5 * (uniform(count) - 0.4)], 1)
    other = _moved(torch.cat([beside, beside_alpha], 1), torch.exp(0.7 * (uniform(count) - 0.5)), shift)
    other_alpha = other[:, 3:] * (uniform(count) < 0.4)[:, None, None, None]
    first = (uniform(count) < 0.2)[:, None, None, None]
    ground = _grounds(pictures, colour, generator)
    ground = torch.lerp(ground, other[:, :3], other_alpha * ~first)
    picture = torch.lerp(ground, colour, alpha)
    cover = other_alpha * first
    picture = torch.lerp(picture, other[:, :3], cover)
    # Hands, cups and microphones.
    things, shape = _things(count, size, generator)
    picture = torch.lerp(picture, things, shape)
    shares = shares * (1 - cover) * (1 - shape)
    unasked = shares[:, UNASKED:]
    shares = torch.cat([1 - shares.sum(1, keepdim=True), shares[:, 1:UNASKED]], 1)
    # Into the crop, not quite where it should be, and with a border of the picture here and there.
    grid, inside = _crop_grid(to_crop, size, generator)
    told = torch.cat([picture, shares * (unasked < 0.3)], 1)
    crop = F.grid_sample(told, grid, padding_mode="border", align_corners=False)
    return torch.cat([_spoiled(crop[:, :3], generator), inside], 1), crop[:, 3:] * inside


def _people(
    pictures: Pictures, chosen: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Float[Tensor, "B 3 3"]]:
    """Some people, half of them in a mirror, in other light: colours, alpha, how far they are of each class, and the
    way to their crops."""
    count, size = len(chosen), pictures.rgba.shape[-1]
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=chosen.device)  # noqa: E731
    rgba = pictures.rgba[chosen].float() / 255
    shares = F.one_hot(pictures.classes[chosen].long(), len(CLASSES) + 1).permute(0, 3, 1, 2).float()
    shares[:, 0] = 0
    # Classes are those of single samples: hair is full of specks of what lies under it, and is all hair.
    around = F.avg_pool2d(F.pad(shares, (2, 2, 2, 2), mode="replicate"), 5, 1)
    shares = F.avg_pool2d(F.pad(shares, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strands = (4 * around[:, _HAIR : _HAIR + 1] - 0.6).clamp(0, 1)
    shares = torch.cat([shares[:, :_HAIR], torch.maximum(shares[:, _HAIR : _HAIR + 1], strands),
                        shares[:, _HAIR + 1 :] * (1 - strands)], 1)  # fmt: skip
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6) * rgba[:, 3:]
    to_crop = pictures.to_crop[chosen].clone()
    flip = uniform(count) < 0.5
    mirror = torch.eye(3, device=chosen.device).repeat(count, 1, 1)
    mirror[flip, 0, 0], mirror[flip, 0, 2] = -1.0, float(size)
    back = torch.eye(3, device=chosen.device).repeat(count, 1, 1)
    back[flip, 0, 0], back[flip, 0, 2] = -1.0, float(PICTURE)
    to_crop = back @ to_crop @ mirror
    turn = lambda maps: torch.where(flip[:, None, None, None], maps.flip(-1), maps)  # noqa: E731
    rgba, shares = turn(rgba), turn(shares)
    # Light from one side, of some colour, hard or soft; each part of the person has its own colour besides.
    slope = F.interpolate(uniform(count, 1, 2, 2), (size, size), mode="bilinear", align_corners=True) - 0.5
    light = torch.exp(1.6 * slope * uniform(count, 1, 1, 1) + 0.8 * (uniform(count, 1, 1, 1) - 0.6))
    tint = torch.exp(0.35 * (uniform(count, 3, 1, 1) - 0.5))
    parts = 1 + shares[:, 1:4, None].mul(0.5 * (uniform(count, 3, 3, 1, 1) - 0.5)).sum(1)
    gamma = torch.exp(0.6 * (uniform(count, 1, 1, 1) - 0.5))
    colour = (rgba[:, :3] * light * tint * parts).clamp(0, 1) ** gamma
    return colour, rgba[:, 3:], shares, to_crop


def _grounds(
    pictures: Pictures, people: Float[Tensor, "B 3 S S"], generator: torch.Generator
) -> Float[Tensor, "B 3 S S"]:
    """What may lie behind `people`: a wall, something out of focus, a pattern, or a corner of some picture enlarged;
    one in three has a colour of theirs."""
    device, count, size = people.device, len(people), people.shape[-1]
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    row, column = (((0.25 + 0.5 * uniform(count)) * size).long() for _ in range(2))
    own = people[torch.arange(count, device=device), :, row, column][..., None, None]
    wall = torch.where(uniform(count, 1, 1, 1) < 0.35, own, uniform(count, 3, 1, 1))
    ground = wall.expand(-1, -1, size, size).clone()
    for cells in (2, 4, 9, 30):
        mode = "bilinear" if cells < 9 else "nearest"
        options = {"align_corners": True} if mode == "bilinear" else {}
        noise = F.interpolate(uniform(count, 3, cells, cells) - 0.5, (size, size), mode=mode, **options)
        grey = uniform(count, 1, 1, 1) < 0.5
        noise = torch.where(grey, noise.mean(1, keepdim=True) * 1.5, noise)
        ground = ground + noise * (uniform(count, 1, 1, 1) * 1.3 - 0.6).clamp(min=0)
    # Boards, shelves and windows.
    axis = (torch.arange(size, device=device) / size)[None]
    for turned in (False, True):
        edges = uniform(count, 1, 6).sort(-1)[0]
        stripe = (axis[..., None] > edges).sum(-1) % 2
        stripe = stripe[:, None, :].expand(-1, size, -1)[:, None].float()
        stripe = stripe.transpose(-1, -2) if turned else stripe
        strength = (uniform(count, 3, 1, 1) - 0.5) * (uniform(count, 1, 1, 1) < 0.35)
        ground = ground + stripe * strength
    picture = pictures.rgba[(uniform(count) * len(pictures)).long(), :3].float() / 255
    picture = _moved(picture, 2 + 3 * uniform(count), uniform(count, 2) * 2 - 1)
    ground = torch.where((uniform(count) < 0.25)[:, None, None, None], picture, ground).clamp(0, 1)
    return blur(ground, 6.0 * (uniform(count) - 0.4).clamp(min=0))


def _things(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Float[Tensor, "B 1 S S"]]:
    """Ellipses of some colour that hide a part of one person in four: colours and shape."""
    device = generator.device
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    axis = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    place = torch.stack([2 * uniform(count) - 1, 0.2 + 0.8 * uniform(count)], 1)[..., None, None]
    radius = 0.08 + 0.2 * uniform(count, 2, 1, 1)
    turn = 3.14 * uniform(count, 1, 1)
    dx, dy = x - place[:, 0], y - place[:, 1]
    along, across = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
    reach = ((along / radius[:, 0]) ** 2 + (across / radius[:, 1]) ** 2).sqrt()
    shape = ((1 - reach) * 8).clamp(0, 1) * (uniform(count, 1, 1) < 0.25)
    skin = torch.tensor([0.75, 0.55, 0.45], device=device)[:, None, None]
    colour = torch.where(uniform(count, 1, 1, 1) < 0.5, skin * (0.3 + uniform(count, 1, 1, 1)), uniform(count, 3, 1, 1))
    shade = 1 + 0.3 * (along / radius[:, 0]).clamp(-1, 1)
    return (colour * shade[:, None]).clamp(0, 1), shape[:, None]


def _moved(
    pictures: Float[Tensor, "B C S S"], zoom: Float[Tensor, " B"], shift: Float[Tensor, "B 2"]
) -> Float[Tensor, "B C S S"]:
    """Pictures enlarged and then moved, by halves of their side, with nothing beyond their borders."""
    theta = torch.zeros(len(pictures), 2, 3, device=pictures.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = -shift / zoom[:, None]
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def _crop_grid(
    to_crop: Float[Tensor, "B 3 3"], size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "B 128 128 2"], Float[Tensor, "B 1 128 128"]]:
    """Where the pixels of the crops lie in the pictures, as `grid_sample` has it, and which lie inside these."""
    count, device = len(to_crop), to_crop.device
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    zoom, turn = torch.exp(0.3 * (uniform(count) - 0.5)), 0.25 * (uniform(count) - 0.5)
    around = torch.zeros(count, 3, 3, device=device)
    around[:, 0, 0] = around[:, 1, 1] = zoom * turn.cos()
    around[:, 0, 1], around[:, 1, 0] = -zoom * turn.sin(), zoom * turn.sin()
    around[:, 2, 2] = 1
    middle = PICTURE / 2
    around[:, :2, 2] = middle - around[:, :2, :2].sum(-1) * middle + PICTURE * 0.08 * (uniform(count, 2) - 0.5)
    back = torch.linalg.inv(around @ to_crop)
    axis = torch.arange(PICTURE, device=device) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1) @ back[:, None].transpose(-1, -2)
    places = places[..., :2] / size * 2 - 1
    # One picture in three ends sooner at one side.
    cut = torch.where(uniform(count, 4) < 0.1, 0.3 + 0.5 * uniform(count, 4), torch.ones(count, 4, device=device))
    cut[:, 1] = cut[:, 1].clamp(min=0.9)
    low, high = -cut[:, None, None, :2], cut[:, None, None, 2:]
    inside = ((places > low) & (places < high)).all(-1)
    pixel = 1 / size
    return torch.minimum(torch.maximum(places, low + pixel), high - pixel), inside[:, None].float()


def _spoiled(pictures: Float[Tensor, "B 3 S S"], generator: torch.Generator) -> Float[Tensor, "B 3 S S"]:
    """Pictures as cameras make them: soft, noisy, sometimes grey."""
    count, device = len(pictures), pictures.device
    uniform = lambda *shape: torch.rand(shape, generator=generator, device=device)  # noqa: E731
    pictures = blur(pictures, 2.0 * (2 * uniform(count) - 1).clamp(min=0))
    grey = pictures.mean(1, keepdim=True).expand_as(pictures)
    pictures = torch.where((uniform(count) < 0.05)[:, None, None, None], grey, pictures)
    contrast = torch.exp(0.5 * (uniform(count, 1, 1, 1) - 0.5))
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = middle + contrast * (pictures - middle) + 0.2 * (uniform(count, 3, 1, 1) - 0.5)
    noise = torch.randn(pictures.shape, generator=generator, device=device)
    return (pictures + noise * uniform(count, 1, 1, 1) * 0.04).clamp(0, 1)


def write_sheet(parser: HeadParser, pictures: Pictures, path: Path) -> None:
    """Some crops, each with what it shows and with what the parser says of it: hair red, skin green, garment blue."""
    from backend.evaluation.held_out import write_picture

    crops, chances = draw_crops(pictures, 16, torch.Generator().manual_seed(1))
    colours = torch.tensor([[0.2, 0.2, 0.2], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    with torch.no_grad():
        said = parser(crops).softmax(1)
    maps = [torch.einsum("bchw,cd->bdhw", each, colours) for each in (chances, said)]
    tiles = torch.cat([crops[:, :3], *maps], 3).permute(0, 2, 3, 1).numpy()
    write_picture(path, np.vstack([np.hstack(list(tiles[k : k + 4])) for k in range(0, 16, 4)]))
