"""Puts the backend into an environment of its own, from the wheel and the lock files that came with the add-on. No bpy.

Layout below `root`, a folder that the user may choose:

    environment/            the virtual environment; complete when it holds `maquette.json`, which is written last
    downloads/              what was downloaded: survives an interruption, goes away when all is installed
    tools/, python/         only where no fitting Python was found: uv, and the Python that it brought
    jobs/, logs/            the backend's

An installation that fails or is cancelled takes the environment away again and keeps the downloads, so that the next
one goes on where it stopped. A folder without `maquette.json` is never used: half an installation is none.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import re
import subprocess
import threading
from typing import TYPE_CHECKING

from . import platform_support as system
from . import uv_python
from .install_plan import InstallError, Plan, bundled_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[str, float], None]

MARK = "maquette.json"
_TORCH_CPU = ["--retries", "2", "--index-url", "https://download.pytorch.org/whl/cpu"]
_BATCH = 4  # packages per call of pip: what an interruption loses at most


class Installed(enum.Enum):
    """What is in the folder."""

    NOTHING = "nothing"
    HALF = "half"
    OTHER_VERSION = "other version"
    COMPLETE = "complete"


def inspect(root: Path, package: Path) -> Installed:
    """What is installed below `root`, compared with what the add-on brings."""
    environment = root / "environment"
    if not environment.exists():
        return Installed.NOTHING
    try:
        mark = json.loads((environment / MARK).read_text(encoding="utf-8"))
        if not system.environment_python(environment).exists():
            return Installed.HALF
        same = mark["wheel"] == _digest(bundled_wheel(package))
    except (OSError, ValueError, KeyError, TypeError):
        return Installed.HALF
    except InstallError:  # an add-on without a backend uses whatever is there
        return Installed.COMPLETE
    return Installed.COMPLETE if same else Installed.OTHER_VERSION


def install(plan: Plan, progress: Progress, cancelled: threading.Event, log: Path) -> None:
    """Do what `plan` says; blocks. Raises `InstallError`; nothing half-made is left then, only the downloads."""
    environment = plan.root / "environment"
    worker = _Worker(plan, progress, cancelled, log)
    try:
        plan.root.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        system.remove_tree(environment)
        worker.make_environment(environment)
        worker.install_packages(environment, worker.fetch_packages(environment))
        worker.check(environment)
        mark = {"wheel": _digest(plan.wheel), "file": plan.wheel.name, "device": plan.device}
        system.write_aside(environment / MARK, json.dumps(mark, indent=1))
        with contextlib.suppress(OSError):
            system.remove_tree(plan.root / "downloads")
    except InstallError:
        _undo(environment)
        raise
    except OSError as problem:
        _undo(environment)
        sentence = f"{plan.root} cannot be written ({problem.strerror or problem})."
        raise InstallError(sentence, "Choose another data folder in the preferences.") from problem


def remove(root: Path) -> None:
    """Take all away but avatars; without any, nothing is left. Raises `InstallError`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            (root / "environment" / MARK).unlink()  # from now on it counts as half
        for name in ("environment", "downloads", "tools", "python"):
            system.remove_tree(root / name)
        if not any((root / "jobs").glob("*")):
            for name in ("jobs", "uploads", "previews", "fetched", "logs"):
                system.remove_tree(root / name)
            (root / "server.lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            root.rmdir()  # only if nothing of the user's is left in it
    except OSError as problem:
        hint = "Close what uses the folder, then press Remove again."
        raise InstallError(f"Some files are locked ({problem.filename or root}).", hint) from problem


class _Worker:
    """Runs the commands of one installation and turns what they print into progress."""

    def __init__(self, plan: Plan, progress: Progress, cancelled: threading.Event, log: Path) -> None:
        self._plan, self._progress, self._cancelled, self._log = plan, progress, cancelled, log
        self._variables = {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_USER": "0",
            "PIP_REQUIRE_VIRTUALENV": "0",
        } | uv_python.variables(plan.root)

    def make_environment(self, environment: Path) -> None:
        self._progress("Making the environment", 0.01)
        python = self._plan.python or uv_python.bring(self._plan.root, self._run, self._progress)
        self._run([str(python), "-I", "-m", "venv", str(environment)], "The environment")

    def fetch_packages(self, environment: Path) -> Path:
        """Download exactly the locked wheels, a few at a time: what is complete stays for the next time.

        Not left to pip's cache, which keeps nothing where a proxy forbids it.
        """
        wheels, incoming = (self._plan.root / "downloads" / name for name in ("wheels", "incoming"))
        wheels.mkdir(parents=True, exist_ok=True)
        system.remove_tree(incoming)
        pins = [line for line in self._plan.requirements.read_text(encoding="utf-8").splitlines() if "==" in line]
        there = {_pin(path.name) for path in wheels.glob("*.whl")}
        missing = [pin for pin in pins if _normal(*pin.split("==")) not in there]
        batches = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
        done = len(pins) - len(missing)

        def read(line: str) -> None:
            nonlocal done
            if line.startswith(("Collecting ", "Processing ")):
                done += 1
                name = line.split()[1].rpartition("/")[2].split("==")[0]
                name = name.split("-")[0] if name.endswith(".whl") else name
                self._progress(f"Fetching {name}", 0.05 + 0.7 * min(done / len(pins), 1.0))

        for batch in batches:
            self._fetch(environment, [pin for pin in batch if not self._is_special(pin)], incoming, [], read)
            self._fetch(environment, [pin for pin in batch if self._is_special(pin)], incoming, _TORCH_CPU, read)
            for wheel in incoming.glob("*.whl"):
                wheel.replace(wheels / wheel.name)
        return wheels

    def _is_special(self, pin: str) -> bool:
        """The torch on PyPI is made for CUDA on Linux and needs its libraries."""
        return self._plan.requirements.stem == "linux-cpu" and pin.startswith("torch==")

    def _fetch(
        self, environment: Path, pins: list[str], target: Path, more: list[str], read: Callable[[str], None]
    ) -> None:
        if pins:
            pip = [str(system.environment_python(environment)), "-I", "-m", "pip", "download", "--no-deps"]
            options = ["--only-binary", ":all:", "--progress-bar", "off", "--dest", str(target)]
            self._run([*pip, *options, *more, *pins], "The packages", read)

    def install_packages(self, environment: Path, wheels: Path) -> None:
        """From the downloads alone, nothing resolved: the same everywhere and every time."""
        self._progress("Unpacking the packages", 0.78)
        pip = [str(system.environment_python(environment)), "-I", "-m", "pip", "install", "--no-deps", "--no-index"]
        options = ["--no-cache-dir", "--progress-bar", "off", "--find-links", str(wheels)]
        self._run([*pip, *options, "-r", str(self._plan.requirements)], "The packages")
        self._progress("Installing the backend", 0.95)
        self._run([*pip, *options, str(self._plan.wheel)], "The backend")

    def check(self, environment: Path) -> None:
        self._progress("Trying it out", 0.97)
        python = str(system.environment_python(environment))
        self._run([python, "-I", "-m", "backend", "--help"], "The backend")
        self._run([python, "-I", "-c", "import torch, mediapipe, fastapi, uvicorn"], "A package")

    def _run(self, command: list[str], what: str, read: Callable[[str], None] | None = None) -> list[str]:
        """Run a command to its end, or stop it when the user cancels; its last lines. Raises `InstallError`."""
        if self._cancelled.is_set():
            raise InstallError("The installation was cancelled.", "What was downloaded is kept for the next time.")
        environment = system.child_environment(self._variables)
        process = system.start_process(system.guarded(command), environment, subprocess.STDOUT)
        finished = threading.Event()
        threading.Thread(target=self._stop_when_cancelled, args=(process, finished), daemon=True).start()
        last: list[str] = []
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write("$ " + " ".join(command) + "\n")
                for raw in process.stdout or ():
                    line = raw.decode("utf-8", "replace").rstrip()
                    log.write(line + "\n")
                    last = [*last[-30:], line]
                    if read:
                        read(line)
            status = process.wait()
        finally:
            finished.set()
            system.stop_process(process, grace=0.0)
        if self._cancelled.is_set():
            raise InstallError("The installation was cancelled.", "What was downloaded is kept for the next time.")
        if status != 0:
            raise _explained(what, "\n".join(last))
        return last

    def _stop_when_cancelled(self, process: subprocess.Popen[bytes], finished: threading.Event) -> None:
        while not finished.wait(0.1):
            if self._cancelled.is_set():
                system.stop_process(process, grace=0.5)
                return


def _explained(what: str, output: str) -> InstallError:
    """Known causes become advice."""
    lowered = output.lower()
    for signs, message, hint in (
        (("no space left", "errno 28", "not enough space"), "The disk is full.", "Make room or choose another folder."),
        (
            (
                "getaddrinfo",
                "resol",
                "dns error",
                "connection refused",
                "network is unreachable",
                "timed out",
                "proxyerror",
            ),
            "The package server cannot be reached.",
            "Check the network or the proxy, then press Install again: what was downloaded is kept.",
        ),
        (("permission denied", "access is denied"), "The folder cannot be written.", "Choose another data folder."),
        (("filename too long", "path too long"), "The folder's path is too long.", "Choose one nearer the root."),
        (
            ("no matching distribution",),
            "A package is missing on the package server.",
            "Update the add-on, or use another package index.",
        ),
    ):
        if any(sign in lowered for sign in signs):
            return InstallError(message, hint)
    return InstallError(f"{what} could not be installed.", "Copy the diagnostics: they hold the last lines of the log.")


def _undo(environment: Path) -> None:
    with contextlib.suppress(OSError):
        system.remove_tree(environment)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pin(wheel: str) -> str:
    """``name==version`` of a wheel's file name."""
    name, version = wheel.split("-")[:2]
    return _normal(name, version)


def _normal(name: str, version: str) -> str:
    """One spelling for a pinned package; ``+cpu`` and the like are builds of the same version."""
    return re.sub(r"[-_.]+", "-", name).lower() + "==" + version.strip().split("+")[0]
