"""What lets a stopped evaluation go on in its folder: a note of what it measures, and whole files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from pathlib import Path


def same_as_before(out: Path, found: dict[str, Any]) -> None:
    """Note in ``OUT/measured.json`` what is measured and with what, one plain value or hash per name.

    Names that were not there before are added. Raises `MaquetteError` (BAD_REQUEST) when one had another value: figures
    of different things must not be mixed.
    """
    path = out / "measured.json"
    if path.exists():
        before = json.loads(path.read_text())
        other = sorted(name for name in found.keys() & before.keys() if found[name] != before[name])
        if other:
            sentence = f"{out} holds figures of another {', '.join(other)}: choose another --out folder."
            raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="evaluate")
        found = before | found
    write_json(path, found)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` to a file that others see complete or not at all; its folder is made if need be."""
    from synthetic_data.archive import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(values, indent=1) + "\n").encode())
