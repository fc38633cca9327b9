"""The zip: the same bytes every time, valid for Blender, and fit for every Python that Blender brings."""

from __future__ import annotations

import ast
import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

ALLOWED = {"addon_utils", "bpy", "bpy_extras", "mathutils", "numpy"}
WITHOUT_BPY = "No bpy."


@pytest.fixture(scope="module")
def sources(addon):
    files = {path: path.read_text(encoding="utf-8") for path in sorted(addon.glob("*.py"))}
    assert len(files) > 15
    return files


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def test_it_needs_blender_numpy_and_the_standard_library_alone(sources):
    for path, text in sources.items():
        for level, module in _imports(ast.parse(text)):
            top = module.split(".")[0]
            assert level or top in sys.stdlib_module_names or top in ALLOWED, f"{path.name}: {module}"


def test_its_own_parts_are_imported_relatively_and_exist(sources, addon):
    for path, text in sources.items():
        for level, module in _imports(ast.parse(text)):
            assert level <= 1 and not (level == 0 and module.split(".")[0] in ("maquette", "backend")), path.name
            assert not level or not module or (addon / f"{module}.py").exists(), f"{path.name}: {module}"


def test_what_says_it_has_no_bpy_has_none(sources):
    without = {
        path: text for path, text in sources.items() if WITHOUT_BPY in (ast.get_docstring(ast.parse(text)) or "")
    }
    assert {"client.py", "session.py", "installation.py"} <= {path.name for path in without}
    for path, text in without.items():
        modules = {module for _, module in _imports(ast.parse(text))}
        assert not modules & {"bpy", "bpy_extras.io_utils", "mathutils"}, path.name


def test_no_operator_runs_under_an_override_while_threads_do(sources):
    for path, text in sources.items():
        for line in text.splitlines():
            if "temp_override(" in line:
                assert "with stillness.hold(), " in line, f"{path.name}: {line.strip()}"


def test_python_3_11_reads_it(sources):
    for path, text in sources.items():
        ast.parse(text, path.name, feature_version=(3, 11))


def test_the_wheel_is_the_backend_with_its_data_and_no_tests(addon):
    (wheel,) = (addon / "backend").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"backend/__main__.py", "backend/server/app.py", "backend/body_model/data/anny_head.npz"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "blender_addon")) or "__pycache__" in name]
    assert len(list((addon / "backend/locks").glob("*.txt"))) == 4


def test_the_boundary_file_is_the_backends(addon):
    assert (addon / "api.py").read_bytes() == Path("backend/api.py").resolve().read_bytes()


def test_the_same_bytes_every_time(build_addon, built_zip, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    again = build_addon.build(tmp_path)
    assert again.read_bytes() == built_zip.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [again.name]


def test_blenders_packer_finds_a_mistake(build_addon, tmp_path, monkeypatch):
    """Guards the test above against a packer that accepts everything."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("bpy is not installed")
    lay_out = build_addon.lay_out

    def with_mistake(target):
        manifest = lay_out(target) / "blender_manifest.toml"
        manifest.write_text(manifest.read_text().replace('"Rigging"', '"Riging"'))
        return target

    monkeypatch.setattr(build_addon, "lay_out", with_mistake)
    with pytest.raises(build_addon.BuildError, match="Riging"):
        build_addon.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_versions_are_a_mistake(build_addon, tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / "blender_addon").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (root / "blender_addon/blender_manifest.toml").write_text('version = "0.1.0"\n')
    monkeypatch.setattr(build_addon, "ROOT", root)
    with pytest.raises(build_addon.BuildError, match="make them equal"):
        build_addon.version()


def test_presets_name_keys_that_exist(addon):
    from backend.api import EXPRESSIONS
    from backend.rigging.avatar import ARKIT_SHAPES

    expressions = importlib.import_module("maquette.expressions")
    assert {name.lower(): weights for name, weights in expressions.PRESETS.items()} == EXPRESSIONS
    for name, weights in expressions.PRESETS.items():
        assert set(weights) <= set(ARKIT_SHAPES), name
        assert all(0 <= weight <= 1 for weight in weights.values())
    assert {expressions.group_of(key) for key in ARKIT_SHAPES} == set(expressions.GROUPS)
    words = {(expressions.group_of(key), expressions.words(key)) for key in ARKIT_SHAPES}
    assert len(words) == len(ARKIT_SHAPES)  # no two sliders of a group look the same
    assert expressions.words("mouthSmileLeft") == "Smile left"
