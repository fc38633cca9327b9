"""What the figures of many heads say together: rows, groups of people, the judges themselves, sheets and a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.evaluation.figures import frechet_distance, verification
from backend.evaluation.held_out import SIZE, read_strip, strip_name
from backend.evaluation.judges import as_batch, attributes, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from backend.evaluation.held_out import HeldOutHead
    from backend.evaluation.judges import Classifier, Verifier

GROUPS = ("skin", "age", "sex", "hair")
_HEADS_PER_SHEET = 8
_SHOWN_AZIMUTHS = (0.0, 60.0, 170.0)
"""Views of a sheet, degrees; the nearest that were measured."""
_FRONT = 75.0
"""Views within so many degrees show what the classifier is asked for."""


@dataclasses.dataclass(frozen=True)
class Result:
    """One row under one condition: figures and failures by head, and the `folder` of the drawn views."""

    condition: str
    row: str
    figures: dict[int, dict[str, float]]
    failures: dict[int, str]
    folder: Path

    def views(self, index: int) -> Float[np.ndarray, "V S S 3"]:
        """The drawn views of one head."""
        return read_strip(self.folder / strip_name(index))


def report(results: Sequence[Result], heads: Sequence[HeldOutHead], verifier: Verifier) -> dict[str, Any]:
    """``rows`` and ``rows_fitted`` with the means of every row, and ``groups`` with those of `rodin` by kind of person.

    The Fréchet distance compares all views of a row with the true views of the same heads, each feature divided by
    its deviation among all true views, so that no level of the network outweighs the others.
    """
    whole: dict[str, Any] = {"rows": {}}
    true = {head.index: features(verifier, head.views) for head in heads}
    spread = np.concatenate(list(true.values())).std(0) + 1e-6
    for result in results:
        row: dict[str, Any] = {**means(list(result.figures.values())), "heads": len(result.figures)}
        if result.figures:
            made = np.concatenate([features(verifier, result.views(index)) for index in result.figures])
            wanted = np.concatenate([true[index] for index in result.figures])
            row["fid"] = frechet_distance(made / spread, wanted / spread)
        if result.failures:
            row["failures"] = {str(index): said for index, said in result.failures.items()}
        whole.setdefault(result.condition, {})[result.row] = row
    shipped = [result for result in results if (result.condition, result.row) == ("rows", "rodin")]
    whole["groups"] = groups(shipped[0], heads) if shipped else {}
    return whole


def means(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every figure over heads."""
    return {name: float(np.mean([found[name] for found in figures])) for name in (figures[0] if figures else ())}


def groups(result: Result, heads: Sequence[HeldOutHead]) -> dict[str, Any]:
    """Means of one row by skin, age, sex and hair family, with the number of heads beside."""
    found: dict[str, Any] = {}
    for name in GROUPS:
        members: dict[str, list[dict[str, float]]] = {}
        for head in heads:
            if head.index in result.figures and name in head.attributes:
                members.setdefault(str(head.attributes[name]), []).append(result.figures[head.index])
        found[name] = {word: {**means(some), "heads": len(some)} for word, some in sorted(members.items())}
    return found


@torch.no_grad()
def features(verifier: Verifier, pictures: Float[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B F"]:
    """The verifier's features of pictures over white."""
    return verifier.features(as_batch(pictures)).numpy()


@torch.no_grad()
def judge_figures(verifier: Verifier, classifier: Classifier, heads: Sequence[HeldOutHead]) -> dict[str, Any]:
    """How far the judges can be trusted, on true pictures of people that they never saw.

    The verifier on pairs of views, and of a portrait and a view; it needs two people. The classifier on the portrait
    alone and on all views from before, each accuracy beside that of always saying the commonest word.
    """
    pictures = [torch.from_numpy(head.views.transpose(0, 3, 1, 2).copy()) for head in heads]
    portraits = torch.from_numpy(
        np.stack([head.portrait_over(1.0, SIZE) for head in heads]).transpose(0, 3, 1, 2).copy()
    )
    said: dict[str, Any] = {"classifier": {}}
    if len(heads) > 1:
        views = torch.cat([verifier(some) for some in pictures])
        owners = torch.arange(len(heads)).repeat_interleave(torch.tensor([len(some) for some in pictures]))
        pairs = torch.ones(len(views), len(views), dtype=torch.bool).triu(1)
        scores, same = (views @ views.T)[pairs].numpy(), (owners[:, None] == owners)[pairs].numpy()
        said["verifier"] = {"views": verification(scores[same], scores[~same])}
        scores, same = (verifier(portraits) @ views.T).numpy(), (torch.arange(len(heads))[:, None] == owners).numpy()
        said["verifier"]["portraits"] = verification(scores[same], scores[~same])
    fronts = [
        some[[abs(azimuth(camera.centre)) <= _FRONT for camera in head.cameras]]
        for head, some in zip(heads, pictures, strict=True)
    ]
    guesses = {
        "portrait": [attributes(classifier, portrait[None]) for portrait in portraits],
        "views": [attributes(classifier, some) if len(some) else {} for some in fronts],
    }
    for name in classifier.vocabulary:
        asked = [k for k, head in enumerate(heads) if name in head.attributes and visible(head.attributes, name)]
        if asked:
            true = [str(heads[k].attributes[name]) for k in asked]
            right = {
                kind: float(np.mean([some[k].get(name) == word for k, word in zip(asked, true, strict=True)]))
                for kind, some in guesses.items()
            }
            commonest = max(true.count(word) for word in set(true)) / len(true)
            said["classifier"][name] = {**right, "commonest": commonest, "heads": len(asked)}
    return said


def azimuth(centre: Float[np.ndarray, "3"]) -> float:
    """Degrees around the head, 0 before the face, positive towards the person's left."""
    return float(np.degrees(np.arctan2(centre[0], -centre[1])))


def shown_views(head: HeldOutHead) -> list[int]:
    """The views of a sheet."""
    around = np.array([abs(azimuth(camera.centre)) for camera in head.cameras])
    height = np.array([abs(camera.centre[2]) for camera in head.cameras])
    return [int((np.abs(around - wanted) + 30 * height).argmin()) for wanted in _SHOWN_AZIMUTHS]


def contact_sheets(out: Path, heads: Sequence[HeldOutHead], results: Sequence[Result]) -> list[Path]:
    """Write ``sheet-000.jpg``...: portrait, truth and every row side by side, three views per head one below the
    other. Rows that failed stay grey."""
    from PIL import Image, ImageDraw

    paths = []
    names = ["portrait", "truth", *[r.row + " (fitted)" * (r.condition == "rows_fitted") for r in results]]
    for first in range(0, len(heads), _HEADS_PER_SHEET):
        lines = []
        for head in heads[first : first + _HEADS_PER_SHEET]:
            portrait = head.portrait_over(1.0, SIZE)
            drawn = [r.views(head.index) if head.index in r.figures else None for r in results]
            for number, view in enumerate(shown_views(head)):
                blank = np.full((SIZE, SIZE, 3), 0.7, np.float32)
                cells = [portrait if number == 0 else np.ones_like(portrait), head.views[view]]
                cells += [blank if views is None else views[view] for views in drawn]
                lines.append(np.concatenate(cells, 1))
        picture = np.concatenate([np.ones((16, lines[0].shape[1], 3), np.float32), *lines])
        image = Image.fromarray(np.rint(255 * picture.clip(0, 1)).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        for column, name in enumerate(names):
            pen.text((column * SIZE + 4, 2), name, fill=(0, 0, 0))
        path = out / f"sheet-{first // _HEADS_PER_SHEET:03d}.jpg"
        partial = path.with_name(path.name + ".partial")
        image.save(partial, "JPEG", quality=90)
        partial.replace(path)
        paths.append(path)
    return paths


def table(whole: dict[str, Any]) -> str:
    """The rows as text."""
    columns = ("psnr", "psnr_person", "ssim", "identity", "identity_portrait", "fid", "lpips")
    rows = [(c, row, found) for c in ("rows", "rows_fitted") for row, found in whole.get(c, {}).items()]
    shown = [name for name in columns if any(name in found for _, _, found in rows)]
    lines = [f"{'':<28}" + "".join(f"{name:>18}" for name in [*shown, "heads"])]
    for condition, row, found in rows:
        name = row + " (fitted)" * (condition == "rows_fitted")
        cells = [f"{found[column]:18.3f}" if column in found else f"{'':>18}" for column in shown]
        lines.append(f"{name:<28}" + "".join(cells) + f"{found['heads']:>18}")
    return "\n".join(lines)
