"""Shards: WebDataset tars of a fixed range of identities, bytes a pure function of (configuration, shard number).

Beside ``shard-000012.tar`` lies ``shard-000012.json``, its sidecar: hashes and places of all members, identities that
failed and why, and what must not be in the tar: times, host, versions. The sidecar is written last, so that a shard
exists when its sidecar does; a run that is killed loses the shards at work and nothing else.

A tar holds the members of one identity after the other; the name up to the first dot is the identity, as WebDataset
wants it: ``0000012.identity.json``, ``0000012.mesh.npz``, ``0000012.t0v00.rgba.png``...
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import platform
import socket
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.archive import decode_npz, partial_path, publish, remove_abandoned, write_whole
from synthetic_data.config import DatasetConfig
from synthetic_data.png import decode_png

CONFIG_NAME = "config.json"
_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class Record:
    """The files of one identity, by name without the identity's number, and how the time was spent, seconds."""

    members: Mapping[str, bytes]
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)


Renderer = Callable[[DatasetConfig, int, int], Record]
"""Renders identity `index` of a set with a number of threads: ``renderer(config, index, threads)``."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """One identity is done: its CPU and wall seconds, bytes, and the reason when it was set aside."""

    shard: int
    index: int
    cpu: float
    wall: float
    bytes: int
    failure: str = ""


def shard_path(folder: Path, shard: int) -> Path:
    """The tar of a shard; its sidecar has the suffix ``.json``."""
    return folder / f"shard-{shard:06d}.tar"


def open_folder(folder: Path, config: DatasetConfig) -> None:
    """Make a folder for a set, or check that it holds this one.

    Raises:
        ValueError: it holds a set of another version of this package.
        MaquetteError: it holds another set.
    """
    path = folder / CONFIG_NAME
    if path.exists():
        found = read_config(folder)
        if found.digest != config.digest:
            found.check_renderable()
            theirs, ours = dataclasses.asdict(found), dataclasses.asdict(config)
            fields = ", ".join(name.replace("_", " ") for name in ours if ours[name] != theirs[name])
            sentence = f"{folder} holds another set (other {fields}): choose another folder."
            raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, config.to_json().encode())
    except FileExistsError:
        sentence = f"{folder} is a file: choose a folder."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="dataset") from None
    except NotADirectoryError:
        sentence = f"{folder} lies inside a file: choose another folder."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="dataset") from None


def read_config(folder: Path) -> DatasetConfig:
    """The configuration of the set in a folder. Raises MaquetteError when there is none."""
    try:
        return DatasetConfig.from_json((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError):
        sentence = f"{folder} holds no data set: its {CONFIG_NAME} is missing or damaged."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset") from None


def render_shard(
    config: DatasetConfig,
    shard: int,
    folder: Path,
    renderer: Renderer,
    *,
    threads: int = 1,
    set_aside: Mapping[int, str] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """`shard_progress` to its end, `report` told of each identity; returns the sidecar."""
    for progress in shard_progress(config, shard, folder, renderer, threads=threads, set_aside=set_aside):
        report(progress)
    return read_sidecar(shard_path(folder, shard))


def shard_progress(
    config: DatasetConfig,
    shard: int,
    folder: Path,
    renderer: Renderer,
    *,
    threads: int = 1,
    set_aside: Mapping[int, str] | None = None,
) -> Iterator[Progress]:
    """Render one shard into `folder`, and tell of each identity when it is done.

    Args:
        config: of the set.
        shard: its number.
        folder: of the set, see `open_folder`.
        renderer: makes the files of an identity. What it raises sets the identity aside, after a second try; only
            MemoryError, OSError and ImportError end the run, for they are no fault of the identity.
        threads: handed to the renderer; changes no byte.
        set_aside: identities that must not be tried, with the reason: they killed their process.

    Raises:
        ValueError: this package would render other pictures.
    """
    config.check_renderable()  # here as well: the machines of a cluster need not have the same package
    path = shard_path(folder, shard)
    remove_abandoned(folder, f"{path.stem}.*")
    partial, started = partial_path(path), time.time()
    members: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    seconds: dict[str, dict[str, float]] = {}
    try:
        with partial.open("xb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for index in config.indices(shard):
                wall, cpu = time.monotonic(), _cpu_seconds()
                record, failure, attempts = _attempt(config, index, renderer, threads, (set_aside or {}).get(index))
                if failure:
                    failed.append({"index": index, "reason": failure, "attempts": attempts})
                for name, data in record.members.items():
                    members.append(_add(archive, f"{index:07d}.{name}", data))
                wall, cpu = time.monotonic() - wall, _cpu_seconds() - cpu
                seconds[str(index)] = {"wall": round(wall, 3), "cpu": round(cpu, 3), **record.seconds}
                size = sum(map(len, record.members.values()))
                yield Progress(shard, index, cpu, wall, size, failure)
        digest = verify_members(partial, members, decode=True)
        sidecar = {
            "shard": shard,
            "config": config.digest,
            "first": config.indices(shard)[0],
            "identities": len(config.indices(shard)) - len(failed),
            "bytes": partial.stat().st_size,
            "sha256": digest,
            "members": members,
            "failed": failed,
            "seconds": seconds,
            "threads": threads,
            "started": round(started, 3),
            "finished": round(time.time(), 3),
            **_machine(),
        }
        publish(partial, path)
        write_whole(path.with_suffix(".json"), encode_sidecar(sidecar))
    finally:
        partial.unlink(missing_ok=True)


def _attempt(
    config: DatasetConfig, index: int, renderer: Renderer, threads: int, forbidden: str | None
) -> tuple[Record, str, int]:
    """The record, or an empty one with the reason; and how often it was tried."""
    if forbidden:
        return Record({}), forbidden, 0
    failure = ""
    for attempt in (1, 2):
        try:
            return renderer(config, index, threads), "", attempt
        except (MemoryError, OSError, ImportError, MaquetteError):
            raise
        except Exception as problem:
            failure = f"{type(problem).__name__}: {problem}"[:500]
    return Record({}), failure, 2


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> dict[str, Any]:
    """Append a member without owner or time; `offset` is where its content begins."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    offset = archive.offset + _BLOCK
    archive.addfile(info, io.BytesIO(data))
    return {"name": name, "offset": offset, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def verify_members(path: Path, members: list[dict[str, Any]], *, decode: bool = False) -> str:
    """SHA-256 of a tar whose members are read again, in order, and compared with `members`.

    Raises:
        ValueError: something is missing, cut short, different, or (with `decode`) no readable picture.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with tarfile.open(path, "r:") as archive:
            for expected in members:
                info = archive.next()
                stream = archive.extractfile(info) if info else None
                data = stream.read() if stream else b""
                if info is None or (info.name, info.offset_data) != (expected["name"], expected["offset"]):
                    raise ValueError(f"{expected['name']} is missing")
                if len(data) != expected["size"] or hashlib.sha256(data).hexdigest() != expected["sha256"]:
                    raise ValueError(f"{expected['name']} is damaged")
                if decode:
                    decode_member(info.name, data)
            if archive.next() is not None:
                raise ValueError("there are more members than expected")
    except (tarfile.TarError, EOFError) as problem:
        raise ValueError(f"the tar is damaged ({problem})") from None
    return digest


def decode_member(name: str, data: bytes) -> Any:
    """A member's content: pixels, arrays, or JSON. Raises ValueError when it is damaged."""
    suffix = name.rpartition(".")[2]
    if suffix == "png":
        return decode_png(data)
    return decode_npz(data) if suffix == "npz" else json.loads(data)


def encode_sidecar(sidecar: Mapping[str, Any]) -> bytes:
    """JSON with a checksum of itself."""
    body = {key: value for key, value in sidecar.items() if key != "checksum"}
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "checksum": checksum}, indent=1) + "\n").encode()


def read_sidecar(path: Path) -> dict[str, Any]:
    """The sidecar of a tar. Raises FileNotFoundError, or ValueError when it is damaged."""
    data = path.with_suffix(".json").read_bytes()
    with contextlib.suppress(ValueError, AttributeError):
        sidecar = json.loads(data)
        if encode_sidecar(sidecar) == data:
            return sidecar
    raise ValueError("the sidecar is damaged")


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine() -> dict[str, Any]:
    """Who rendered it: what may explain a difference."""
    versions = {"python": platform.python_version()}
    for package in ("maquette", "bpy", "numpy", "anny", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    return {"host": socket.gethostname(), "pid": os.getpid(), "cpu": cpu, "versions": versions}
