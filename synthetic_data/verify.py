"""Finds what is missing or damaged in a set, and clears it away to be rendered again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from synthetic_data.archive import remove_abandoned
from synthetic_data.config import DatasetConfig
from synthetic_data.shards import read_config, read_sidecar, shard_path, verify_members


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a shard; `kind` is missing, unfinished, short, damaged, foreign or superfluous."""

    shard: int
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"shard {self.shard}: {self.kind}, {self.detail}"


def verify(folder: Path, *, deep: bool = False, shards: Iterable[int] | None = None) -> list[Problem]:
    """Problems of a set in the order of its shards.

    Args:
        folder: of the set. Raises MaquetteError when it holds none.
        deep: read every byte, and find flipped bits; without it, only what is missing or has another size is found.
        shards: numbers to look at, all by default.
    """
    config = read_config(folder)
    wanted = range(config.shards) if shards is None else shards
    problems = [problem for shard in wanted if (problem := check_shard(folder, config, shard, deep=deep))]
    if shards is None:
        for path in sorted(folder.glob("shard-*.tar")):
            match = re.fullmatch(r"shard-(\d+)\.tar", path.name)
            if match and int(match[1]) >= config.shards:
                problems.append(Problem(int(match[1]), "superfluous", f"the set has {config.shards} shards"))
    return problems


def check_shard(folder: Path, config: DatasetConfig, shard: int, *, deep: bool) -> Problem | None:
    """What is wrong with one shard, or None."""
    path = shard_path(folder, shard)
    try:
        sidecar = read_sidecar(path)
    except FileNotFoundError:
        if path.exists():
            return Problem(shard, "unfinished", f"{path.name} has no sidecar")
        return Problem(shard, "missing", f"{path.name} is not there")
    except ValueError as problem:
        return Problem(shard, "damaged", str(problem))
    if sidecar.get("config") != config.digest or sidecar.get("shard") != shard:
        return Problem(shard, "foreign", f"{path.name} belongs to another configuration")
    if not path.exists():
        return Problem(shard, "missing", f"{path.name} is not there")
    size = path.stat().st_size
    if size != sidecar["bytes"]:
        return Problem(shard, "short", f"{path.name} has {size} of {sidecar['bytes']} bytes")
    if deep:
        try:
            if verify_members(path, sidecar["members"]) != sidecar["sha256"]:
                return Problem(shard, "damaged", f"{path.name} has another hash")
        except ValueError as problem:
            return Problem(shard, "damaged", f"in {path.name} {problem}")
    return None


def clear(folder: Path, problems: Iterable[Problem]) -> list[int]:
    """Delete the shards that have a problem and what dead processes left behind; returns what is to be rendered."""
    remove_abandoned(folder)
    again = []
    for problem in problems:
        path = shard_path(folder, problem.shard)
        # The sidecar goes first: a tar without one counts as unfinished.
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if problem.kind != "superfluous":
            again.append(problem.shard)
    return again
