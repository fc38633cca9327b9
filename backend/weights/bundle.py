"""The weights in the box: safetensors files, named and hashed in ``data/weights.json``.

A folder in the environment variable ``MAQUETTE_WEIGHTS`` goes before the box: weights that a user has trained. Those of
the engine ``morphable`` are a folder, see `_MORPHABLE`, and in no box.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from backend.api import ErrorCode
from backend.errors import MaquetteError

BOX = Path(__file__).parent / "data"
VARIABLE = "MAQUETTE_WEIGHTS"
MEMBERS = ("rodin", "verifier", "classifier", "baselines")
"""What is shipped together: the engine, and what `maquette evaluate` judges it with and against."""
ALONE = {"parser": "reads portraits", "refiner": "makes still pictures sharp"}
"""What is shipped alone, and what it does, for every engine."""


_MORPHABLE = ("morphable/weights", "morphable", ".")
"""Where the folder of its weights may lie: as 'maquette train' leaves it, by its name, or named itself."""


def find(name: str) -> Path | None:
    """The file of the weights called `name`, e.g. ``"rodin"``, or the folder of those called ``"morphable"``; None when
    there is none. Looks, does not read."""
    for folder in _folders():
        path = morphable_in(folder) if name == "morphable" else folder / f"{name}.safetensors"
        if path is not None and path.exists():
            return path
    return None


def morphable_in(folder: Path) -> Path | None:
    """The folder of Morphable Diffusion's weights in `folder`, which may be it; None when there is none."""
    for place in _MORPHABLE:
        if all((folder / place / file).is_file() for file in ("model.safetensors", "config.json")):
            return folder / place
    return None


def require(name: str) -> Path:
    """Like `find`. Raises `MaquetteError` (MODEL_MISSING) when there is none."""
    path = find(name)
    if path is None:
        raise MaquetteError(ErrorCode.MODEL_MISSING, missing(name), stage="request")
    return path


def missing(name: str) -> str:
    """What to do where the weights called `name` are not here, in one sentence."""
    if name == "morphable":
        return (
            "The engine 'morphable' is experimental and comes without weights: train some ('maquette train morphable') "
            f"or import the authors' ('maquette weights import'), and name their folder in {VARIABLE}."
        )
    if name in ALONE:
        return f"The network that {ALONE[name]} is not here: install Maquette again."
    return f"The weights of the engine {name!r} are not here: choose the engine 'template', or train them."


def contents() -> dict[str, dict[str, Any]]:
    """What the box says of its files: per name ``sha256``, ``bytes`` and ``licence``."""
    try:
        return json.loads((BOX / "weights.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def faults() -> list[str]:
    """One sentence per file of the box that is missing or not what was shipped; empty when all is well."""
    found = []
    for name, told in contents().items():
        path = BOX / f"{name}.safetensors"
        if not path.is_file():
            found.append(f"{path} is missing.")
        elif path.stat().st_size != told["bytes"] or digest(path) != told["sha256"]:
            found.append(f"{path} is not the file that was shipped: install Maquette again.")
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put(path: Path, name: str, licence: str) -> None:
    """Put the file `path` into the box under `name`, and say so in ``weights.json``."""
    BOX.mkdir(exist_ok=True)
    target = BOX / f"{name}.safetensors"
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(path.read_bytes())
    partial.replace(target)
    told = contents() | {name: {"sha256": digest(target), "bytes": target.stat().st_size, "licence": licence}}
    listing = BOX / "weights.json"
    partial = listing.with_name(listing.name + ".partial")
    partial.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(listing)


def _folders() -> list[Path]:
    own = os.environ.get(VARIABLE)
    return [*([Path(own)] if own else []), BOX]
