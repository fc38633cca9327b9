"""Resolve the dependencies of `pyproject.toml` for every platform, from wheels alone: `python locks/update.py`.

`python locks/update.py --check` changes nothing and fails when a lock no longer satisfies `pyproject.toml`, or when one
of its pins has no wheel for its platform. Both need uv, which the extra `dev` installs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).parent
PLATFORMS = {
    "linux-cpu": ("x86_64-manylinux_2_28", ["--excludes", "locks/without_cuda.txt"]),
    "linux-cuda": ("x86_64-manylinux_2_28", []),
    "windows": ("x86_64-pc-windows-msvc", []),
    "macos-arm64": ("aarch64-apple-darwin", []),
}
HEADER = """\
# Python 3.11, every extra. Made by `python locks/update.py`; use it as constraints: pip install -c {name} -e .
"""


BACKEND_HEADER = """\
# Python 3.11, the backend without extras: what the Blender add-on installs. Made by `python locks/update.py`.
"""


def resolve(name: str, target: Path) -> str:
    """Pins for one platform; those already in `target` are kept where they still satisfy `pyproject.toml`.

    ``backend/<platform>`` is the part of ``<platform>`` that the backend needs to run.
    """
    folder, _, platform_name = name.rpartition("/")
    platform, more = PLATFORMS[platform_name]
    more = [*more, "--constraints", f"locks/{platform_name}.txt"] if folder else ["--all-extras", *more]
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"),
        *("--no-annotate", "--no-header", "--quiet"),
        *("--python-version", "3.11", "--python-platform", platform, "--only-binary", ":all:"),
        *("--no-emit-package", "maquette", "--output-file", str(target), *more),
    ]
    # torch's wheels for macOS start at 14; uv takes the target from the same variable as the compilers.
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
    subprocess.run(command, check=True, cwd=LOCKS.parent, env=environment)
    return (BACKEND_HEADER if folder else HEADER.format(name=f"locks/{name}.txt")) + target.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether the locks are up to date")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of the locked ones")
    options = parser.parse_args()
    stale = []
    (LOCKS / "backend").mkdir(exist_ok=True)
    for name in [*PLATFORMS, *(f"backend/{name}" for name in PLATFORMS)]:
        lock = LOCKS / f"{name}.txt"
        before = lock.read_text() if lock.exists() else ""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / lock.name
            if before and not options.upgrade:
                target.write_text(before)
            after = resolve(name, target)
        if after != before:
            stale.append(f"{name}.txt")
            if not options.check:
                lock.write_text(after)
    if stale:
        print(("Out of date: " if options.check else "Updated: ") + ", ".join(stale))
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
