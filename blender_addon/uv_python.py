"""A Python for the backend where none that fits was found: uv finds one that we overlooked, or downloads one. No bpy.

Blender 5.1 and later bring Python 3.13, for which the backend's pinned packages do not exist. uv is a single program
that any Python can hold; it comes from the package index, the Python that it downloads from GitHub. Both stay in the
data folder and go away with the installation; nothing is put on the PATH or into the registry.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import platform_support as system
from .install_plan import InstallError

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[list[str], str], list[str]]  # a command and what it is about; its last lines; raises InstallError
    Progress = Callable[[str, float], None]

_BY_HAND = "Install Python 3.11 from python.org, choose it in the preferences, and press Install again."


def variables(root: Path) -> dict[str, str]:
    """What keeps uv inside `root`."""
    return {
        "UV_CACHE_DIR": str(root / "downloads" / "uv"),
        "UV_PYTHON_INSTALL_DIR": str(root / "python"),
        "UV_PYTHON_INSTALL_BIN": "0",
        "UV_PYTHON_INSTALL_REGISTRY": "0",
        "UV_NO_PROGRESS": "1",
    }


def bring(root: Path, run: Run, progress: Progress) -> Path:
    """The interpreter; fetches what is missing. Raises `InstallError`."""
    uv = _fetch_uv(root / "tools", run, progress)
    version = ".".join(map(str, system.BACKEND_PYTHON))
    if (found := _found([*uv, "python", "find", "--system", "--no-python-downloads", version], run)) is not None:
        return found
    progress(f"Fetching Python {version}", 0.04)
    try:
        run([*uv, "python", "install", version], f"Python {version}")
    except InstallError as problem:
        if "cancelled" in problem.message:
            raise
        raise InstallError(f"Python {version} could not be downloaded: {problem.message}", _BY_HAND) from problem
    if (found := _found([*uv, "python", "find", "--managed-python", version], run)) is None:
        raise InstallError(f"The Python {version} that uv has downloaded does not run here.", _BY_HAND)
    return found


def _fetch_uv(tools: Path, run: Run, progress: Progress) -> list[str]:
    """The command that is uv: the user's own, or one in an environment that any Python can make, also Blender's."""
    if (own := shutil.which("uv")) is not None:
        return [own]
    python = system.environment_python(tools)
    uv = [str(python), "-I", "-m", "uv"]
    if python.exists():
        with contextlib.suppress(InstallError):
            run([*uv, "--version"], "uv")
            return uv
    progress("Fetching uv", 0.02)
    try:
        run([sys.executable, "-I", "-m", "venv", "--clear", str(tools)], "The folder for uv")
    except InstallError as problem:
        if "cancelled" in problem.message:
            raise
        hint = "Install uv, or Python 3.11 and choose it in the preferences; then press Install again."
        raise InstallError("Blender's own Python lacks what fetches uv (ensurepip).", hint) from problem
    run([str(python), "-I", "-m", "pip", "install", "--only-binary", ":all:", "uv"], "uv")
    return uv


def _found(command: list[str], run: Run) -> Path | None:
    """The Python that uv names, if it can make environments: the last line that is a file."""
    with contextlib.suppress(InstallError):
        for line in reversed(run(command, "Python")):
            if Path(line).is_file() and system.python_version(line) == system.BACKEND_PYTHON:
                return Path(line)
    return None
