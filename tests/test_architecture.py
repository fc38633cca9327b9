"""The borders between the rooms, read from the import statements of every source file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("backend", "synthetic_data")
HEAVY = {"anny", "bpy", "cv2", "diffusers", "mediapipe", "numpy", "PIL", "ray", "scipy", "skimage", "smplx", "torch"}
UNPICKLERS = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}


@dataclass(frozen=True)
class Import:
    """One imported module, seen from a source file; `checking` under `if TYPE_CHECKING`, `lazy` inside a function."""

    file: Path
    line: int
    module: str
    lazy: bool
    checking: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


@cache
def _sources() -> tuple[tuple[Path, ast.Module], ...]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return tuple((file, ast.parse(file.read_text(encoding="utf-8"))) for file in files)


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def _within(module: str, *rooms: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@cache
def _imports() -> tuple[Import, ...]:
    found: list[Import] = []
    modules = {_module(file) for file, _ in _sources()}

    def visit(node: ast.AST, file: Path, lazy: bool, checking: bool) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = _module(file).split(".")[: None if file.name == "__init__.py" else -1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            # `from backend.radiance import cameras` is about the module, not about the package it lies in.
            names = sorted({full if (full := f"{base}.{a.name}") in modules else base for a in node.names})
        found.extend(Import(file, node.lineno, name, lazy, checking) for name in names)  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, file, lazy, True)
            for child in node.orelse:
                visit(child, file, lazy, checking)
            return
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, file, inside, checking)

    for file, tree in _sources():
        visit(tree, file, False, False)
    return tuple(found)


def _from(*rooms: str) -> list[Import]:
    return [item for item in _imports() if _within(_module(item.file), *rooms)]


def _listed(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))


def test_the_source_is_there_and_read() -> None:
    """Guards the tests below against looking at nothing."""
    assert any(item.module == "backend.api" for item in _from("backend.cli"))
    assert any(item.module == "numpy" and not item.lazy for item in _from("backend.radiance.cameras"))
    assert any(item.checking and item.module == "jaxtyping" for item in _from("backend.meshing.mesh"))


def test_every_room_is_packaged() -> None:
    """setuptools takes only folders with an `__init__.py`."""
    left_out = {file.parent for file, _ in _sources() if not (file.parent / "__init__.py").exists()}
    assert not left_out


def test_every_module_of_ours_that_is_imported_exists() -> None:
    modules = {_module(file) for file, _ in _sources()}
    missing = [item for item in _imports() if _is_ours(item.module) and item.module not in modules]
    assert not missing, _listed(missing)


def test_every_package_in_use_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[^\w.-]", name)[0].lower() for group in requirements for name in group}
    providers = packages_distributions()
    undeclared = [
        item
        for item in _imports()
        if (top := item.module.split(".")[0]) not in sys.stdlib_module_names
        and not _is_ours(top)
        and top not in ("bmesh", "mathutils")  # appear once bpy is loaded
        and not {name.lower().replace("_", "-") for name in [top, *providers.get(top, ())]} & declared
    ]
    assert not undeclared, _listed(undeclared)


def test_the_boundary_file_needs_the_standard_library_alone() -> None:
    """`backend/api.py` travels with the Blender add-on."""
    foreign = [item for item in _from("backend.api") if item.module.split(".")[0] not in sys.stdlib_module_names]
    assert not foreign, _listed(foreign)


@pytest.mark.parametrize(
    "module",
    [
        "backend.api",
        "backend.errors",
        "backend.engines",
        "backend.body_model.expression_words",
        "backend.rigging.arkit",
        "backend.cli",
        "backend.command_parser",
        "backend.terminal",
        "backend.__main__",
        "backend.server",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(module: str) -> None:
    early = [item for item in _from(module) if not item.lazy and not item.checking]
    heavy = [i for i in early if i.module.split(".")[0] in HEAVY or _within(i.module, "backend.pipeline")]
    assert not heavy, _listed(heavy)


def test_bpy_is_imported_by_synthetic_data_alone() -> None:
    wrong = [item for item in _from("backend") if _within(item.module, "bpy", "bmesh", "mathutils")]
    assert not wrong, _listed(wrong)


def test_radiance_knows_nothing_of_the_engines() -> None:
    allowed = ("backend.radiance", "backend.api", "backend.errors")
    wrong = [item for item in _from("backend.radiance") if _is_ours(item.module) and not _within(item.module, *allowed)]
    assert not wrong, _listed(wrong)
    learned = [item for item in _from("backend.radiance") if _within(item.module, "diffusers", "transformers")]
    assert not learned, _listed(learned)


def test_synthetic_data_takes_only_body_model_and_cameras_from_the_backend() -> None:
    allowed = ("backend.body_model", "backend.radiance.cameras", "backend.api", "backend.arguments", "backend.errors")
    wrong = [
        item
        for item in _from("synthetic_data")
        if _within(item.module, "backend") and not _within(item.module, *allowed)
    ]
    assert not wrong, _listed(wrong)


def test_only_training_and_evaluation_read_the_shards() -> None:
    readers = ("backend.training", "backend.evaluation", "synthetic_data")
    wrong = [
        item
        for item in _imports()
        if _within(item.module, "synthetic_data.shards") and not _within(_module(item.file), *readers)
    ]
    assert not wrong, _listed(wrong)


def test_no_room_knows_who_calls_it() -> None:
    callers = ("backend.pipeline", "backend.novel_views", "backend.cli", "backend.server", "backend.__main__")
    wrong = [
        item
        for item in _imports()
        if _within(item.module, *callers) and not _within(_module(item.file), *callers, "backend.evaluation")
    ]
    assert not wrong, _listed(wrong)


def test_no_two_modules_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for item in _imports():
        if _is_ours(item.module) and not item.checking:
            needs.setdefault(_module(item.file), set()).add(item.module)
    finished: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for needed in sorted(needs.get(module, ())):
            walk(needed, (*path, module))
        finished.add(module)

    for module in sorted(needs):
        walk(module, ())


def test_shape_annotations_cost_nothing_at_run_time() -> None:
    wrong = [item for item in _imports() if _within(item.module, "jaxtyping") and not item.checking]
    assert not wrong, _listed(wrong)


def test_nothing_pickled_is_read() -> None:
    """FLAME and PyTorch's checkpoints are published as pickles: two files read the numbers out of them and run nothing
    that they say."""
    readers = ("backend.body_model.safe_pickle", "backend.weights.torch_archive")
    wrong = [
        item for item in _imports() if item.module.split(".")[0] in UNPICKLERS and _module(item.file) not in readers
    ]
    assert not wrong, _listed(wrong)


def test_no_loader_is_told_to_unpickle() -> None:
    """`numpy.load` refuses pickles unless asked; `torch.load` is a pickle reader, safetensors is not."""
    wrong: list[str] = []
    for file, tree in _sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            place = f"{file.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}"
            if ast.unparse(node.func) == "torch.load":
                wrong.append(place)
            wrong.extend(
                f"{place}({word.arg}=…)"
                for word in node.keywords
                if (word.arg == "allow_pickle" and ast.unparse(word.value) != "False")
                or (word.arg == "weights_only" and ast.unparse(word.value) == "False")
            )
    assert not wrong, "\n".join(wrong)


TRAINERS = ["cli", "base_stage", "plane_set", "latent_stage", "prior_stage", "upsampler_stage", "measure", "bank"]
ABSENT = [
    "cv2",
    "diffusers",
    "bpy",
    "anny",
    "mediapipe",
    "skimage",
    "trimesh",
    "xatlas",
    "fast_simplification",
    "fastapi",
    "jaxtyping",
]


def test_trainers_run_where_there_is_little_more_than_torch():
    """A rented GPU machine has torch, numpy, scipy, pillow and safetensors, and often nothing else."""
    code = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in ABSENT)
    code += "".join(f"import backend.training.{name}\n" for name in TRAINERS)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
