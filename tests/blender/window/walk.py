"""The way of an artist from factory settings to a moving face, with true mouse and keyboard events.

Every step asserts what a person would see, and is photographed. Figures that must hold are measured inside Blender.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .application import Application, BlenderError

if TYPE_CHECKING:
    from .display import Display

LONGEST_CALL = 0.050  # seconds: timer, draw, handlers, operators of the add-on during a job
LONGEST_IMPORT = 1.0  # seconds from the finished avatar to the one in the scene
INSTALLATION = 1800.0  # seconds; 0.5 GB are downloaded
SLIDER = "mouthSmileLeft"
_FIRST_LINE = 36  # pixels from the top of a file browser to its first file


def require(condition: object, what: str) -> None:
    """Like assert, but also there under `python -O`, and with a sentence."""
    if not condition:
        raise BlenderError(what)


class Walk:
    """One run; `figures` is what it measured."""

    def __init__(self, blender: Application, display: Display, out: Path) -> None:
        self._blender, self._display, self._out = blender, display, out
        self._number = 0
        self.figures: dict[str, Any] = {}

    def photograph(self, name: str) -> None:
        self._number += 1
        time.sleep(1.4)  # an idle add-on looks for changes once a second
        self._display.photograph(self._out / f"{self._number:02d}_{name}.png")

    def install_addon(self, zip: Path) -> None:
        blender = self._blender
        self.figures |= blender.ask("about")
        self.photograph("factory_settings")
        blender.ask("install", zip=str(zip))
        blender.wait(lambda: blender.ask("open_sidebar", tab="Maquette"), 10, "the tab of the add-on")
        blender.wait(lambda: blender.ask("session")["state"] == "NOT_INSTALLED", 10, "state: not installed")
        self.photograph("not_installed")

    def use_environment(self, python: Path, data: Path) -> None:
        blender = self._blender
        blender.ask("prefer", mode="ENVIRONMENT", python=str(python), data_folder=str(data))
        blender.wait(lambda: blender.ask("session")["state"] == "STOPPED", 10, "state: stopped")
        self.photograph("stopped")

    def install_backend(self, data: Path) -> None:
        """The real installation from the panel; needs online access."""
        blender = self._blender
        blender.ask("prefer", mode="MANAGED", data_folder=str(data))
        time.sleep(2)
        blender.click("maquette.backend(action='PLAN'")
        blender.wait(lambda: blender.ask("session")["planned"], 30, "what will be downloaded")
        self.photograph("before_the_download")
        started = time.monotonic()
        blender.click("maquette.backend(action='INSTALL'")
        blender.wait(lambda: blender.ask("session")["progress"][1] > 0.1, 600, "progress of the installation")
        self.photograph("installing")

        def over() -> bool:
            found = blender.ask("session")
            require(not found["problem"], f"the installation fails: {found['problem']}")
            return found["state"] == "STOPPED"

        blender.wait(over, INSTALLATION, "the installation")
        self.figures["installation_seconds"] = round(time.monotonic() - started)

    def drop_portrait(self, portrait: Path) -> None:
        """Drag the one file of a folder from Blender's file browser into the viewport, then take it away again."""
        blender = self._blender
        blender.ask("swap_area", old="PROPERTIES", new="FILE_BROWSER")
        blender.wait(lambda: blender.ask("browse", folder=str(portrait.parent)), 10, "the file browser")
        time.sleep(2)
        left, top, width, height = blender.region("FILE_BROWSER", "WINDOW")
        x, y, wide, high = blender.region("VIEW_3D", "WINDOW")
        for _ in range(3):  # a file browser that still reads its folder takes the drag for a click
            self._display.click(left + width / 2, top + 0.8 * height)
            time.sleep(0.5)
            self._display.drag((left + 40, top + _FIRST_LINE), (x + wide / 3, y + 0.6 * high))
            self.photograph("dropped")
            self._display.key("Return")  # Blender asks: an empty with this image, or our portrait
            time.sleep(1)
            if blender.ask("scene")["portraits"]:
                break
        require(blender.ask("scene")["portraits"] == [str(portrait)], "the dropped picture becomes no portrait")
        blender.ask("swap_area", old="FILE_BROWSER", new="PROPERTIES")
        time.sleep(1.5)
        blender.click("maquette.remove_portrait")
        blender.wait(lambda: blender.ask("scene")["portraits"] == [], 5, "no portrait any more")

    def choose_portrait(self, portrait: Path, quality: str) -> None:
        blender = self._blender
        blender.click("maquette.add_portraits(")
        blender.wait(lambda: self._has_area("FILE_BROWSER"), 15, "the file browser")
        blender.fill(blender.find("directory", "FILE_BROWSER", "UI"), f"{portrait.parent}/")
        x, y, width, height = blender.region("FILE_BROWSER", "WINDOW")
        self._display.click(x + width / 2, y + 0.9 * height)  # Blender 5.2 confirms a folder by leaving its field
        x, y, width, height = blender.region("FILE_BROWSER", "EXECUTE")
        blender.fill((x + 0.3 * width, y + height / 2), portrait.name)  # Blender 5.2 does not tell what is there
        self.photograph("file_browser")
        if self._has_area("FILE_BROWSER"):  # Return in the name's field may have confirmed it already
            blender.click("file.execute", "FILE_BROWSER", "EXECUTE")
        blender.wait(lambda: blender.ask("scene")["portraits"] == [str(portrait)], 10, "the portrait in the panel")
        blender.ask("choose", quality=quality)
        self.photograph("portrait_chosen")

    def _has_area(self, kind: str) -> bool:
        return any(area["type"] == kind for area in self._blender.ask("areas")["areas"])

    def generate(self, seconds: float) -> None:
        """Press the button, watch the progress, receive the avatar."""
        blender = self._blender
        x, y = blender.find("ops.maquette.generate(")
        blender.ask("measure")
        self._display.click(x, y)
        started = time.monotonic()
        fractions: list[float] = []
        texts: list[str] = []
        halfway = False
        while True:
            job = blender.wait(lambda: blender.ask("session")["jobs"], 5, "a job after the press")[-1]
            require(not job["error"], f"the job fails: {job['error']}")
            require(time.monotonic() - started < seconds, f"no avatar after {seconds:.0f} s, only '{job['text']}'")
            if not fractions or job["fraction"] != fractions[-1]:
                fractions.append(job["fraction"])
            if job["text"] not in texts:
                texts.append(job["text"])
                if len(texts) == 1:
                    self.photograph("begun")
            if job["imported"]:
                break
            if job["fraction"] > 0.4 and not halfway:
                halfway = True
                self.photograph("progress")
            time.sleep(0.05)
        self.figures["generation_seconds"] = round(time.monotonic() - started, 1)
        self.figures["stages_shown"] = texts
        measured = blender.ask("measure")
        require(len(measured["imports"]) == 1, "nobody saw the import begin and end")
        imported = measured["imports"][0]
        self.figures["import_seconds"] = round(imported["wall"], 2)
        self.figures["import_seconds_without_drawing"] = round(imported["wall"] - imported["drawing"], 2)
        longest = sorted(measured["calls"].items(), key=lambda pair: -pair[1])[:5]
        self.figures["longest_calls_ms"] = {name: round(1000 * value, 1) for name, value in longest}
        self.figures["longest_break_of_blender_ms"] = round(1000 * measured["break"])
        require(fractions == sorted(fractions), f"the progress falls: {fractions}")
        require(len(set(fractions)) >= 5 and len(texts) >= 4, f"the progress stands still: {fractions}, {texts}")
        time.sleep(1.5)  # the view moves smoothly
        self.photograph("avatar")
        found = blender.ask("scene")
        require(len(found["avatars"]) == 1 and len(found["keys"]) >= 51, f"no whole avatar: {found}")
        require(found["seen_height"] > 0.15, f"the avatar is hardly seen: {found['seen_height']:.2f} of the view")

    def move_a_slider(self) -> None:
        blender = self._blender
        _, y = blender.find(SLIDER)
        left, _, width, _ = blender.region("VIEW_3D", "UI")
        self._display.drag((left + 0.2 * width, y), (left + 0.7 * width, y))
        blender.wait(lambda: blender.ask("scene")["keys"][SLIDER] > 0.2, 5, f"the slider {SLIDER} follows the mouse")
        blender.click("maquette.expression(preset='Laugh'")
        blender.wait(lambda: blender.ask("scene")["keys"]["jawOpen"] > 0.2, 5, "the expression Laugh")
        self.photograph("slider")

    def undo_and_redo(self) -> None:
        """Each change is one step: expression, slider, avatar."""
        blender = self._blender
        x, y, width, height = blender.region("VIEW_3D", "WINDOW")
        self._display.move(x + width / 3, y + height / 2)
        before = blender.ask("scene")
        self._step("ctrl+z", lambda now: now["keys"] and now["keys"]["jawOpen"] == 0, "undo takes the expression away")
        self._step("ctrl+z", lambda now: now["keys"] and now["keys"][SLIDER] == 0, "undo moves the slider back")
        self._step("ctrl+z", lambda now: now["avatars"] == [], "undo takes the avatar away")
        self.photograph("undone")
        self._step("ctrl+shift+z", lambda now: now["avatars"] == before["avatars"], "redo brings the avatar back")
        self._step("ctrl+shift+z", lambda now: now["keys"].get(SLIDER, 0) > 0.2, "redo moves the slider")
        self._step("ctrl+shift+z", lambda now: now["keys"] == before["keys"], "redo brings the expression back")
        self.photograph("redone")

    def _step(self, key: str, condition: Any, what: str) -> None:
        self._display.key(key)
        self._blender.wait(lambda: condition(self._blender.ask("scene")), 10, what)
        time.sleep(0.3)

    def look_at_materials(self) -> None:
        """As most artists look at what they got; without a graphics card the first picture takes its time."""
        self._blender.ask("preview")
        time.sleep(45)
        self.photograph("material_preview")

    def leave(self) -> None:
        """Quit Blender: its backend goes with it."""
        pid = self._blender.ask("session")["pid"]
        require(self._blender.quit() == 0, "Blender ends with an error")
        if pid:
            self._blender.wait(lambda: self._blender.has_ended(pid), 15, "the backend ends with Blender")

    def judge(self) -> None:
        """The figures that must hold, and a log without tracebacks."""
        longest = max(self.figures["longest_calls_ms"].values()) / 1000
        require(longest <= LONGEST_CALL, f"a call of the add-on takes {1000 * longest:.0f} ms")
        # Between its slices Blender redraws its window, which without a graphics card takes half a second each time.
        seconds = self.figures["import_seconds_without_drawing"]
        require(0 < seconds <= LONGEST_IMPORT, f"the import takes {seconds:.2f} s")
        log = self._blender.log.read_text(encoding="utf-8", errors="replace")
        require("Traceback" not in log, "Blender's log holds a traceback")
