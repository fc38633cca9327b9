"""The page on what the user sees when things go wrong is true: some of its disasters, once more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.blender.disasters import DOCUMENT, SCENARIOS, Disasters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed"),
]


def test_what_the_panels_say_is_what_the_page_says(tmp_path: Path) -> None:
    run = Disasters(tmp_path, timed=False)  # other tests run beside it
    for name in ("stages", "starting"):
        SCENARIOS[name](run)
    assert run.faults == []
    page = DOCUMENT.read_text(encoding="utf-8")
    rows = run.table().splitlines()[2:]
    assert len(rows) > 8
    assert [row for row in rows if row not in page] == []
