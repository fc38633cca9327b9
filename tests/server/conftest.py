"""Servers for tests; none of them makes a head unless it says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.driver import Server

collect_ignore: list[str] = [] if sys.platform == "linux" else ["test_life_of_processes.py"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, in a folder whose name has a space and a letter that is not ASCII."""
    with Server(tmp_path / "dätä folder") as running:
        yield running


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of a file that leave it as it was."""
    with Server(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running
