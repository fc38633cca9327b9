"""The life of a real backend as the add-on leads it."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")


@pytest.fixture(scope="module")
def module(addon):
    return importlib.import_module("maquette.backend_process")


@pytest.fixture
def settings(module, addon, environment, tmp_path):
    mode = module.Mode.ENVIRONMENT
    return module.Settings(tmp_path / "data mit ü", addon, mode, python=str(environment))


@pytest.fixture
def backend(module, settings):
    made = module.Backend(settings)
    made.inspect()
    yield made
    made.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until_gone(pid: int, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not _alive(pid)


def test_it_starts_when_it_is_needed_and_ends_when_it_is_told(module, backend):
    assert backend.state is module.State.STOPPED
    client = backend.client()
    assert backend.state is module.State.READY
    assert client.hello().pid == backend.hello.pid
    assert backend.client() is client  # and not a second one
    backend.jobs_running = 1
    assert backend.state is module.State.BUSY
    backend.stop()
    assert backend.state is module.State.STOPPED and _wait_until_gone(backend.hello.pid)


def test_its_sudden_end_is_noticed_and_it_starts_again(module, backend):
    backend.client()
    first = backend.hello.pid
    os.kill(first, signal.SIGKILL)
    _wait_until_gone(first)
    end = time.monotonic() + 5
    while not backend.poll() and time.monotonic() < end:
        time.sleep(0.05)
    assert backend.state is module.State.STOPPED and backend.problem.code == "ended"
    backend.client()
    assert backend.hello.pid != first and backend.problem is None


def test_it_dies_with_the_program_that_started_it(addon, settings):
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from maquette.backend_process import Backend, Mode, Settings;"
        "b = Backend(Settings(Path(sys.argv[2]), Path(sys.argv[1]), Mode.ENVIRONMENT, python=sys.argv[3]));"
        "b.client(); print(b.hello.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(addon.parent), str(settings.root), settings.python]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _wait_until_gone(int(killed.stdout))


def test_an_interpreter_that_is_not_there(module, settings):
    backend = module.Backend(dataclasses.replace(settings, python="/no/python"))
    backend.inspect()
    assert backend.state is module.State.NOT_INSTALLED
    with pytest.raises(module.BackendError):
        backend.client()


def test_an_old_line_of_the_log_does_not_explain_a_new_end(module, settings, tmp_path):
    (settings.root / "logs").mkdir(parents=True)
    (settings.root / "logs/backend.log").write_text("something of last year\n")
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\n", encoding="utf-8")
    fake.chmod(0o755)
    with pytest.raises(module.BackendError, match=r"ended right after its start\.$"):
        module.Backend(dataclasses.replace(settings, python=str(fake))).client()


def test_a_second_blender_is_told_that_the_folder_is_in_use(module, settings, backend):
    backend.client()
    with pytest.raises(module.BackendError, match="Another Blender") as caught:
        module.Backend(settings).client()
    assert caught.value.code == "folder_in_use"


def test_what_a_repair_can_mend_offers_one(module, settings, tmp_path):
    managed = dataclasses.replace(settings, mode=module.Mode.MANAGED, root=tmp_path / "data")
    python = managed.interpreter
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\nraise SystemExit('No module named backend')\n", encoding="utf-8")
    python.chmod(0o755)
    backend = module.Backend(managed)
    with pytest.raises(module.BackendError) as caught:
        backend.client()
    assert caught.value.code == "broken" and backend.state is module.State.BROKEN


@pytest.mark.parametrize("line", ["raise SystemExit('no torch here')", "print('hello?')"])
def test_a_program_that_is_no_backend_ends_with_a_sentence(module, settings, tmp_path, line):
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\n{line}\n", encoding="utf-8")
    fake.chmod(0o755)
    backend = module.Backend(dataclasses.replace(settings, python=str(fake)))
    backend.inspect()
    with pytest.raises(module.BackendError) as caught:
        backend.client()
    assert caught.value.code == "cannot_start" and caught.value.hint
    assert "no torch here" in caught.value.message or "SystemExit" not in line
    assert backend.state is module.State.STOPPED and backend.problem is caught.value


def test_a_backend_that_never_says_where_it_listens(module, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "START_TIMEOUT", 0.5)
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n", encoding="utf-8")
    fake.chmod(0o755)
    backend = module.Backend(dataclasses.replace(settings, python=str(fake)))
    with pytest.raises(module.BackendError) as caught:
        backend.client()
    assert caught.value.code == "timeout"


def test_a_folder_that_cannot_be_written(module, settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    backend = module.Backend(dataclasses.replace(settings, root=tmp_path / "file" / "data"))
    with pytest.raises(module.BackendError) as caught:
        backend.client()
    assert caught.value.code == "cannot_start" and "data folder" in caught.value.hint


def test_every_state_has_a_sentence(module):
    assert len(module.State) == 8 and all(len(state.value) < 38 for state in module.State)
