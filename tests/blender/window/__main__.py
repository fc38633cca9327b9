"""The add-on in a real Blender window: `python -m tests.blender.window --blender EXE --out DIR`.

Builds the extension, starts Blender with factory settings on a screen of its own (Xvfb, software OpenGL), and goes the
way of an artist with mouse and keyboard: install, choose a portrait, press the button, watch, move a slider, undo and
redo. DIR receives a picture of every step, blender.log and figures.json. Ends with 0 when all holds, with 1 when
something does not, with 2 when there is no Blender, Xvfb, xdotool or import to do it with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from .application import Application, BlenderError
from .display import Display, missing
from .walk import Walk

ROOT = Path(__file__).resolve().parents[3]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blender", default=os.environ.get("MAQUETTE_BLENDER", "blender"), help="the program to test")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures, log and figures")
    parser.add_argument("--zip", type=Path, help="the extension; built from this clone unless given")
    parser.add_argument("--portrait", type=Path, help="a picture; the astronaut of scikit-image unless given")
    parser.add_argument("--python", type=Path, help="an environment with the backend; this clone's unless given")
    parser.add_argument("--install", action="store_true", help="install the backend from the panel; downloads 0.5 GB")
    parser.add_argument("--quality", default="draft", choices=("draft", "standard", "high"))
    parser.add_argument("--size", default="1440x900", help="of the screen, pixels")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that one avatar may take")
    return parser.parse_args()


def own_environment(folder: Path) -> Path:
    """A Python in which `python -I -m backend` is the code of this clone."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    packages = next(folder.rglob("site-packages"))
    (packages / "here.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]), encoding="utf-8")
    return folder / "bin/python"


def astronaut(folder: Path) -> Path:
    """NASA's portrait of Eileen Collins, in the public domain; comes with scikit-image."""
    import skimage

    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(Path(skimage.__file__).parent / "data/astronaut.png", folder / "astronaut.png"))


def run(given: argparse.Namespace, work: Path) -> dict[str, object]:
    """All steps; returns the figures. Raises `BlenderError`."""
    out = given.out.resolve()
    width, height = map(int, given.size.split("x"))
    addon = given.zip or work / "addon.zip"
    if given.zip is None:
        build = [sys.executable, str(ROOT / "build_addon.py"), "--out", str(work / "dist")]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        addon = next((work / "dist").glob("*.zip"))
    portrait = given.portrait.resolve() if given.portrait else astronaut(work)
    with (
        Display(width, height) as display,
        Application(given.blender, display, out / "blender.log", online=given.install) as blender,
    ):
        walk = Walk(blender, display, out)
        try:
            walk.install_addon(addon.resolve())
            if given.install:
                walk.install_backend(work / "data")
            else:
                walk.use_environment(given.python or own_environment(work / "environment"), work / "data")
            walk.drop_portrait(astronaut(work / "one picture"))
            walk.choose_portrait(portrait, given.quality)
            walk.generate(given.timeout)
            walk.move_a_slider()
            walk.undo_and_redo()
            walk.look_at_materials()
            walk.leave()
            walk.judge()
        except BaseException:
            display.photograph(out / "failure.png")
            raise
        finally:
            (out / "figures.json").write_text(json.dumps(walk.figures, indent=1) + "\n", encoding="utf-8")
    return walk.figures


def main() -> int:
    given = options()
    lacking = missing() + ([] if shutil.which(given.blender) else [f"Blender ({given.blender})"])
    if lacking:
        print(f"Cannot run: {', '.join(lacking)} missing.", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    for stale in [*given.out.glob("*.png"), given.out / "figures.json"]:
        stale.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="maquette-window-") as work:
        try:
            figures = run(given, Path(work))
        except BlenderError as problem:
            print(f"FAILED: {problem}\nPictures and Blender's log are in {given.out}", file=sys.stderr)
            return 1
    print(json.dumps(figures, indent=1))
    print(f"PASSED: pictures and figures are in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
