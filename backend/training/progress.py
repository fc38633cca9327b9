"""What a stage says while it runs, when it saves, and when it stops."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.training import team

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backend.training.stage import Stage

_SAVE_EVERY, _REPORT_EVERY = 300.0, 20.0
"""Seconds."""


class TimeIsUp(Exception):
    """The minutes that were given are over; everything is saved."""

    def __init__(self, step: int, steps: int) -> None:
        super().__init__()
        self.step, self.steps = step, steps


class Run:
    """Prints progress, writes the curve, and says when to save and when time is up."""

    def __init__(self, folder: Path, minutes: float | None, steps: int, save: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._curve = (folder / "curve.jsonl").open("a")
        self._end = time.monotonic() + minutes * 60 if minutes else float("inf")
        self._save, self._steps = save, steps
        self._saved = self._reported = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = self._since = 0
        self._begun = time.monotonic()
        self._speaks = team.rank() == 0

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._since += 1
        now = time.monotonic()
        if self._speaks and (now - self._reported > _REPORT_EVERY or step == self._steps):
            means = {name: value / self._count for name, value in self._sums.items()}
            rate = self._since / max(now - self._begun, 1e-9)
            left = (self._steps - step) / rate / 60
            words = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"step {step}/{self._steps}: {words}; {rate:.2f} steps/s, {left:.0f} min left", flush=True)
            self._curve.write(json.dumps({"step": step, **means}) + "\n")
            self._curve.flush()
            self._sums, self._count, self._reported = {}, 0, now
        if now - self._saved > _SAVE_EVERY:
            self._save()
            self._saved = time.monotonic()
        if now > self._end and step < self._steps:
            self._save()
            raise TimeIsUp(step, self._steps)


def resume(stage: Stage[Any, Any], folder: Path) -> None:
    """Go on where the stage left off, if it did. Raises `MaquetteError` when that was another recipe."""
    try:
        stage.load(folder)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{problem}.", stage="train") from None
