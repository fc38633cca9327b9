"""A screen that nobody sees, with a mouse and a keyboard. Pixels, the origin is top left."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {"Xvfb": "xvfb", "xdotool": "xdotool", "import": "imagemagick"}
"""What is needed, and the Debian package that brings it."""

_SECONDS = 30


def missing() -> list[str]:
    """The packages that this computer lacks."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


class Display:
    """An X server of its own; a context manager."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._size = f"{width}x{height}x24"

    def __enter__(self) -> Display:
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", self._size, "-nolisten", "tcp"]
        quiet = subprocess.DEVNULL
        self._server = subprocess.Popen(command, pass_fds=[writing], stdout=quiet, stderr=quiet)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()  # written when the server is ready
        if not number:
            raise RuntimeError("Xvfb does not start")
        self.name = f":{number}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait()

    def move(self, x: float, y: float) -> None:
        self._do("mousemove", round(x), round(y))

    def click(self, x: float, y: float) -> None:
        """Blender must see the pointer arrive before it sees the press."""
        self.move(x - 1, y)
        self.move(x, y)
        time.sleep(0.15)
        self._do("click", 1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 15) -> None:
        """Press at `start`, move on in small steps as a hand does, release at `end`."""
        self.move(start[0] - 3, start[1])
        time.sleep(0.3)
        self.move(*start)
        time.sleep(0.3)
        self._do("mousedown", 1)
        for step in (0.1, 0.2, 0.3, *range(1, steps + 1)):  # slowly at first, until Blender takes it for a drag
            time.sleep(0.05)
            self.move(*(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)))
        time.sleep(0.2)
        self._do("mouseup", 1)

    def key(self, name: str) -> None:
        """Press a key by its X name: "Return", "ctrl+z"."""
        self._do("key", name)

    def type(self, text: str) -> None:
        self._do("type", "--delay", 15, text)

    def photograph(self, path: Path) -> None:
        subprocess.run(["import", "-window", "root", str(path)], env=self.environment, timeout=_SECONDS, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to appear on this screen."""
        foreign = ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE")
        return {name: value for name, value in os.environ.items() if name not in foreign} | {"DISPLAY": self.name}

    def _do(self, *words: object) -> None:
        subprocess.run(["xdotool", *map(str, words)], env=self.environment, timeout=_SECONDS, check=True)
