"""Make the Blender extension: `python build_addon.py` writes dist/maquette-<version>.zip, the same bytes every time.

The zip holds `blender_addon/`, the boundary file `backend/api.py` as its `api.py`, and the backend as one wheel *file*
with the lock files it is installed by; nothing is imported from that wheel inside Blender. It is packed and validated
by Blender's own packer, which comes with the `bpy` wheel (extra `render`). `--dev DIR` lays the same out unpacked.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGES = ("backend", "synthetic_data")
EXTENSION = "maquette"
TIME = 315532800  # 1980-01-01, the earliest that a zip can hold

# setuptools leaves its traces beside the sources, so it works on a copy.
_BUILD_WHEEL = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


class BuildError(Exception):
    """The extension cannot be made; the text says what to do."""


def version() -> str:
    """The version of the project, which that of the extension must be."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    manifest = tomllib.loads((ROOT / "blender_addon/blender_manifest.toml").read_text(encoding="utf-8"))["version"]
    if project != manifest:
        raise BuildError(f"pyproject.toml says version {project}, blender_manifest.toml {manifest}: make them equal.")
    return project


def lay_out(target: Path) -> Path:
    """The extension as a folder, ready to be packed or used as it is; replaces `target`. Returns it."""
    version()
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / EXTENSION
        shutil.copytree(ROOT / "blender_addon", aside, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        shutil.copyfile(ROOT / "backend/api.py", aside / "api.py")
        shutil.copyfile(ROOT / "LICENSE", aside / "LICENSE")
        (aside / "backend" / "locks").mkdir(parents=True)
        for lock in sorted((ROOT / "locks/backend").glob("*.txt")):
            shutil.copyfile(lock, aside / "backend/locks" / lock.name)
        build_wheel(aside / "backend")
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(aside, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (TIME, TIME))
    return target


def build_wheel(target: Path) -> Path:
    """The backend as a wheel in the folder `target`, made from a copy of the sources; the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder:
        copy, made = Path(folder) / "source", Path(folder) / "made"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        for name in ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md"):
            shutil.copyfile(ROOT / name, copy / name)
        made.mkdir()
        command = [sys.executable, "-I", "-c", _BUILD_WHEEL, str(made)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(TIME)}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        wheels = list(made.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise BuildError(f"setuptools could not make the wheel:\n{done.stderr.strip()}")
        return repack(wheels[0], target / wheels[0].name)


def repack(source: Path, target: Path) -> Path:
    """A zip with the same files in order of their names, without what differs between computers. Returns `target`."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name in sorted(name for name in archive.namelist() if not name.endswith("/")):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, archive.read(name), compresslevel=9)
    return target


def build(target: Path) -> Path:
    """The finished zip in the folder `target`, which appears whole or not at all."""
    packer = _packer()
    name = f"{EXTENSION}-{version()}.zip"
    with tempfile.TemporaryDirectory() as folder:
        source = lay_out(Path(folder) / EXTENSION)
        _pack(packer, "build", "--source-dir", str(source), "--output-filepath", str(Path(folder) / "packed.zip"))
        finished = repack(Path(folder) / "packed.zip", Path(folder) / name)
        _pack(packer, "validate", str(finished))
        target.mkdir(parents=True, exist_ok=True)
        aside = target / f"{name}.part"
        shutil.copyfile(finished, aside)
        return aside.replace(target / name)


def _pack(packer: list[str], command: str, *arguments: str) -> None:
    tags = packer[-1]
    done = subprocess.run(
        [*packer[:-1], command, tags, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise BuildError(f"Blender's packer refuses the extension:\n{(done.stdout + done.stderr).strip()}")


def _packer() -> list[str]:
    """How Blender's packer is called, and the option that names the allowed tags. bpy itself is not loaded."""
    found = importlib.util.find_spec("bpy")
    for folder in found.submodule_search_locations or () if found else ():
        for script in sorted(Path(folder).glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")):
            tags = script.parents[3] / "modules/_bpy_internal/extensions/tags.py"
            return [sys.executable, "-I", str(script), f"--valid-tags={tags}"]
    raise BuildError("Blender's packer is missing: install the extra `render`, which brings bpy.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    parser.add_argument("--dev", type=Path, metavar="DIR", help="lay it out as DIR/maquette, without packing")
    options = parser.parse_args()
    try:
        made = lay_out(options.dev / EXTENSION) if options.dev else build(options.out)
    except BuildError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
