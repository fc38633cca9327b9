"""Where no Python fits, uv finds or brings one: the real uv, which never downloads here, and one that is told what to do."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import threading
from pathlib import Path

import pytest

from .test_installation import PYTHON, make_wheel, package, plan, wheelhouse  # noqa: F401  (fixtures)

pytestmark = pytest.mark.skipif(not PYTHON, reason="needs a Python 3.11")


@pytest.fixture(scope="module")
def modules(addon):
    names = ("uv_python", "installation", "install_plan", "platform_support")
    return {name: importlib.import_module(f"maquette.{name}") for name in names}


@pytest.fixture
def plans(modules):
    return modules["install_plan"]


def uv_that(folder: Path, code: str) -> None:
    """A wheel of a uv that runs `code`; `command` is what it was asked for."""
    text = f"import sys\nfrom pathlib import Path\ncommand = ' '.join(sys.argv[1:])\n{code}\n"
    make_wheel(folder, "uv", {"uv/__init__.py": "", "uv/__main__.py": text})


def install(modules, root, plan):  # noqa: F811
    """With no Python of our own finding, and uv alone in the folder of wheels."""
    import dataclasses

    without = dataclasses.replace(plan, python=None, root=root)
    worker = modules["installation"]._Worker(without, lambda *_: None, threading.Event(), root / "log")
    root.mkdir(parents=True, exist_ok=True)
    worker.make_environment(root / "environment")
    return modules["platform_support"].environment_python(root / "environment")


def test_the_plan_says_that_a_python_is_fetched_before_it_is(modules, plans, package, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(modules["platform_support"], "find_python", lambda *_: None)
    plan = plans.make_plan(tmp_path, package, device="cpu")
    assert plan.python is None and "fetches from GitHub" in plan.sentence()
    assert plan.download_mb == plans.SIZES["linux-cpu"][0] + plans.UV_MEGABYTES


def test_a_python_that_uv_finds_makes_the_environment(modules, plan, wheelhouse, tmp_path):  # noqa: F811
    uv_that(wheelhouse, f"print({PYTHON!r} if 'find --system' in command else 1 / 0)")
    python = install(modules, tmp_path / "für alle", plan)
    assert modules["platform_support"].python_version(python) == (3, 11)
    uv_that(wheelhouse, "raise SystemExit('it was fetched again')")
    (tmp_path / "für alle/environment").rename(tmp_path / "old")
    install(modules, tmp_path / "für alle", plan)


def test_otherwise_it_is_downloaded_into_the_data_folder(modules, plan, wheelhouse, tmp_path):  # noqa: F811
    code = (
        "import os\nplace = Path(os.environ['UV_PYTHON_INSTALL_DIR'])\n"
        "if 'find --system' in command: raise SystemExit('none')\n"
        "elif 'install' in command: place.mkdir(); (place / 'here').touch()\n"
        f"else: print({PYTHON!r} if (place / 'here').exists() else 'no')"
    )
    uv_that(wheelhouse, code)
    assert install(modules, tmp_path / "data", plan).exists()
    assert (tmp_path / "data/python/here").exists()
    modules["installation"].remove(tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise SystemExit('dns error: failed to lookup address')", "could not be downloaded.*cannot be reached"),
        ("raise SystemExit(0 if 'install' in command else 2)", "does not run here"),
    ],
)
def test_a_python_that_cannot_be_had_is_told_with_a_way_out(modules, plan, wheelhouse, tmp_path, code, sentence):  # noqa: F811
    uv_that(wheelhouse, code)
    with pytest.raises(plan_error(modules), match=sentence) as caught:
        install(modules, tmp_path / "data", plan)
    assert "python.org" in caught.value.hint


def plan_error(modules):
    return modules["install_plan"].InstallError


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="uv is not installed")
def test_the_real_uv_understands_what_it_is_asked(modules, tmp_path, monkeypatch):
    """It finds the Python of this computer; asked to download one without a network, it fails and puts nothing down."""
    uv_python = modules["uv_python"]
    monkeypatch.setattr(uv_python, "_fetch_uv", lambda *_: [sys.executable, "-m", "uv"])
    import subprocess

    environment = modules["platform_support"].child_environment(uv_python.variables(tmp_path) | {"UV_OFFLINE": "1"})
    said: list[str] = []

    def run(command: list[str], what: str) -> list[str]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        said.append(done.stdout + done.stderr)
        if done.returncode != 0:
            raise plan_error(modules)(done.stderr)
        return done.stdout.splitlines()

    python = uv_python.bring(tmp_path, run, lambda *_: None)
    assert modules["platform_support"].python_version(python) == (3, 11)
    monkeypatch.setattr(uv_python, "_found", lambda *_: None)
    with pytest.raises(plan_error(modules), match="could not be downloaded"):
        uv_python.bring(tmp_path, run, lambda *_: None)
    assert "unexpected argument" not in "".join(said)
    shutil.rmtree(tmp_path / "downloads", ignore_errors=True)
    assert not list(tmp_path.rglob("python3*"))
