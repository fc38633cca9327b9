"""People that no model has learned from: rendered by the frozen protocol, and read as what a measurement needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import ErrorCode
from backend.body_model.fitting import BodyFit
from backend.errors import MaquetteError
from backend.portrait.portrait import Portrait
from backend.portrait.segmentation import Segmentation
from backend.radiance.cameras import Camera
from backend.radiance.supervision import View, crop_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

    from backend.body_model.base import BodyModel
    from synthetic_data.reader import Entry, Person
    from synthetic_data.record import View as RecordedView

SIZE = 128
"""Pixels of a measured view."""
_GREY = 0.5


@dataclasses.dataclass(frozen=True)
class HeldOutHead:
    """One person: the true pictures `views` over white from `cameras`, where `masks` says whether there is somebody,
    and the `portrait` (sRGB, straight alpha) from `portrait_camera`, with the truth of the body in it.

    What lies outside the protocol's cube is left out of `views`, for no field can show it: it is white, and so is
    everything behind it, which `hidden` marks. `landmarks` are pixels of the portrait; `attributes` the words of
    `synthetic_data.captions`.
    """

    index: int
    attributes: dict[str, Any]
    cameras: tuple[Camera, ...]
    views: Float[np.ndarray, "V S S 3"]
    masks: Bool[np.ndarray, "V S S"]
    hidden: Bool[np.ndarray, "V S S"]
    portrait: Float[np.ndarray, "P P 4"]
    portrait_camera: Camera
    landmarks: Float[np.ndarray, "478 2"]
    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]

    def portrait_over(self, ground: float, size: int | None = None) -> Float[np.ndarray, "S S 3"]:
        """The portrait over a ground of one grey, at its own size or a smaller one."""
        rgb, alpha = self.portrait[..., :3], self.portrait[..., 3:]
        return shrink(rgb * alpha + ground * (1 - alpha), size or len(rgb))

    def true_fit(self, model: BodyModel) -> BodyFit:
        """The body as a perfect fit to the portrait would have it; like any fit, with a straight neck."""
        return BodyFit(
            model,
            self.identity,
            self.expression,
            self.portrait_camera,
            np.zeros((2, 2)),
            np.zeros_like(model.template),
            np.zeros(len(self.landmarks)),
        )

    def true_portrait(self) -> Portrait:
        """The portrait as a perfect matting would have it, in its own pixels, for engines that look at colours and
        matte alone: of classes it knows only whether there is somebody."""
        rgb, alpha = self.portrait[..., :3], self.portrait[..., 3]
        size = len(rgb)
        nobody = np.stack([1 - alpha, np.zeros_like(alpha), alpha, np.zeros_like(alpha)], -1)
        over = self.portrait_over(_GREY)
        return Portrait(
            path=Path(f"{self.index}"),
            image=over,
            foreground=np.ascontiguousarray(rgb),
            matte=np.ascontiguousarray(alpha),
            inside=np.ones((size, size), bool),
            segmentation=Segmentation(nobody, 0.0),
            landmarks=self.landmarks,
            depth=np.zeros(len(self.landmarks)),
            yaw=0.0,
            crop_to_source=np.eye(3),
            source=over,
            sharpness=1.0,
            glasses=0.0,
        )


def render_people(folder: Path, people: range) -> None:
    """Render `people` of the held-out split into `folder`, or go on with it; its own command does the work.

    Raises `MaquetteError` when the folder holds others, or this package would render others than the protocol's.
    """
    from synthetic_data import cli
    from synthetic_data.shards import open_folder
    from synthetic_data.splits import split

    try:
        open_folder(folder, dataclasses.replace(split("held-out"), first=people.start, count=len(people)))
    except ValueError as problem:
        sentence = f"The held-out people cannot be rendered: {problem}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate") from None
    cli.main(["resume", str(folder)])


def find_people(folder: Path, people: range | None) -> list[Entry]:
    """The wanted people of a set, those of its finished shards; all of them when `people` is None.

    Raises `MaquetteError` when it holds none of them.
    """
    from synthetic_data.reader import DataSet

    found = DataSet.open(folder, partial=True).entries()
    entries = [entry for entry in found if people is None or entry.index in people]
    if not entries:
        sentence = f"{folder} holds none of the people asked for: choose other --seeds or another set."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    return entries


def read_head(entry: Entry) -> HeldOutHead:
    """Read one person. Raises `MaquetteError` when views or portraits are missing or of an odd size."""
    from synthetic_data.reader import Person

    person = Person.read(entry, check=True)
    said = person.data["takes"][0]
    numbered = [(number, view) for number, view in enumerate(person.views) if view.take == 0]
    views = [view for _, view in numbered if view.kind == "view"]
    portraits = [(number, view) for number, view in numbered if view.kind == "portrait"]
    if not views or not portraits or any(view.camera.width % SIZE for view in views):
        sentence = f"{entry.path.parent} needs views and a portrait of {SIZE} pixels or a multiple of that."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    pictures = np.stack([_cropped(person, view) for view in views])
    number, portrait = portraits[0]
    return HeldOutHead(
        entry.index,
        said["attributes"],
        tuple(view.camera.resized(SIZE, SIZE) for view in views),
        pictures[..., :3],
        pictures[..., 3] > 0.5,
        pictures[..., 4] > 0,
        person.picture(portrait, "rgba", check=True),
        portrait.camera,
        entry.decode("labels.npz", check=True)["pixels"][number].astype(np.float64),
        np.array(said["spec"]["identity"]),
        np.array(said["spec"]["expression"]),
    )


def shrink(picture: Float[np.ndarray, "H W C"], size: int) -> Float[np.ndarray, "S S C"]:
    """Means over whole blocks of pixels."""
    block = len(picture) // size
    return picture.reshape(size, block, size, block, -1).mean((1, 3)).astype(np.float32)


def write_picture(path: Path, picture: Float[np.ndarray, "H W 3"]) -> None:
    """A PNG of values in [0, 1], whole or not at all."""
    from synthetic_data.archive import write_whole
    from synthetic_data.png import encode_png

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode_png(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)))


def strip_name(index: int) -> str:
    """File of one head's pictures side by side."""
    return f"{index:05d}.png"


def read_strip(path: Path) -> Float[np.ndarray, "V S S 3"]:
    """Square pictures side by side, as `strip` laid them."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    size = len(pixels)
    return pixels.reshape(size, -1, size, 3).transpose(1, 0, 2, 3)


def strip(pictures: Sequence[Float[np.ndarray, "S S 3"]] | Float[np.ndarray, "V S S 3"]) -> np.ndarray:
    """Pictures of one size side by side."""
    return np.concatenate(list(pictures), 1)


def _cropped(person: Person, view: RecordedView) -> Float[np.ndarray, "S S 5"]:
    """What a view shows of the cube, over white, its alpha, and how much of a pixel is hidden by what lies before the
    cube."""
    from synthetic_data.splits import protocol

    rgba = person.picture(view, "rgba", check=True)
    whole = View(rgba[..., :3], rgba[..., 3], person.picture(view, "depth", check=True), view.camera)
    inside, valid = crop_view(whole, protocol()["crop"]["cube_half_size"])
    alpha = (inside.alpha * valid)[..., None]
    small = shrink(np.concatenate([inside.rgb * alpha + 1 - alpha, alpha, ~valid[..., None]], -1), SIZE)
    small[small[..., 4] > 0] = (1, 1, 1, 0, 1)
    return small
