"""The add-on as it is built, importable as `maquette`: its parts without bpy run under plain pytest."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def load_builder() -> Any:
    """`build_addon.py`, which is a script beside the packages."""
    spec = importlib.util.spec_from_file_location("build_addon", ROOT / "build_addon.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def addon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the extension, laid out as in the zip; `import maquette` finds it."""
    folder = load_builder().lay_out(tmp_path_factory.mktemp("addon") / "maquette")
    sys.path.insert(0, str(folder.parent))
    yield folder
    sys.path.remove(str(folder.parent))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment, with a space and an umlaut in its path, in which `python -I -m backend` is the code here."""
    folder = tmp_path_factory.mktemp("environment") / "maquette für alle"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    own = next(folder.rglob("site-packages"))
    (own / "here.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]), encoding="utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
