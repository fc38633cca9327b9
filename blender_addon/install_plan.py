"""What an installation of the backend is going to do, decided after a look at the machine. No bpy."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from . import platform_support as system

# Megabytes to download and on the disk afterwards; measured for linux-cpu, rough estimates for the others.
SIZES = {
    "linux-cpu": (510, 1930),
    "linux-cuda": (3300, 7800),
    "windows": (430, 1900),
    "macos-arm64": (330, 1600),
}
UV_MEGABYTES = 50  # uv (18, measured) and the Python that it fetches (an estimate)


class InstallError(Exception):
    """The backend cannot be installed: one sentence, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an installation is going to do; made before anything is downloaded, and shown to the user."""

    root: Path
    wheel: Path
    requirements: Path
    python: Path | None  # None: uv brings one
    device: str  # "cpu", "cuda" or "mps"
    card: str
    download_mb: int
    disk_mb: int

    def sentence(self) -> str:
        device = {"cpu": "the processor", "cuda": self.card or "CUDA", "mps": "Apple's GPU"}[self.device]
        source = f"Python from {self.python}" if self.python else "a Python 3.11 that uv finds or fetches from GitHub"
        return (
            f"Downloads {_size(self.download_mb)}, takes {_size(self.disk_mb)} in {self.root}, "
            f"for {device}, with {source}."
        )

    def facts(self) -> list[tuple[str, str]]:
        """The same in short lines: what, and how much or where."""
        return [
            ("Download", _size(self.download_mb)),
            ("On disk", _size(self.disk_mb)),
            ("Made for", {"cpu": "Processor", "cuda": self.card or "CUDA", "mps": "Apple's GPU"}[self.device]),
            ("Python 3.11", str(self.python) if self.python else "Brought by uv"),
            ("Folder", str(self.root)),
        ]


def bundled_wheel(package: Path) -> Path:
    """The backend's wheel in the add-on's folder. Raises `InstallError` when the add-on was not built."""
    wheels = sorted((package / "backend").glob("maquette-*.whl"))
    if len(wheels) != 1:
        raise InstallError("This copy of the add-on holds no backend.", "Install the zip that build_addon.py made.")
    return wheels[0]


def make_plan(root: Path, package: Path, python: str = "", device: str = "auto") -> Plan:
    """Look at the machine and decide. `python` is the user's choice or empty. Raises `InstallError`."""
    wheel = bundled_wheel(package)
    card = system.nvidia_card() if device in ("auto", "cuda") else ""
    if device == "cuda" and not card:
        hint = "Install its driver, or choose the processor in the preferences."
        raise InstallError("No NVIDIA card answers on this computer.", hint)
    name = system.lock_name(cuda=bool(card))
    requirements = package / "backend" / "locks" / f"{name}.txt"
    if name is None or not requirements.exists():
        raise InstallError(
            "The backend's packages do not exist for this computer.",
            "Use a backend on another machine: enter its address in the preferences.",
        )
    chosen: Path | None = None
    if python:
        if system.python_version(python) != system.BACKEND_PYTHON:
            raise InstallError(f"{python} is no Python 3.11 with venv.", "Choose another in the preferences, or none.")
        chosen = Path(python)
    else:
        chosen = system.find_python()
    download, disk = SIZES[name]
    if chosen is None:
        download, disk = download + UV_MEGABYTES, disk + 3 * UV_MEGABYTES
    kind = "mps" if name == "macos-arm64" and device != "cpu" else "cuda" if card else "cpu"
    plan = Plan(root, wheel, requirements, chosen, kind, card, download, disk)
    _require_space(plan)
    return plan


def _require_space(plan: Plan) -> None:
    folder = plan.root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free // 2**20
    if free < plan.disk_mb + plan.download_mb:
        raise InstallError(
            f"{_size(plan.disk_mb + plan.download_mb)} are needed for a while, {folder} has {_size(free)}.",
            "Make room, or choose a data folder on another disk.",
        )


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
