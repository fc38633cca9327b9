"""The process of one job: `python -m backend.server.worker`, started by the server.

Standard input: one line of JSON with the order ``{"kind", "request", "inputs", "like", "out", "picture"}``, later
perhaps the line ``cancel``; its end means that the server is gone. Standard output: one line of JSON per event.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.api import HINTS, AvatarRequest, ErrorCode
from backend.server import life
from backend.server.store import upload_name

if TYPE_CHECKING:
    from typing import TextIO

    import numpy as np

_INTERVAL = 0.1  # seconds between two events of progress
_PICTURE_SIDE = 256

# For what no room of the pipeline has foreseen; the command line has sentences of its own, with its options in them.
_SENTENCES = {
    ErrorCode.CANCELLED: "The job was cancelled.",
    ErrorCode.OUT_OF_MEMORY: "There is not enough memory for this job.",
    ErrorCode.DISK_FULL: "The disk is full; nothing was written.",
    ErrorCode.OUTPUT_NOT_WRITABLE: "The data folder cannot be written to.",
}


class Events:
    """What the server is told. Progress comes at most every `_INTERVAL` seconds, but each new stage at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._last = 0.0

    def say(self, event: str, **values: Any) -> None:
        self._stream.write(json.dumps({"event": event, **values}) + "\n")
        self._stream.flush()

    def progress(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage != self._stage or now - self._last > _INTERVAL:
            self._stage, self._last = stage, now
            self.say("progress", stage=stage, fraction=round(fraction, 4))


def main() -> int:
    """Do the one job; the exit status says only whether it worked, the events say what happened."""
    life.die_with_parent_thread()
    pipe = life.take_stdin()
    order: dict[str, Any] = json.loads(pipe.readline())
    # Native code may hold everything but this thread for long: without a server there is nothing left to tidy up for,
    # and what is half written will be swept.
    life.when_parent_is_gone(pipe, lambda: os._exit(1), lambda line: life.interrupt() if line == "cancel" else None)
    life.be_polite()
    life.leave_a_core()
    events = Events(_own_stdout())
    try:
        run(order, events)
    except (Exception, KeyboardInterrupt) as problem:
        explain(problem, order, events)
        return 1
    return 0


def run(order: dict[str, Any], events: Events) -> None:
    """Make what the order asks for; see the module's docstring."""
    events.progress("starting", 0.0)
    from backend import pipeline

    out, inputs = Path(order["out"]), [str(path) for path in order["inputs"]]
    if order["kind"] == "rig":
        pipeline.rig(Path(inputs[0]), Path(order["like"]), out, events.progress)
        return
    request = replace(AvatarRequest.from_json(order["request"]), portraits=tuple(inputs))
    picture = Path(order["picture"])

    def show(image: np.ndarray) -> None:
        _write_picture(image, picture)
        events.say("preview", file=picture.name)

    pipeline.generate(request, out, events.progress, show)


def explain(problem: BaseException, order: dict[str, Any], events: Events) -> None:
    """Say what went wrong, in a sentence for the user; the stack trace goes to the job's log alone.

    The user's own file names stand in it, not those of our copies.
    """
    import traceback

    from backend.cli import describe
    from backend.errors import MaquetteError

    error = describe(problem)
    message, hint = error.message, error.hint or HINTS.get(error.code, "")
    if not isinstance(problem, MaquetteError):
        if error.code is not ErrorCode.CANCELLED:
            traceback.print_exception(problem, file=sys.stderr)
        internal = f"Something went wrong inside Maquette ({type(problem).__name__})."
        missing_library = isinstance(problem, ImportError)  # whose sentence names the package to install
        message = _SENTENCES.get(error.code, error.message if missing_library else internal)
    for path in map(Path, order["inputs"]):
        message = message.replace(str(path), upload_name(path))
    events.say("error", code=error.code.value, message=message, hint=hint)


def _write_picture(image: np.ndarray, path: Path) -> None:
    """Write a small PNG of H×W×3 float32 sRGB, aside and renamed."""
    import numpy as np
    from PIL import Image

    aside = path.with_suffix(".part")
    picture = Image.fromarray((np.clip(image[..., :3], 0, 1) * 255).round().astype(np.uint8))
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    picture.save(aside, format="PNG")
    aside.replace(path)


def _own_stdout() -> TextIO:
    """Standard output for events alone: what libraries print there goes to standard error."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


if __name__ == "__main__":
    sys.exit(main())
