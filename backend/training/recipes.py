"""Recipes as JSON files in ``recipes/``, one per stage and size, read into the stages' configurations."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any, TypeVar

from backend.api import ErrorCode
from backend.errors import MaquetteError

FOLDER = Path(__file__).parent / "recipes"
T = TypeVar("T")


def read_recipe(kind: type[T], stage: str, name: str) -> T:
    """The configuration `kind` from ``recipes/STAGE-NAME.json``, or from the file `name`; what it leaves out keeps its
    default.

    Raises `MaquetteError` when there is no such file or it says what the stage does not know.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{stage}-{name}.json"
    try:
        return build(kind, json.loads(path.read_text()))
    except OSError:
        known = sorted(p.stem.removeprefix(f"{stage}-") for p in FOLDER.glob(f"{stage}-*.json"))
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            f"There is no recipe {name}: choose one of {', '.join(known)}, or a .json file.",
            stage="train",
        ) from None
    except (ValueError, TypeError) as problem:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST, f"{path} is not a recipe of this stage: {problem}.", stage="train"
        ) from None


def build(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass from plain values, nested ones included; lists become tuples. Raises `ValueError` for other keys."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} needs an object")
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    made: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            value = build(typing.cast("type[Any]", hint), value)
        elif isinstance(value, list):
            value = tuple(value)
        made[key] = value
    return kind(**made)
