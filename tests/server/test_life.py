"""What differs between systems, as far as one can show it, and the boundary file under every Python it is for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backend import api
from backend.server import life

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("platform", "variable", "place"),
    [
        ("linux", None, ".local/share/maquette"),
        ("linux", "XDG_DATA_HOME", "maquette"),
        ("darwin", None, "Library/Application Support/Maquette"),
        ("win32", None, "AppData/Local/Maquette"),
        ("win32", "LOCALAPPDATA", "Maquette"),
    ],
)
def test_data_lie_where_the_system_wants_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str | None, place: str
) -> None:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "own"))
    assert life.data_folder() == (tmp_path / "own" if variable else tmp_path) / place


@pytest.mark.parametrize(
    ("status", "before", "now", "expected"),
    [
        (-signal.SIGKILL, 3, 4, True),
        (-signal.SIGKILL, 3, 3, False),  # somebody killed it
        (-signal.SIGKILL, None, None, True),  # macOS does not count
        (-signal.SIGSEGV, 3, 4, False),
        (1, 3, 4, False),
        (0, None, None, False),
    ],
)
def test_only_the_kernel_s_own_kills_mean_want_of_memory(
    monkeypatch: pytest.MonkeyPatch, status: int, before: int | None, now: int | None, expected: bool
) -> None:
    monkeypatch.setattr(life, "kernel_kills", lambda: now)
    assert life.was_killed_for_memory(status, before) is expected


@pytest.mark.parametrize(("cores", "job"), [(1, 1), (2, 1), (16, 15)])
def test_a_core_is_left_to_others_if_there_are_two(monkeypatch: pytest.MonkeyPatch, cores: int, job: int) -> None:
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        assert life.job_cores() == job


def test_lines_of_the_parent_are_heard_and_then_its_end() -> None:
    reading, writing = os.pipe()
    heard: list[str] = []
    gone = threading.Event()
    life.when_parent_is_gone(os.fdopen(reading, "rb"), gone.set, heard.append)
    os.write(writing, "cancel\nä\n".encode())
    assert not gone.wait(0.1)
    os.close(writing)
    assert gone.wait(2)
    assert heard == ["cancel", "ä"]


def test_a_library_that_reads_standard_input_finds_it_empty_and_steals_nothing() -> None:
    program = (
        "import sys; from backend.server import life\n"
        "pipe = life.take_stdin(); print(repr(sys.stdin.read()), pipe.readline())"
    )
    result = subprocess.run([sys.executable, "-c", program], input=b"order\n", capture_output=True, check=True)
    assert result.stdout.decode().strip() == "'' b'order\\n'"


def test_a_folder_is_free_again_when_its_user_is_gone(tmp_path: Path) -> None:
    first = life.lock_folder(tmp_path)
    assert first is not None
    program = (
        "import sys, pathlib; from backend.server import life\n"
        f"sys.exit(life.lock_folder(pathlib.Path({str(tmp_path)!r}), 0) is None)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 1
    first.close()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_types_fit_on_every_system() -> None:
    """Code that runs elsewhere alone is at least checked for it."""
    for platform in ("Linux", "Windows", "Darwin"):
        command = [sys.executable, "-m", "pyright", "--pythonplatform", platform, "--pythonpath", sys.executable]
        result = subprocess.run(
            [*command, str(ROOT / "backend/server/life.py")], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_boundary_file_runs_under_every_python_of_blender(version: str) -> None:
    python = shutil.which(f"python{version}")
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\nimport api\n"
        "status = api.JobStatus('a', api.JobKind.RIG, api.JobState.DONE, 'now', {}, files=('x',))\n"
        "assert api.JobStatus.from_json(json.loads(json.dumps(status.to_json()))) == status\n"
        "api.AvatarRequest(portraits=('x',)).validate(); print(json.dumps(list(api.HINTS)))"
    )
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no Python {version} here")
    folder = str(Path(api.__file__).parent)
    result = subprocess.run([python, "-I", "-c", program, folder], capture_output=True, check=True)
    assert json.loads(result.stdout) == list(api.HINTS)
