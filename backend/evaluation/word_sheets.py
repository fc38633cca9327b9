"""Contact sheets of the suite `words`: everybody who was drawn, none picked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backend.evaluation.held_out import shrink, strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    Picture = Float[np.ndarray, "H W 3"]
    Views = Float[np.ndarray, "V S S 3"]

_LINE = 16
"""Height of a line of text, pixels."""
_PEOPLE_PER_ROW = 4


def samples_sheet(people: Sequence[Views]) -> Picture:
    """All views of every person side by side, four people in a row."""
    strips = [strip(views) for views in people]
    rows = [strips[i : i + _PEOPLE_PER_ROW] for i in range(0, len(strips), _PEOPLE_PER_ROW)]
    return _stack([np.concatenate(row, 1) for row in rows])


def prompts_sheet(prompts: Sequence[str], people: Sequence[Sequence[Views]]) -> Picture:
    """Per prompt a row under its words: the first and the last view of each person made from it."""
    rows: list[Picture] = []
    for words, some in zip(prompts, people, strict=True):
        row = np.concatenate([strip(views[[0, -1]]) for views in some], 1)
        rows += [_text([words], row.shape[1]), row]
    return _stack(rows)


def edits_sheet(edits: Sequence[str], people: Sequence[Sequence[Views]]) -> Picture:
    """A row per person: unedited, then after each edit, whose words stand above; the first view, and the last one at
    half its size beside it."""
    rows = [np.concatenate([_with_back(views) for views in some], 1) for some in people]
    return _stack([_text(["unedited", *edits], rows[0].shape[1]), *rows])


def _with_back(views: Views) -> Picture:
    size = views.shape[1]
    beside = np.ones((size, size // 2, 3), np.float32)
    beside[-(size // 2) :] = shrink(views[-1], size // 2)
    return np.concatenate([views[0], beside], 1)


def _text(columns: Sequence[str], width: int) -> Picture:
    """A line of words, each at the start of its column."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, _LINE), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for number, words in enumerate(columns):
        pen.text((number * width // len(columns) + 4, 2), words, fill=(0, 0, 0))
    return np.asarray(image, np.float32) / 255


def _stack(rows: Sequence[Picture]) -> Picture:
    """Rows below each other, shorter ones filled up with white."""
    width = max(row.shape[1] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=1) for row in rows]
    return np.concatenate(filled)
