"""What a stage says while it runs, when it saves, and when it stops."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
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


class Stopped(Exception):
    """The minutes that were given are over, or somebody asked for it; everything is saved."""

    def __init__(self, step: int, steps: int, *, asked: bool) -> None:
        super().__init__()
        self.step, self.steps, self.asked = step, steps, asked


class _Wish:
    """Whether somebody wants a run to stop."""

    def __init__(self) -> None:
        self.stop = False


_wish = _Wish()


@contextlib.contextmanager
def stops_between_steps() -> Iterator[None]:
    """Ctrl-C, or SIGTERM, ends a `Run` after the step at work, with everything saved; a second time it ends at once."""

    def ask(number: int, frame: Any) -> None:
        if _wish.stop:
            raise KeyboardInterrupt
        _wish.stop = True
        print("Stopping as soon as it can be saved; once more to stop at once.", flush=True)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    _wish.stop = False
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


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
        self._speaks = team.leads()

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
            self._keep()
        # Everybody stops after the same step, or the others would wait for ever.
        asked = team.any_of(_wish.stop)
        if (asked or team.any_of(now > self._end)) and step < self._steps:
            self._keep()
            raise Stopped(step, self._steps, asked=asked)

    def _keep(self) -> None:
        if team.leads():
            self._save()
        self._saved = time.monotonic()


def resume(stage: Stage[Any, Any], folder: Path) -> None:
    """Go on where the stage left off, if it did. Raises `MaquetteError` when that was another recipe."""
    try:
        stage.load(folder)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{problem}.", stage="train") from None
