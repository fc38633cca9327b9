"""Expressions that the user has saved: ``expressions.json`` in the data folder, made to be edited and shared. No bpy.

    {"Half smile": {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4}}

Weights of shape keys, 0 to 1; all others are 0. What cannot be read is left alone and never written over.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from . import platform_support as system
from .expressions import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

    Weights = dict[str, float]

FILE = "expressions.json"
LONGEST_NAME = 40  # characters

_found: dict[str, Weights] = {}
_seen: tuple[Path, int] | None = None  # file and time of its last change, as they were read


class ExpressionError(Exception):
    """An expression cannot be kept; the text is a sentence for the user."""


def mine() -> dict[str, Weights]:
    """What was read last, in the order of the file. Cheap: for drawing."""
    return _found


def refresh(root: Path) -> None:
    """Read the file below `root` if it is another than last time. Cheap, never fails."""
    global _found, _seen
    path = root / FILE
    try:
        now = (path, path.stat().st_mtime_ns)
    except OSError:
        _found, _seen = {}, None
        return
    if now != _seen:
        _seen = now
        try:
            _found = read(path)
        except ExpressionError:
            _found = {}


def read(path: Path) -> dict[str, Weights]:
    """The expressions in a file; nothing when there is none. Raises `ExpressionError`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {_name(name): {key: _weight(weight) for key, weight in keys.items()} for name, keys in data.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as problem:
        raise ExpressionError(f"{path} cannot be read ({problem}): mend it or move it away.") from problem


def save(root: Path, name: str, weights: Weights) -> None:
    """Add or replace one. Raises `ExpressionError`; the file is then as it was."""
    if name in PRESETS:
        raise ExpressionError(f"{name} comes with Maquette: choose another name.")
    kept = {key: round(_weight(weight), 4) for key, weight in weights.items() if weight > 0}
    if not kept:
        raise ExpressionError("All sliders are at zero: move some first.")
    _write(root, read(root / FILE) | {_name(name): kept})


def delete(root: Path, name: str) -> None:
    """Take one away; none of that name is no mistake. Raises `ExpressionError`."""
    _write(root, {each: weights for each, weights in read(root / FILE).items() if each != name})


def _write(root: Path, data: dict[str, Weights]) -> None:
    global _seen
    try:
        root.mkdir(parents=True, exist_ok=True)
        system.write_aside(root / FILE, json.dumps(data, indent=1, ensure_ascii=False))
    except OSError as problem:
        raise ExpressionError(f"{root / FILE} cannot be written ({problem.strerror or problem}).") from problem
    _seen = None  # two changes may be of the same moment
    refresh(root)


def _name(name: str) -> str:
    tidy = re.sub(r"\s+", " ", str(name)).strip()
    if not tidy or len(tidy) > LONGEST_NAME:
        raise ExpressionError(f"Give a name of 1 to {LONGEST_NAME} characters.")
    return tidy


def _weight(weight: float) -> float:
    if isinstance(weight, bool) or not 0 <= weight <= 1:
        raise ValueError(f"{weight} is no weight from 0 to 1")
    return float(weight)
