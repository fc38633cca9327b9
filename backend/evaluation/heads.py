"""``maquette evaluate heads``: the learned engine against what it has to beat, on people that nobody learned from.

Every row draws the measured views of every head into ``OUT/drawn/CONDITION/ROW/``, and its figures go line by line
into ``OUT/figures.jsonl``, so that a run that was stopped goes on. At the end ``heads.json`` is written whole, with
sheets to look at beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.evaluation.figures import load_lpips, psnr, ssim
from backend.evaluation.going_on import same_as_before, write_json
from backend.evaluation.held_out import SIZE, find_people, read_head, render_people, strip, strip_name, write_picture
from backend.evaluation.judges import as_batch, load_classifier, load_verifier, similarity
from backend.evaluation.report import Result, contact_sheets, judge_figures, report, table
from backend.evaluation.rows import BASELINE_ROWS, FITTED_ROWS, ROWS, Sitting, Studio
from backend.weights.bundle import digest
from synthetic_data.shards import read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backend.evaluation.held_out import HeldOutHead
    from backend.evaluation.judges import Verifier

DEFAULT_ROWS = tuple(row for row in ROWS if row != "fit")
_NO_FACE = (ErrorCode.NO_FACE, ErrorCode.FACE_TOO_SMALL, ErrorCode.FACE_TURNED_AWAY)


@dataclasses.dataclass(frozen=True)
class HeadsRequest:
    """What is measured. `data` is a rendered set, None to render `people` of the held-out split into ``OUT/set``; with
    a set of one's own, `people` None means all of it."""

    out: Path
    weights: Path
    people: range | None = range(100)
    data: Path | None = None
    rows: Sequence[str] = DEFAULT_ROWS
    fitted: bool = False

    def passes(self) -> list[tuple[str, str]]:
        """Conditions and rows, in order."""
        fitted = [("rows_fitted", row) for row in self.rows if row in FITTED_ROWS] if self.fitted else []
        return [("rows", row) for row in self.rows] + fitted


def evaluate_heads(request: HeadsRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, write ``heads.json`` and the sheets, and return what the file holds.

    Raises `MaquetteError` when rows are unknown, something to judge with is missing, or OUT holds figures of other
    weights or people.
    """
    if unknown := [row for row in request.rows if row not in ROWS]:
        sentence = f"There is no row {unknown[0]}: choose some of {', '.join(ROWS)}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
    files = {name: request.weights.parent / f"{name}.safetensors" for name in ("verifier", "classifier", "baselines")}
    verifier, classifier = load_verifier(files["verifier"]), load_classifier(files["classifier"])
    needs_baselines = any(row in BASELINE_ROWS for row in request.rows)
    studio = _studio(request, files["baselines"] if needs_baselines else None)
    if request.data is None:
        assert request.people is not None
        render_people(studio.data, request.people)
    entries = find_people(studio.data, request.people)
    if not needs_baselines:
        del files["baselines"]
    lpips = load_lpips()
    hashes = {name: digest(path) for name, path in {"weights": request.weights, **files}.items()}
    same_as_before(request.out, {"set": read_config(studio.data).digest, "lpips": lpips is not None, **hashes})
    done = _Figures(request.out / "figures.jsonl")
    for number, entry in enumerate(entries):
        wanted = [key for key in request.passes() if (*key, entry.index) not in done]
        if not wanted:
            continue
        sitting = Sitting(studio, read_head(entry))
        for condition, row in wanted:
            path = drawn_folder(request.out, condition, row) / strip_name(entry.index)
            found = _measure(sitting, condition, row, verifier, lpips, path)
            done.add({"condition": condition, "row": row, "index": entry.index, **found})
            words = found.get("failure") or f"{found['psnr']:.2f} dB, identity {found['identity']:.3f}"
            say(f"head {entry.index} ({number + 1}/{len(entries)}), {condition} {row}: {words}")
    heads = [read_head(entry) for entry in entries]
    results = [_result(request.out, condition, row, heads, done) for condition, row in request.passes()]
    whole = report(results, heads, verifier)
    whole["judges"] = judge_figures(verifier, classifier, heads)
    whole["protocol"] = _protocol(request, studio.data, heads, files, lpips is not None)
    contact_sheets(request.out, heads, results)
    write_json(request.out / "heads.json", whole)
    say(table(whole))
    return whole


def drawn_folder(out: Path, condition: str, row: str) -> Path:
    """Where the drawn views of one row lie."""
    return out / "drawn" / condition / row


def _studio(request: HeadsRequest, baselines: Path | None) -> Studio:
    from backend.body_model.registry import load_body_model
    from backend.evaluation.baselines import load_baselines
    from backend.rodin.weights import load_rodin

    model = load_body_model("anny")
    rodin = load_rodin(request.weights, model)
    found = load_baselines(baselines) if baselines else None
    return Studio(model, rodin, found, request.out, request.data or request.out / "set")


def _measure(
    sitting: Sitting,
    condition: str,
    row: str,
    verifier: Verifier,
    lpips: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    path: Path,
) -> dict[str, Any]:
    """Draw one head by one row and compare it with the truth: means over the views."""
    head = sitting.head
    try:
        drawn = sitting.draw(condition, row)
    except MaquetteError as problem:
        if problem.code not in _NO_FACE:
            raise
        return {"failure": problem.code.value}
    drawn = np.where(head.hidden[..., None], np.float32(1), drawn)
    write_picture(path, strip(drawn))
    portrait = as_batch(head.portrait_over(1.0, SIZE)[None])
    shown, true = as_batch(drawn), as_batch(head.views)
    figures = {
        "psnr": [psnr(a, b) for a, b in zip(drawn, head.views, strict=True)],
        "psnr_person": [psnr(a, b, m) for a, b, m in zip(drawn, head.views, head.masks, strict=True)],
        "ssim": [ssim(a, b) for a, b in zip(drawn, head.views, strict=True)],
        "identity": similarity(verifier, shown, true).numpy(),
        "identity_portrait": similarity(verifier, shown, portrait.expand_as(shown)).numpy(),
    }
    if lpips is not None:
        figures["lpips"] = lpips(drawn, head.views)
    return {name: float(np.mean(values)) for name, values in figures.items()}


class _Figures:
    """Lines of a JSON Lines file by (condition, row, index); one that a kill cut short is as if it were not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[str, str, int], dict[str, Any]] = {}
        whole = b""
        with contextlib.suppress(FileNotFoundError):
            whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if kept != whole:
            os.truncate(path, len(kept))
        for line in kept.decode().splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        key = (line.pop("condition"), line.pop("row"), line.pop("index"))
        self._found[key] = line

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return key in self._found

    def __getitem__(self, key: tuple[str, str, int]) -> dict[str, Any]:
        return self._found[key]

    def add(self, line: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._take(dict(line))


def _result(out: Path, condition: str, row: str, heads: Sequence[HeldOutHead], done: _Figures) -> Result:
    figures = {head.index: done[condition, row, head.index] for head in heads}
    failures = {index: found["failure"] for index, found in figures.items() if "failure" in found}
    good = {index: found for index, found in figures.items() if index not in failures}
    return Result(condition, row, good, failures, drawn_folder(out, condition, row))


def _protocol(
    request: HeadsRequest, data: Path, heads: Sequence[HeldOutHead], files: dict[str, Path], lpips: bool
) -> dict[str, Any]:
    config = read_config(data)
    return {
        "set": {"name": config.name, "seed": config.seed, "size": config.size, "digest": config.digest},
        "seeds": [heads[0].index, heads[-1].index + 1],
        "heads": len(heads),
        "not_in_the_set": sorted(set(request.people or ()) - {head.index for head in heads}),
        "views": len(heads[0].cameras),
        "size": SIZE,
        "ground": "white, also where something outside the cube hides it",
        "weights": {name: digest(path) for name, path in {"rodin": request.weights, **files}.items()},
        "identity": "cosine of the verifier's embeddings; who somebody is includes hair and clothes",
        "fid": "on the verifier's features of all levels, in deviations of the truth; not on Inception",
        "lpips": "AlexNet" if lpips else "left out: the package lpips and its AlexNet are not on this computer",
        "psnr_person": "pixels with a true alpha above one half",
    }
