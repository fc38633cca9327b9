"""Rendering in an installed Blender instead of the bpy module: on a workstation with its graphics card set up, say."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.radiance.cameras import Camera
from synthetic_data.person import Person

_SCRIPT = Path(__file__).with_name("blender_job.py")


def blender_command(executable: str) -> list[str]:
    """How a Blender, or a Python that has the bpy module, runs a script in the background."""
    if Path(executable).stem.lower().startswith("python"):
        return [executable, str(_SCRIPT), "--"]
    return [executable, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(_SCRIPT), "--"]


def render_in_blender(
    executable: str,
    people: Sequence[Person],
    cameras: Sequence[Sequence[Camera]],
    *,
    preset: str = "portrait",
    samples: int | None = None,
    passes: Sequence[str] = ("rgba", "depth", "normal", "segmentation"),
    threads: int | None = None,
    device: str = "CPU",
) -> list[list[dict[str, np.ndarray]]]:
    """Views of several people, see `render.render_identity`, made by one run of the Blender at `executable`.

    Raises:
        RuntimeError: Blender could not be started or failed; the sentence ends with what it said last.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, person in enumerate(people):
            person.save(folder / f"person_{number:04d}.npz")
        settings = {"preset": preset, "samples": samples, "passes": list(passes), "threads": threads, "device": device}
        described = [[_described(camera) for camera in group] for group in cameras]
        (folder / "job.json").write_text(json.dumps({"settings": settings, "cameras": described}))
        try:
            done = subprocess.run([*blender_command(executable), str(folder)], capture_output=True, text=True)
        except OSError as problem:
            raise RuntimeError(f"Blender could not be started: {problem}") from problem
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise RuntimeError(f"{executable} failed: {said[-1] if said else f'exit status {done.returncode}'}")
        return [_views(folder / f"views_{number:04d}.npz", len(group)) for number, group in enumerate(cameras)]


def _described(camera: Camera) -> dict:
    return {
        "world_to_camera": camera.world_to_camera.tolist(),
        "intrinsics": camera.intrinsics.tolist(),
        "width": camera.width,
        "height": camera.height,
    }


def _views(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as data:
        return [
            {name.split("/")[1]: data[name] for name in data.files if name.startswith(f"{k}/")} for k in range(count)
        ]
