"""Where no Python fits, uv finds one or brings one. Nothing is downloaded: the real uv is told that it is offline."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.addon.test_installation import PYTHON, make_wheel, package  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(not PYTHON, reason="needs a Python 3.11")


@pytest.fixture
def uv_python(addon, monkeypatch):
    module = importlib.import_module("maquette.uv_python")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


class Shell:
    """Answers commands by the words in them: lines, or why it fails. Everything else says nothing."""

    def __init__(self, error: type, **answers: list[str] | str) -> None:
        self.error, self.answers, self.said = error, answers, []

    def __call__(self, command: list[str], what: str) -> list[str]:
        self.said.append(" ".join(command))
        for word, answer in self.answers.items():
            if f" {word.replace('_', ' ')}" in self.said[-1]:
                if isinstance(answer, str):
                    raise self.error(answer)
                return answer
        return []

    def ran(self, words: str) -> bool:
        return any(words in line for line in self.said)


@pytest.fixture
def bring(uv_python, tmp_path):
    """Ask for a Python; returns what happened."""

    def ask(**answers: list[str] | str) -> tuple[Path | None, Shell, str]:
        shell = Shell(uv_python.InstallError, **answers)
        try:
            return uv_python.bring(tmp_path / "data", shell, lambda *_: None), shell, ""
        except uv_python.InstallError as problem:
            return None, shell, f"{problem.message} {problem.hint}"

    return ask


def test_the_plan_says_that_a_python_is_fetched_before_it_is(addon, package, tmp_path, monkeypatch):  # noqa: F811
    plans = importlib.import_module("maquette.install_plan")
    monkeypatch.setattr(plans.system, "find_python", lambda *_: None)
    made = plans.make_plan(tmp_path, package, device="cpu")
    assert made.python is None and "fetches from GitHub" in made.sentence()
    assert made.download_mb >= min(download for download, _ in plans.SIZES.values()) + plans.UV_MEGABYTES


def test_what_uv_finds_on_this_computer_is_taken(bring):
    found, shell, _ = bring(**{"--system": ["warning: of something", PYTHON]})
    assert found == Path(PYTHON)
    assert shell.ran("pip install --only-binary :all: uv") and not shell.ran("python install")


def test_otherwise_it_is_downloaded(bring):
    found, shell, _ = bring(**{"find --system": "none", "find --managed-python": [PYTHON]})
    assert found == Path(PYTHON) and shell.ran("uv python install 3.11")


def test_uv_that_is_there_already_is_not_fetched(bring, uv_python, tmp_path, monkeypatch):
    python = uv_python.system.environment_python(tmp_path / "data" / "tools")
    python.parent.mkdir(parents=True)
    python.touch()
    assert not bring(find=[PYTHON])[1].ran("pip install")
    assert bring(find=[PYTHON], **{"--version": "half installed"})[1].ran("pip install"), "what was cut off is repaired"
    monkeypatch.setattr(uv_python.shutil, "which", lambda name: "/usr/bin/uv")
    _, shell, _ = bring(find=[PYTHON])
    assert shell.said[0].startswith("/usr/bin/uv python find") and len(shell.said) == 1


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"find": "none", "install_3.11": "The server cannot be reached."}, "could not be downloaded: The server"),
        ({"find": ["/no/such/python"]}, "does not run here"),
        ({"venv": "No module named ensurepip"}, "lacks what fetches uv"),
    ],
)
def test_a_python_that_cannot_be_had_is_told_with_a_way_out(bring, answers, sentence):
    _, _, told = bring(**answers)
    assert sentence in told and "Install" in told and "Python 3.11" in told


def test_cancelling_is_no_failure_of_uv(bring):
    assert bring(find="none", **{"install_3.11": "The installation was cancelled."})[2].startswith(
        "The installation was"
    )


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="uv is not installed")
def test_the_real_uv_understands_what_it_is_asked(uv_python, tmp_path, monkeypatch):
    """It finds the Python of this computer; told to download one while it is offline, it says that it cannot."""
    monkeypatch.setattr(uv_python, "_fetch_uv", lambda *_: [sys.executable, "-m", "uv"])
    environment = uv_python.system.child_environment(uv_python.variables(tmp_path) | {"UV_OFFLINE": "1"})
    said: list[str] = []

    def run(command: list[str], what: str) -> list[str]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        said.append(done.stdout + done.stderr)
        if done.returncode != 0:
            raise uv_python.InstallError(done.stderr)
        return done.stdout.splitlines()

    found = uv_python.bring(tmp_path, run, lambda *_: None)
    assert uv_python.system.python_version(found) == (3, 11)
    monkeypatch.setattr(uv_python, "_found", lambda *_: None)
    with pytest.raises(uv_python.InstallError, match="could not be downloaded"):
        uv_python.bring(tmp_path, run, lambda *_: None)
    assert "unexpected argument" not in "".join(said) and "network" in said[-1].lower()
    assert not list(tmp_path.rglob("python3*"))


@pytest.mark.slow
def test_an_environment_is_made_with_what_uv_brings(uv_python, package, tmp_path, monkeypatch):  # noqa: F811
    """With real environments and a real pip; uv is a wheel that names a Python."""
    make_wheel(tmp_path, "uv", {"uv/__init__.py": "", "uv/__main__.py": f"print({PYTHON!r})"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(uv_python.system, "find_python", lambda *_: None)
    import threading

    installation = importlib.import_module("maquette.installation")
    plan = importlib.import_module("maquette.install_plan").make_plan(tmp_path / "für alle", package, device="cpu")
    plan.root.mkdir()
    environment = plan.root / "environment"
    worker = installation._Worker(plan, lambda *_: None, threading.Event(), plan.root / "log")
    worker.make_environment(environment)
    assert uv_python.system.python_version(uv_python.system.environment_python(environment)) == (3, 11)
    installation.remove(plan.root)
    assert [path.name for path in plan.root.iterdir()] == ["log"]
