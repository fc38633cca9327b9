"""What several rooms of tests share: the built add-on, an environment with the backend, a small avatar.

The same code gets the same verdict every time: property tests draw their examples from a fixed seed.
"""

from __future__ import annotations

import importlib.util
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything brings in torch or numpy: as many workers as cores, each with as many threads, only wait.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import site
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backend.rigging.avatar import RiggedAvatar

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def same_numbers_in_any_order() -> None:
    """Random numbers of torch that a test draws without a generator do not depend on the tests before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


def load_script(path: Path) -> Any:
    """A Python file that lies in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_environment(folder: Path) -> Path:
    """The Python of a new environment in which `python -I -m backend` is the code here."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    own = next(folder.rglob("site-packages"))
    (own / "here.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]), encoding="utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="session")
def build_addon() -> Any:
    """The builder of the Blender extension, a script beside the packages."""
    return load_script(ROOT / "build_addon.py")


@pytest.fixture(scope="session")
def addon(build_addon: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the extension, laid out as in the zip; `import maquette` finds it."""
    folder = build_addon.lay_out(tmp_path_factory.mktemp("addon") / "maquette")
    sys.path.insert(0, str(folder.parent))
    yield folder
    sys.path.remove(str(folder.parent))


@pytest.fixture(scope="session")
def built_zip(build_addon: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension as users get it."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("bpy, which brings Blender's packer, is not installed")
    return build_addon.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the backend; an umlaut is in its path."""
    return make_environment(tmp_path_factory.mktemp("environment") / "maquette für alle")


@pytest.fixture(scope="session")
def toy_avatar() -> RiggedAvatar:
    """The small head that tests of the export are made with."""
    return load_script(ROOT / "tests/export/conftest.py").build_avatar()
