"""NumPy archives whose bytes depend on the arrays alone, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def encode_npz(arrays: Mapping[str, np.ndarray], *, compress: bool = True) -> bytes:
    """An ``.npz`` without the time of writing; `numpy.load` reads it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every operating system
            entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def decode_npz(data: bytes) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz``. Raises ValueError when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, KeyError, zipfile.BadZipFile) as problem:
        raise ValueError(f"damaged arrays: {problem}") from None


def partial_path(path: Path) -> Path:
    """Where this process writes `path` until it is whole; two processes never share one."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")


def publish(partial: Path, path: Path) -> None:
    """Move a finished file to its place, so that it survives a power cut."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that others see complete or not at all."""
    partial = partial_path(path)
    try:
        partial.write_bytes(data)
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned(folder: Path, pattern: str = "*") -> None:
    """Delete what dead processes of this machine left half-written."""
    for path in folder.glob(f"{pattern}.partial"):
        host, _, pid = path.name.removesuffix(".partial").rpartition("-")
        if host.endswith(f".{socket.gethostname()}") and pid.isdigit() and not _alive(int(pid)):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError):  # a killed process has its number until its parent has heard of it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
