"""Reads a set without bpy or torch: an index of all identities from the sidecars, and their content as arrays."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.config import DatasetConfig
from synthetic_data.record import DEPTH_UNIT, View
from synthetic_data.shards import decode_member, read_config, read_sidecar, shard_path


@dataclasses.dataclass(frozen=True)
class Member:
    """A file within a tar: where its content begins, how long it is, and its hash."""

    offset: int
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where the files of one identity lie, by name without the identity's number."""

    path: Path
    index: int
    members: Mapping[str, Member]

    def read(self, name: str, *, check: bool = False) -> bytes:
        """The content of one file, `check` against its hash. Raises MaquetteError when it is missing or damaged."""
        try:
            member = self.members[name]
        except KeyError:
            sentence = f"Identity {self.index} has no {name}: render the set with this pass and view."
            raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset") from None
        try:
            with self.path.open("rb") as file:
                file.seek(member.offset)
                data = file.read(member.size)
        except FileNotFoundError:
            raise _broken(self.path, "is missing") from None
        if len(data) != member.size:
            raise _broken(self.path, "is cut short")
        if check and hashlib.sha256(data).hexdigest() != member.sha256:
            raise _broken(self.path, "is damaged")
        return data

    def decode(self, name: str, *, check: bool = False) -> Any:
        """Pixels, arrays or JSON of one file."""
        try:
            return decode_member(name, self.read(name, check=check))
        except ValueError:
            raise _broken(self.path, "is damaged") from None


@dataclasses.dataclass(frozen=True)
class Person:
    """An identity's entry with its ``identity.json`` read."""

    entry: Entry
    data: Mapping[str, Any]

    @classmethod
    def read(cls, entry: Entry, *, check: bool = False) -> Person:
        """Open an identity."""
        return cls(entry, entry.decode("identity.json", check=check))

    @cached_property
    def views(self) -> list[View]:
        """All views, in the order of the labels."""
        return [View.from_json(view) for view in self.data["views"]]

    def picture(self, view: View, kind: str, *, check: bool = False) -> np.ndarray:
        """One picture as the renderer gave it, rounded to what was stored.

        ``rgba`` (H, W, 4) float32 in [0, 1]; ``depth`` (H, W) float32, metres; ``segmentation`` (H, W) uint8;
        ``normal`` (H, W, 3) float32, zero where there is nothing; ``uv`` (H, W, 2) float32, NaN where there are none.
        """
        pixels = self.entry.decode(f"{view.name}.{kind}.png", check=check)
        if kind == "rgba":
            return pixels.astype(np.float32) / 255
        if kind == "depth":
            return (pixels * self.data.get("depth_unit", DEPTH_UNIT)).astype(np.float32)
        if kind == "normal":
            there = (pixels != 0).any(-1, keepdims=True)
            return np.where(there, pixels.astype(np.float32) / 127.5 - 1, 0)
        if kind == "uv":
            return np.where(pixels[..., 2:] > 0, pixels[..., :2].astype(np.float32) / 65535, np.nan)
        return pixels


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The finished shards of a set."""

    folder: Path
    config: DatasetConfig
    shards: Sequence[Sequence[Entry]]
    """Entries by shard."""

    @classmethod
    def open(cls, folder: Path, *, partial: bool = False) -> DataSet:
        """Read the sidecars of a set.

        Raises:
            MaquetteError: there is no set, a tar is missing or cut short, or shards are still to be rendered and
                `partial` does not allow that.
        """
        config = read_config(folder)
        shards: list[list[Entry]] = []
        for shard in range(config.shards):
            path = shard_path(folder, shard)
            try:
                sidecar = read_sidecar(path)
            except FileNotFoundError:
                if partial:
                    continue
                sentence = f"{folder} is not finished: run 'maquette dataset resume {folder}' first."
                raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset") from None
            except ValueError:
                raise _broken(path.with_suffix(".json"), "is damaged") from None
            if not path.exists():
                raise _broken(path, "is missing")
            if path.stat().st_size != sidecar["bytes"]:
                raise _broken(path, "is cut short")
            shards.append(_entries(path, sidecar["members"]))
        return cls(folder, config, shards)

    def entries(self) -> Iterator[Entry]:
        """All identities in order."""
        for shard in self.shards:
            yield from shard

    def find(self, index: int) -> Entry:
        """One identity. Raises MaquetteError when the set lacks it."""
        for entry in self.entries():
            if entry.index == index:
                return entry
        raise MaquetteError(ErrorCode.BAD_REQUEST, f"{self.folder} holds no identity {index}.", stage="dataset")


def _entries(path: Path, members: Sequence[Mapping[str, Any]]) -> list[Entry]:
    found: dict[int, dict[str, Member]] = {}
    for member in members:
        key, _, name = member["name"].partition(".")
        found.setdefault(int(key), {})[name] = Member(member["offset"], member["size"], member["sha256"])
    return [Entry(path, index, files) for index, files in found.items()]


def _broken(path: Path, what: str) -> MaquetteError:
    sentence = f"{path.name} {what}: run 'maquette dataset verify --repair {path.parent}' and try again."
    return MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset")
