"""Renders people in an installed Blender: ``blender --background --factory-startup --python blender_job.py -- JOB``.

JOB is a folder that `installed.render_in_blender` fills: ``job.json`` (settings, and the cameras of every person) and
``person_0000.npz`` and so on. For each, ``views_0000.npz`` appears when it is finished, with the passes of view k as
``k/rgba`` and so on. Needs only what Blender brings: Python and numpy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.radiance.cameras import Camera
from synthetic_data.person import Person
from synthetic_data.render import render_scene
from synthetic_data.scene import build_scene


def main(folder: Path) -> None:
    """Render every person of the job that has no views yet."""
    job = json.loads((folder / "job.json").read_text())
    for number, told in enumerate(job["cameras"]):
        out = folder / f"views_{number:04d}.npz"
        if out.exists():
            continue
        cameras = [
            Camera(np.array(c["world_to_camera"]), np.array(c["intrinsics"]), c["width"], c["height"]) for c in told
        ]
        build_scene(Person.load(folder / f"person_{number:04d}.npz"))
        views = render_scene(cameras, **job["settings"])
        arrays = {f"{k}/{name}": array for k, view in enumerate(views) for name, array in view.items()}
        aside = out.with_suffix(".partial")
        with aside.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] (its annotation takes no names)
        aside.replace(out)


if __name__ == "__main__":
    main(Path(sys.argv[sys.argv.index("--") + 1]))
