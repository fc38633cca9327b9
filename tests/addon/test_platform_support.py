"""Processes, paths and Python discovery on the system that runs the tests."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def system(addon):
    return importlib.import_module("maquette.platform_support")


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX; Windows has job objects")
@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
def test_stopping_ends_the_children_as_well(system, deaf):
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if deaf else ""
    child = f"{ignore}import time; time.sleep(60)"
    code = f"{ignore}import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
    code += "print(p.pid, flush=True); time.sleep(60)"
    process = system.start_process([sys.executable, "-c", code], system.child_environment(), subprocess.DEVNULL)
    grandchild = int(process.stdout.readline())
    time.sleep(0.3)  # until it has learnt to ignore
    system.stop_process(process, grace=0.1)
    assert process.poll() is not None
    time.sleep(0.1)
    assert _gone(grandchild)


@pytest.mark.skipif(os.name != "posix", reason="kills by signals; Windows has job objects")
def test_what_knows_nothing_of_us_ends_with_us_all_the_same(addon):
    """As pip, when Blender is killed in the middle of an installation."""
    forever = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    code = (
        "import subprocess, sys; sys.path.insert(0, sys.argv[1]); from maquette import platform_support as system;"
        f"command = system.guarded([sys.executable, '-c', {forever!r}]);"
        "process = system.start_process(command, system.child_environment(), subprocess.DEVNULL);"
        "print(process.stdout.readline().decode(), end='', flush=True); import time; time.sleep(60)"
    )
    blender = subprocess.Popen([sys.executable, "-c", code, str(addon.parent)], stdout=subprocess.PIPE)
    assert blender.stdout is not None
    pip = int(blender.stdout.readline())
    assert not _gone(pip)
    blender.kill()
    blender.communicate()
    end = time.monotonic() + 5
    while not _gone(pip):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="Windows has job objects")
def test_a_guarded_command_tells_its_output_and_its_status(system):
    command = system.guarded([sys.executable, "-c", "print('hello'); raise SystemExit(7)"])
    process = system.start_process(command, system.child_environment(), subprocess.DEVNULL)
    assert (process.stdout.read(), process.wait()) == (b"hello\n", 7)
    system.stop_process(process)


def test_blenders_python_does_not_leak(system, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/blender")
    environment = system.child_environment({"MAQUETTE_TOKEN": "x"})
    assert "/blender" not in environment.values() and environment["MAQUETTE_TOKEN"] == "x"


def test_the_version_of_a_python_is_asked_not_guessed(system, tmp_path):
    assert system.python_version(sys.executable) == sys.version_info[:2]
    assert system.python_version(tmp_path / "none") is None
    assert system.python_version(tmp_path) is None


def test_a_fitting_python_is_found(system):
    found = system.find_python(sys.version_info[:2])
    assert found is not None and system.python_version(found) == sys.version_info[:2]
    assert system.find_python((3, 1)) is None


def test_reports_hold_no_names_and_no_secrets(system):
    text = "/home/ada/maquette of ada; Authorization: Bearer abc.def-123456 token='s3cr3t-s3cr3t' adaptive"
    masked = system.masked(text, Path("/home/ada"), {"USER": "ada"})
    assert "ada/" not in masked and " ada;" not in masked and "adaptive" in masked
    assert "abc.def" not in masked and "s3cr3t" not in masked


def test_a_small_file_is_there_whole_or_not_at_all(system, tmp_path):
    target = tmp_path / "state.json"
    system.write_aside(target, "old")

    def cut(source: Path, destination: Path) -> None:
        raise OSError("power cut")

    with pytest.raises(OSError, match="power"):
        system.write_aside(target, "new", cut)
    assert target.read_text() == "old"


def test_a_tree_with_read_only_folders_and_long_paths_goes_away(system, tmp_path):
    deep = tmp_path / "environment" / "für alle" / ("n" * 100) / ("m" * 100) / ("o" * 100)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    system.remove_tree(tmp_path / "environment")
    assert not (tmp_path / "environment").exists()
    system.remove_tree(tmp_path / "environment")  # nothing to do is no mistake


@pytest.mark.parametrize(
    ("platform", "machine", "cuda", "lock"),
    [
        ("linux", "x86_64", False, "linux-cpu"),
        ("linux", "x86_64", True, "linux-cuda"),
        ("linux", "aarch64", False, None),
        ("win32", "AMD64", False, "windows"),
        ("darwin", "arm64", False, "macos-arm64"),
        ("darwin", "x86_64", False, None),
    ],
)
def test_each_computer_has_its_lock_file_or_none(system, addon, monkeypatch, platform, machine, cuda, lock):
    monkeypatch.setattr(system.sys, "platform", platform)
    monkeypatch.setattr(system, "WINDOWS", platform == "win32")
    monkeypatch.setattr(system, "MACOS", platform == "darwin")
    monkeypatch.setattr(system.platform, "machine", lambda: machine)
    assert system.lock_name(cuda=cuda) == lock
    assert lock is None or (addon / "backend/locks" / f"{lock}.txt").exists()
