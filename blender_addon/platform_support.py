"""What differs between Linux, Windows and macOS: Python discovery, process life, paths. No bpy."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

WINDOWS, MACOS = sys.platform == "win32", sys.platform == "darwin"
BACKEND_PYTHON = (3, 11)  # what the backend's pinned wheels are made for

# Python's own settings and those of other environments would leak into the backend's.
_FOREIGN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that must not inherit Blender's Python."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in _FOREIGN_VARIABLES}
    return kept | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"} | dict(more or {})


def start_process(
    command: list[str], environment: dict[str, str], log: IO[bytes] | int, *, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child whose stdin and stdout are pipes; no shell, no window, its own process group.

    An own group keeps Ctrl-C in Blender's terminal away from it and lets `stop_process` end its children as well.
    """
    flags = 0
    if WINDOWS:
        names = ("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
        flags = sum(getattr(subprocess, name) for name in names)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        cwd=folder,
        creationflags=flags,
        start_new_session=not WINDOWS,
    )
    if WINDOWS:
        _die_with_us(process)
    return process


_GUARD = """
import os, signal, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def end():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
os._exit(child.wait() & 255)
"""


def guarded(command: list[str]) -> list[str]:
    """A command that, started by `start_process`, ends with us however we end.

    The backend sees to that itself; pip does not, and would go on for minutes. Windows has job objects.
    """
    return command if WINDOWS else [sys.executable, "-I", "-c", _GUARD, *command]


def stop_process(process: subprocess.Popen[bytes], grace: float = 3.0) -> None:
    """End a child of `start_process` and its children: first by closing its stdin, then by force after `grace` s."""
    with contextlib.suppress(OSError):
        if process.stdin:
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    _signal_group(process, force=False)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    _signal_group(process, force=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    if process.stdout:
        process.stdout.close()


def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
    if WINDOWS:
        if process.poll() is None:
            process.kill()  # its children are in our job object or watch their parent
        return
    import signal

    # The leader may be gone while its children are not: the group still has its number.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


_job_objects: list[Any] = []  # handles: Windows ends the processes of a job when its last handle is closed


def _die_with_us(process: subprocess.Popen[bytes]) -> None:
    """Windows: put the child into a job that ends with this process, however this process ends."""
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
    kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    job = kernel.CreateJobObjectW(None, None)
    # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: LimitFlags is the third field, after two 64-bit times.
    limits = ctypes.create_string_buffer(144 if ctypes.sizeof(ctypes.c_void_p) == 8 else 112)
    ctypes.memmove(ctypes.addressof(limits) + 16, (0x2000).to_bytes(4, "little"), 4)  # KILL_ON_JOB_CLOSE
    extended_limit_information = 9
    if job and kernel.SetInformationJobObject(job, extended_limit_information, limits, len(limits)):
        kernel.AssignProcessToJobObject(job, int(process._handle))  # type: ignore[attr-defined]
        _job_objects.append(job)


def environment_python(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if WINDOWS else "bin/python")


def find_python(version: tuple[int, int] = BACKEND_PYTHON, own: str = sys.executable) -> Path | None:
    """A Python of exactly this version that can make environments: the system's, else Blender's `own`."""
    for candidate in _python_candidates(version, own):
        answer = _ask_python(candidate)
        if answer is not None and answer[0] == version:
            return Path(answer[1])
    return None


def python_version(python: str | Path) -> tuple[int, int] | None:
    """Version of an interpreter that has `venv` and `ensurepip`; None when it does not answer."""
    answer = _ask_python(str(python))
    return answer[0] if answer else None


def _ask_python(python: str) -> tuple[tuple[int, int], str] | None:
    """Version and true place of an interpreter: what is on the PATH may be a script that chooses one."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=child_environment(),
            **_no_window(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"(\d+)\.(\d+) (.+)", answer.stdout.strip())
    return ((int(found[1]), int(found[2])), found[3]) if found and answer.returncode == 0 else None


def _python_candidates(version: tuple[int, int], own: str) -> Iterator[str]:
    name = f"python{version[0]}.{version[1]}"
    if (found := shutil.which(name)) is not None:
        yield found
    if WINDOWS:
        short = f"Python{version[0]}{version[1]}"
        for root in ("LOCALAPPDATA", "PROGRAMFILES"):
            if base := os.environ.get(root):
                middle = "Programs/Python" if root == "LOCALAPPDATA" else ""
                yield str(Path(base, middle, short, "python.exe"))
    else:
        folders = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
        folders += [f"/Library/Frameworks/Python.framework/Versions/{version[0]}.{version[1]}/bin"] if MACOS else []
        yield from (f"{folder}/{name}" for folder in folders)
        yield from sorted(map(str, Path.home().glob(f".pyenv/versions/{version[0]}.{version[1]}.*/bin/python")))
    if sys.version_info[:2] == version:
        yield own


def lock_name(*, cuda: bool) -> str | None:
    """The lock file for this computer, or None when the backend's packages do not exist for it."""
    machine = platform.machine().lower()
    if WINDOWS and machine in ("amd64", "x86_64"):
        return "windows"
    if MACOS and machine == "arm64":
        return "macos-arm64"
    if sys.platform.startswith("linux") and machine == "x86_64":
        return "linux-cuda" if cuda else "linux-cpu"
    return None


def nvidia_card() -> str:
    """Name of the first NVIDIA card whose driver answers, or an empty string."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, **_no_window())
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout.strip() else ""


def remove_tree(folder: Path, patience: float = 5.0) -> None:
    """Delete a folder and all it holds. Raises `OSError` when something in it stays locked for `patience` seconds."""
    deadline = time.monotonic() + patience
    while folder.exists():
        try:
            shutil.rmtree(long_path(folder))
        except OSError:  # Windows keeps files of an ended process for a moment, virus scanners for longer
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def long_path(path: Path) -> Path:
    """The same path in the spelling that Windows accepts beyond 260 characters."""
    text = str(path)
    if not WINDOWS or text.startswith("\\\\"):
        return path
    return Path("\\\\?\\" + os.path.abspath(text))  # noqa: PTH100


def masked(text: str, home: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the user's home folder, name and tokens, for a report that is shown to others."""
    variables = os.environ if environment is None else environment
    home = home or Path.home()
    for spelling in {str(home), home.as_posix()}:
        text = text.replace(spelling, "~")
    for name in {variables.get("USER", ""), variables.get("USERNAME", ""), home.name} - {"", "root"}:
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "<user>", text)
    return re.sub(r"(?i)((?:token|bearer)[\"'=: ]+)[\w.-]{6,}", r"\1<token>", text)


def open_folder(folder: Path) -> None:
    """Show a folder in the system's file manager."""
    if WINDOWS:
        os.startfile(folder)  # type: ignore[attr-defined]
    else:
        subprocess.Popen(["open" if MACOS else "xdg-open", str(folder)], env=child_environment())


def _no_window() -> dict[str, Any]:
    return {"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {}  # type: ignore[attr-defined]


def write_aside(path: Path, text: str, replace: Callable[[Path, Path], None] | None = None) -> None:
    """Write a small file so that it is there whole or not at all."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8")
    (replace or (lambda a, b: a.replace(b)))(aside, path)
