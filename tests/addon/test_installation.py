"""Installing for real with pip, from wheels that take a second instead of a gigabyte."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import sys
import threading
import zipfile
from pathlib import Path

import pytest

# The add-on may run in a newer Python than the backend's.
PYTHON = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11") or ""
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs a Python 3.11")
PACKAGES = ("torch", "mediapipe", "fastapi", "uvicorn")


@pytest.fixture(scope="module")
def installation(addon):
    return importlib.import_module("maquette.installation")


@pytest.fixture(scope="module")
def plans(addon):
    return importlib.import_module("maquette.install_plan")


def make_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel that pip accepts."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


@pytest.fixture
def package(tmp_path):
    """The folder of an add-on whose backend says hello and does no more."""
    folder = tmp_path / "add-on"
    (folder / "backend/locks").mkdir(parents=True)
    make_wheel(folder / "backend", "maquette", {"backend/__init__.py": "", "backend/__main__.py": "print('hello')"})
    for name in ("linux-cpu", "linux-cuda", "windows", "macos-arm64"):
        (folder / f"backend/locks/{name}.txt").write_text("".join(f"{each}==1.0\n" for each in PACKAGES))
    return folder


@pytest.fixture
def wheelhouse(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in PACKAGES:
        make_wheel(folder, name, {f"{name}.py": ""})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def plan(plans, package, wheelhouse, tmp_path):
    if plans.system.lock_name(cuda=False) is None:
        pytest.skip("the backend does not exist for this computer")
    root = tmp_path / ("data für alle " + "x" * 60)
    return plans.make_plan(root, package, python=PYTHON, device="cpu")


def run(installation, plan, progress=lambda text, fraction: None, cancelled=None):
    log = plan.root / "logs" / "install.log"
    installation.install(plan, progress, cancelled or threading.Event(), log)
    return log


def test_the_plan_says_size_place_device_and_python(plan):
    sentence = plan.sentence()
    for word in ("MB", "GB", str(plan.root), "processor", PYTHON):
        assert word in sentence
    facts = dict(plan.facts())
    assert facts["Python 3.11"] == PYTHON and facts["Folder"] == str(plan.root)
    assert all(len(name) <= 12 for name in facts)  # a narrow column of the sidebar


def test_installed_found_updated_and_removed(installation, plan, package):
    said = []
    assert installation.inspect(plan.root, package) is installation.Installed.NOTHING
    run(installation, plan, lambda text, fraction: said.append((text, fraction)))
    assert installation.inspect(plan.root, package) is installation.Installed.COMPLETE
    fractions = [fraction for _, fraction in said]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9
    assert not (plan.root / "downloads").exists()
    assert json.loads((plan.root / "environment/maquette.json").read_text())["device"] == "cpu"

    make_wheel(package / "backend", "maquette", {"backend/__init__.py": "# newer"})
    assert installation.inspect(plan.root, package) is installation.Installed.OTHER_VERSION

    (plan.root / "jobs/20260101").mkdir(parents=True)
    installation.remove(plan.root)
    assert sorted(path.name for path in plan.root.iterdir()) == ["jobs", "logs"]  # avatars stay
    assert installation.inspect(plan.root, package) is installation.Installed.NOTHING
    (plan.root / "jobs/20260101").rmdir()
    installation.remove(plan.root)
    assert not plan.root.exists()


def test_cancelled_in_the_middle_it_goes_on_where_it_stopped(installation, plan, package, wheelhouse, monkeypatch):
    monkeypatch.setattr(installation, "_BATCH", 1)
    cancelled = threading.Event()

    def stop_at_fastapi(text: str, fraction: float) -> None:
        if "fastapi" in text:
            cancelled.set()

    with pytest.raises(installation.InstallError, match="cancelled"):
        run(installation, plan, stop_at_fastapi, cancelled)
    assert not (plan.root / "environment").exists()
    assert installation.inspect(plan.root, package) is installation.Installed.NOTHING
    kept = {path.name.split("-")[0] for path in (plan.root / "downloads/wheels").iterdir()}
    assert kept == {"torch", "mediapipe"}
    for name in kept:  # they are not fetched again
        (wheelhouse / f"{name}-1.0-py3-none-any.whl").unlink()
    run(installation, plan)
    assert installation.inspect(plan.root, package) is installation.Installed.COMPLETE


def test_cut_off_by_a_crash_it_counts_as_half_and_is_repaired(installation, plan, package):
    run(installation, plan)
    (plan.root / "environment/maquette.json").unlink()
    assert installation.inspect(plan.root, package) is installation.Installed.HALF
    run(installation, plan)
    assert installation.inspect(plan.root, package) is installation.Installed.COMPLETE


def test_a_missing_package_is_told_and_undone(installation, plan, wheelhouse):
    (wheelhouse / "mediapipe-1.0-py3-none-any.whl").unlink()
    with pytest.raises(installation.InstallError) as caught:
        run(installation, plan)
    assert "missing on the package server" in caught.value.message and caught.value.hint
    assert not (plan.root / "environment").exists()


def test_a_backend_that_does_not_run_is_undone(installation, plan, package, plans):
    make_wheel(
        package / "backend", "maquette", {"backend/__init__.py": "", "backend/__main__.py": "raise SystemExit(3)"}
    )
    with pytest.raises(installation.InstallError, match="could not be installed"):
        run(installation, plan)
    assert not (plan.root / "environment").exists()


def test_a_folder_that_cannot_be_written_is_told(installation, plan, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(installation.InstallError, match="cannot be written"):
        run(installation, dataclasses.replace(plan, root=tmp_path / "file" / "data"))


def test_too_little_space_is_told_before_anything_is_downloaded(plans, package, tmp_path, monkeypatch):
    usage = plans.shutil.disk_usage(tmp_path)._replace(free=100 * 2**20)
    monkeypatch.setattr(plans.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(plans.InstallError, match="100 MB"):
        plans.make_plan(tmp_path / "not yet" / "there", package, python=PYTHON, device="cpu")


def test_a_python_of_another_version_is_refused(plans, package, tmp_path, monkeypatch):
    monkeypatch.setattr(plans.system, "BACKEND_PYTHON", (3, 8))
    with pytest.raises(plans.InstallError, match="no Python"):
        plans.make_plan(tmp_path, package, python=PYTHON, device="cpu")


def test_cuda_without_a_card_is_refused(plans, package, tmp_path, monkeypatch):
    monkeypatch.setattr(plans.system, "nvidia_card", lambda: "")
    with pytest.raises(plans.InstallError, match="NVIDIA"):
        plans.make_plan(tmp_path, package, device="cuda")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Failed to establish a new connection: getaddrinfo failed", "cannot be reached"),
        ("ERROR: Could not install: [Errno 13] Permission denied: '/x'", "cannot be written"),
        ("Segmentation fault", "could not be installed"),
    ],
)
def test_known_causes_become_advice(installation, output, sentence):
    error = installation._explained("The packages", output)
    assert sentence in error.message and error.hint
