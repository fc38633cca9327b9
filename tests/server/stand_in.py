"""A worker whose pipeline obeys the prompt instead of making a head; all else is the product's own worker.

``python stand_in.py`` takes the place of ``python -m backend.server.worker``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from backend import pipeline
from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.export.folder import staged_folder
from backend.server import worker

STAGES = ("portrait", "fit", "field", "mesh", "texture", "export")


def generate(request, out: Path, progress, show) -> None:
    """Do what `request.prompt` names; the number of this process goes to a file beside the avatar's folder."""
    (out.parent / "pid").write_text(str(os.getpid()))
    word, _, argument = request.prompt.partition(" ")
    globals()[f"be_{word}"](out, progress, show, argument)


def rig(mesh: Path, like: Path, out: Path, progress) -> None:
    assert (like / "report.json").is_file()
    _write(out, "rig")


def be_quick(out, progress, show, argument) -> None:
    print("a library talks on standard output")
    show(np.full((300, 200, 3), 0.5, np.float32))
    for stage in STAGES:
        progress(stage, 0.0)
        progress(stage, 1.0)
    _write(out, argument)


def be_copying(out, progress, show, argument) -> None:
    """Finishes with the arrays of the file `argument`, which Blender can import."""
    progress("export", 0.0)
    _write(out, "")
    shutil.copyfile(argument, out / "avatar.npz")


def be_held(out, progress, show, argument) -> None:
    """The same, once the test says so."""
    progress("field", 0.0)
    while not (out.parent / "go").exists():
        time.sleep(0.02)
    be_copying(out, progress, show, argument)


def be_slow(out, progress, show, argument) -> None:
    show(np.zeros((8, 8, 3), np.float32))
    for step in range(1200):
        progress(argument or "field", step / 1200)
        time.sleep(0.05)


def be_writing(out, progress, show, argument) -> None:
    progress("export", 0.0)
    with staged_folder(out) as aside:
        (aside / "avatar.npz").write_bytes(b"half")
        time.sleep(60)


def be_deaf(out, progress, show, argument) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress("field", 0.0)
    time.sleep(60)


def be_busy_native(out, progress, show, argument) -> None:
    """Holds the interpreter's lock, as native code may: no thread of this process gets a turn."""
    progress("field", 0.0)
    sum(range(10**11))


def be_parent(out, progress, show, argument) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (out.parent / "grandchild").write_text(str(child.pid))
    progress("field", 0.0)
    time.sleep(60)


def be_crashing(out, progress, show, argument) -> None:
    os.abort()


def be_wrong(out, progress, show, argument) -> None:
    raise ZeroDivisionError("secret detail")


def be_refusing(out, progress, show, argument) -> None:
    raise MaquetteError(ErrorCode.NO_FACE, "There is no face in the picture.", stage="portrait")


def be_large(out, progress, show, argument) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    np.ones(2**33, np.uint8)


def be_growing(out, progress, show, argument) -> None:
    """Takes all memory there is, once the test has seen to it that there is little."""
    progress("field", 0.0)
    while not (out.parent / "go").exists():
        time.sleep(0.02)
    held = []
    while True:
        held.append(np.ones(10**7, np.uint8))


def be_too_much_for_the_disk(out, progress, show, argument) -> None:
    with staged_folder(out) as aside:
        (aside / "avatar.npz").write_bytes(bytes(2**25))
        (aside / "report.json").write_text("{}")


def _write(out: Path, words: str) -> None:
    stages = [{"name": stage, "seconds": 1.0, "peak_memory_mb": 123.0} for stage in STAGES]
    with staged_folder(out) as aside:
        (aside / "avatar.npz").write_bytes(words.encode())
        (aside / "preview.png").write_bytes(b"\x89PNG")
        (aside / "report.json").write_text(json.dumps({"stages": stages}))


if __name__ == "__main__":
    pipeline.generate, pipeline.rig = generate, rig
    sys.exit(worker.main())
