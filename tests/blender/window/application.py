"""Blender in a window, as the test sees it: questions to the probe inside, and buttons that can be found."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .display import Display

START = 120.0  # seconds until Blender must have answered; the first start compiles shaders
ANSWER = 120.0
_STEP = 9  # pixels at a scale of 1 between two looks for a button; buttons are 20 high


class BlenderError(Exception):
    """Blender, or the test in it, does not do what it should."""


class Application:
    """A Blender with factory settings and a user folder of its own; a context manager."""

    def __init__(self, blender: str, display: Display, log: Path, *, online: bool) -> None:
        self._blender, self._display, self.log, self._online = blender, display, log, online

    def __enter__(self) -> Application:
        self._cleanup = contextlib.ExitStack()
        home = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="maquette-window-"))
        log = self._cleanup.enter_context(self.log.open("w", encoding="utf-8"))
        listener = self._cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(START)
        environment = self._display.environment | {
            "MAQUETTE_PROBE": str(listener.getsockname()[1]),
            "BLENDER_USER_RESOURCES": home,
            "LIBGL_ALWAYS_SOFTWARE": "1",  # the same picture with and without a graphics card
            "PYTHONUNBUFFERED": "1",
        }
        command = [self._blender, "--factory-startup", "-noaudio", "--window-geometry", "0", "0"]
        command += [str(self._display.width), str(self._display.height)]
        command += ["--online-mode"] if self._online else []
        command += ["--python", str(Path(__file__).with_name("probe.py"))]
        self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self._cleanup.callback(self._kill)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            self._cleanup.close()
            raise BlenderError("Blender does not start: see its log") from None
        connection.settimeout(ANSWER)
        self._stream = self._cleanup.enter_context(connection.makefile("rw", encoding="utf-8"))
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def ask(self, question: str, **given: Any) -> Any:
        """What the probe's function of this name answers. Raises `BlenderError`."""
        try:
            self._stream.write(json.dumps({"ask": question, "given": given}) + "\n")
            self._stream.flush()
            line = self._stream.readline()
        except OSError as problem:
            raise BlenderError(f"Blender does not answer '{question}' ({problem!r})") from None
        if not line:
            raise BlenderError(f"Blender died on '{question}' (status {self._process.wait()})")
        reply = json.loads(line)
        if "error" in reply:
            raise BlenderError(f"{question}: {reply['error']}")
        return reply["value"]

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Until `condition` gives something true, which is returned."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                raise BlenderError(f"waited {seconds:.0f} s in vain: {what}")
            time.sleep(0.1)
        return found

    def quit(self, seconds: float = 30.0) -> int:
        """Leave Blender as the menu does; returns its exit status."""
        self.ask("end")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BlenderError("Blender does not end") from None

    # Places on the screen

    def region(self, area: str, region: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of a region, pixels of the screen."""
        found = self.ask("areas")
        there = next((each for each in found["areas"] if each["type"] == area), None)
        if there is None:
            raise BlenderError(f"no {area} on the screen, only {[each['type'] for each in found['areas']]}")
        box = next(each for each in there["regions"] if each["type"] == region)
        return box["x"], found["height"] - box["y"] - box["height"], box["width"], box["height"]

    def find(self, name: str, area: str = "VIEW_3D", region: str = "UI") -> tuple[float, float]:
        """Where the button is whose operator or property contains `name`: the pointer goes down until it is under it.

        The button must be on the screen, not scrolled away. Raises `BlenderError` with all that was seen.
        """
        left, top, width, height = self.region(area, region)
        step = round(_STEP * self.ask("areas")["scale"])
        seen: dict[str, None] = {}
        for fraction in (0.4, 0.7, 0.2, 0.8, 0.95):
            x = left + fraction * width
            for y in range(round(top) + step, round(top + height), step):
                self._display.move(x, y)
                time.sleep(0.03)
                found = self.ask("under_mouse", area=area, region=region).replace("'", '"')  # enums have '', texts ""
                if name.replace("'", '"') in found:
                    return x, y
                seen[found] = None
        raise BlenderError(f"no button '{name}'; found: {', '.join(filter(None, seen)) or 'none'}")

    def click(self, name: str, area: str = "VIEW_3D", region: str = "UI") -> None:
        self._display.click(*self.find(name, area, region))
        time.sleep(0.3)

    def fill(self, field: tuple[float, float], text: str) -> None:
        """Type into a text field and confirm."""
        self._display.click(*field)
        time.sleep(0.3)
        self._display.key("ctrl+a")
        self._display.type(text)
        time.sleep(0.5)  # a slow Blender is still reading letters
        self._display.key("Return")
        time.sleep(0.5)

    def has_ended(self, pid: int) -> bool:
        """Whether a process of this computer is gone, or only waits to be fetched by its parent."""
        try:
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True
