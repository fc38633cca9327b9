"""Pictures of a set for people: a contact sheet, and a page to browse identities, views, passes and attributes."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthetic_data.archive import write_whole
from synthetic_data.reader import DataSet, Person
from synthetic_data.record import View

GROUND = (0.93, 0.93, 0.92)
WIDEST = 32_000
"""Pixels across a picture of the page."""
_CLASS_COLOURS = np.array(
    [
        (240, 240, 238), (224, 172, 140), (70, 130, 180), (250, 250, 210), (214, 92, 110), (110, 70, 40), (60, 40, 25),
        (20, 20, 20), (90, 140, 100), (150, 100, 60), (150, 60, 170), (220, 140, 30), (235, 200, 60),
    ],
    np.uint8,
)  # fmt: skip


def write_preview(folder: Path, out: Path, *, first: int | None = None, count: int = 64) -> list[Path]:
    """Write ``contact.png``, ``person.png`` (the first one in full), ``index.html``, one picture per identity and pass.

    Args:
        folder: of the set; it need not be finished.
        out: where the pictures go.
        first: index of the first identity, that of the set by default.
        count: consecutive identities; none is picked.
    """
    data = DataSet.open(folder, partial=True)
    start = data.config.first if first is None else first
    people = [Person.read(entry) for entry in data.entries() if start <= entry.index < start + count]
    if not people:
        raise ValueError(f"{folder} holds no identities from {start} on")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "contact.png", _png(contact_sheet(people)))
    write_whole(out / "person.png", _png(person_sheet(people[0], data.config.passes)))
    listed = []
    for person in people:
        files = {}
        for kind in data.config.passes:
            files[kind] = f"{person.entry.index:07d}-{kind}.jpg"
            strip = narrowed(np.concatenate([shown(person, view, kind) for view in around(person.views)], 1))
            write_whole(out / files[kind], _jpeg(strip))
        listed.append(_described(person, files))
    write_whole(out / "index.html", _page(data.config.name, listed, people[0].data["classes"]).encode())
    return [out / "contact.png", out / "person.png", out / "index.html"]


def contact_sheet(people: Sequence[Person], columns: int | None = None) -> np.ndarray:
    """Every person from three sides, (H, W, 3) uint8, in rows that read from left to right with a gap in between."""
    strips = [np.concatenate([shown(p, view, "rgba") for view in three_views(p.views)], 1) for p in people]
    gap = strips[0].shape[0] // 16
    strips = [np.pad(strip, ((0, gap), (0, gap), (0, 0)), constant_values=255) for strip in strips]
    columns = columns or max(1, min(len(strips), round((len(strips) / 3 * 16 / 9) ** 0.5)))
    blank = np.full_like(strips[0], 255)
    strips += [blank] * (-len(strips) % columns)
    rows = [np.concatenate(strips[i : i + columns], 1) for i in range(0, len(strips), columns)]
    return np.concatenate(rows)[: -gap or None, : -gap or None]


def person_sheet(person: Person, passes: Sequence[str], columns: int = 12) -> np.ndarray:
    """One person in full, (H, W, 3) uint8: every expression from the front, all views of the first, all its passes."""
    takes = sorted({view.take for view in person.views})
    fronts = [three_views([view for view in person.views if view.take == take])[0] for take in takes]
    blocks = [
        [shown(person, view, "rgba") for view in fronts],
        [shown(person, view, "rgba") for view in around(person.views) if view.take == takes[0]],
        [shown(person, fronts[0], kind) for kind in passes],
    ]
    blank = np.full_like(blocks[0][0], 255)
    rows = []
    for block in blocks:
        block += [blank] * (-len(block) % columns)
        rows += [np.concatenate(block[i : i + columns], 1) for i in range(0, len(block), columns)]
    return np.concatenate(rows)


def narrowed(strip: np.ndarray) -> np.ndarray:
    """A strip of pictures with every second or third pixel alone if it is too wide for a browser, and for JPEG."""
    step = -(-strip.shape[1] // WIDEST)
    return strip[::step, ::step]


def around(views: Sequence[View]) -> list[View]:
    """Take by take: the portraits, then the views as one walks around the head from its right to its left side."""
    return sorted(views, key=lambda view: (view.take, view.kind != "portrait", azimuth(view)))


def azimuth(view: View) -> float:
    """Where the camera stands, degrees from straight ahead (0) towards the character's left (90), -180 to 180."""
    return float(np.degrees(np.arctan2(view.camera.centre[0], -view.camera.centre[1])))


def three_views(views: Sequence[View]) -> list[View]:
    """The views nearest to straight ahead, half turned, and from behind, all different where there are three."""
    chosen: list[View] = []
    for azimuth in (0, 50, 150):
        turn = np.radians(azimuth)
        wanted = np.array([np.sin(turn), -np.cos(turn), 0.1])
        rest = [view for view in views if view not in chosen] or list(views)
        first = min(view.take for view in rest)
        first_take = [view for view in rest if view.take == first and view.kind == "view"] or rest
        chosen.append(max(first_take, key=lambda view, wanted=wanted: float(_side(view) @ wanted)))
    return chosen


def _side(view: View) -> np.ndarray:
    """Direction to the camera, mirrored to the character's left."""
    direction = view.camera.centre / np.linalg.norm(view.camera.centre)
    return np.array([abs(direction[0]), direction[1], direction[2]])


def shown(person: Person, view: View, kind: str) -> np.ndarray:
    """A pass as colours, (H, W, 3) uint8."""
    values = person.picture(view, kind)
    if kind == "rgba":
        alpha = values[..., 3:]
        colours = values[..., :3] * alpha + np.array(GROUND) * (1 - alpha)
    elif kind == "depth":
        there = values > 0
        low, high = (values[there].min(), values[there].max()) if there.any() else (0, 1)
        colours = np.repeat(np.where(there, 1 - 0.9 * (values - low) / max(high - low, 1e-6), 0)[..., None], 3, -1)
    elif kind == "segmentation":
        return _CLASS_COLOURS[values % len(_CLASS_COLOURS)]
    elif kind == "normal":
        colours = np.where((values != 0).any(-1, keepdims=True), values / 2 + 0.5, 0)
    else:
        known = np.nan_to_num(values)
        colours = np.concatenate([known, np.zeros_like(known[..., :1])], -1)
    return np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    from synthetic_data.png import encode_png

    return encode_png(pixels, level=9)


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _described(person: Person, files: dict[str, str]) -> dict[str, Any]:
    takes = person.data["takes"]
    return {
        "index": person.entry.index,
        "files": files,
        "captions": [take["caption"] for take in takes],
        "attributes": takes[0]["attributes"],
        "views": [f"{view.name} {azimuth(view):.0f}°" for view in around(person.views)],
        "size": person.views[0].camera.width,
    }


def _page(name: str, people: Sequence[dict[str, Any]], classes: Mapping[str, int]) -> str:
    """The whole page; it opens from the disk, without a server."""
    legend = [
        [key, "rgb({}, {}, {})".format(*_CLASS_COLOURS[number % len(_CLASS_COLOURS)])]
        for key, number in sorted(classes.items(), key=lambda item: item[1])
    ]
    page = Path(__file__).with_name("preview.html").read_text(encoding="utf-8")
    for mark, content in (("@CLASSES@", _script(legend)), ("@NAME@", html.escape(name)), ("@PEOPLE@", _script(people))):
        page = page.replace(mark, content)
    return page


def _script(value: Any) -> str:
    """JSON within a script, which "</" must not end."""
    return json.dumps(value).replace("</", "<\\/")
