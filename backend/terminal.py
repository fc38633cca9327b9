"""What a command shows in a terminal: progress, where results are, and nothing of the chatter of native libraries."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

_BAR_WIDTH = 24


def report(out: Path, job: Callable[[Callable[[str, float], None]], object], results: str = "") -> None:
    """Run `job` with a progress display, then say where its `results` are: all files in `out` if not said otherwise."""
    start = time.monotonic()
    progress = Progress()
    try:
        job(progress)
    finally:
        progress.close()
    results = results or ", ".join(sorted(path.name for path in out.iterdir()))
    say(f"Done in {time.monotonic() - start:.0f} s: {out.resolve()} holds {results}\n")


class Progress:
    """One line per stage: redrawn in place on a terminal, written once when the stage is over anywhere else."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._stage = ""
        self._start = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """Show that `stage` is done to `fraction` in [0, 1]; a new name ends the stage before it."""
        if stage != self._stage:
            self.close()
            self._stage, self._start = stage, time.monotonic()
        if self._live:
            filled = round(min(max(fraction, 0.0), 1.0) * _BAR_WIDTH)
            say(f"\r{stage:<12} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {self._seconds()}")

    def close(self) -> None:
        """End the line of the stage at hand."""
        if self._stage:
            say("\n" if self._live else f"{self._stage:<12} {self._seconds()}\n")
            self._stage = ""

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._start:6.1f} s"


def say(text: str) -> None:
    """Write to stdout. Once its reader is gone (`maquette … | head`) the job goes on in silence."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        # Also keeps the interpreter from complaining when it flushes stdout on its way out.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


@contextlib.contextmanager
def quiet_stderr(*, enabled: bool) -> Iterator[TextIO]:
    """Yield a stream for our own sentences, and drop what native libraries write to file descriptor 2 meanwhile.

    MediaPipe, Blender and OpenCV log there from C++, out of reach of `logging` and `warnings`.
    """
    if not enabled:
        yield sys.stderr
        return
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace") as stream:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        os.close(devnull)
        try:
            yield stream
        finally:
            sys.stderr.flush()
            os.dup2(stream.fileno(), 2)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let a polite kill unwind like Ctrl-C, so that the job removes what it has half-written."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
