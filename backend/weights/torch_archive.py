"""Tensors out of somebody else's PyTorch file without ever running what the file says.

Such a file (`torch.save`, 1.6 or later) is a zip archive: a pickle that names storages, and the storages as plain
numbers. Lightning's checkpoints also hold optimisers, callbacks and settings of any class. This reader knows the few
names that make a tensor; every other name becomes an inert record, which is neither imported nor called, and is left
behind. Nothing is read into memory before it is used: the tensors are views of the file.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_LARGEST_PICKLE = 256 * 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class RefusedArchiveError(Exception):
    """The file is no PyTorch checkpoint, or its numbers do not add up."""


class _Record:
    """Stands for anything that is not a tensor: takes whatever the pickle gives it and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class _Storage:
    data_type: torch.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """A tensor before its numbers are looked up."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Pieces:
    if not isinstance(storage, _Storage):
        raise RefusedArchiveError("a tensor without a storage")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and 0 <= n < 2**40 for n in numbers):
        raise RefusedArchiveError("a tensor of an impossible shape")
    reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) and reach > storage.count:
        raise RefusedArchiveError("a tensor that reaches beyond its storage")
    return _Pieces(storage, offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _table(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(items)


_KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _table,
}


class _Reader(pickle._Unpickler):  # the reader in plain Python: a forged index cannot make it allocate a huge table
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        return _KNOWN.get((module, name), _Record)

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage: its kind of number, its file in the archive, and how many numbers there are."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise RefusedArchiveError("a reference to something that is no storage")
        _, data_type, key, _, count = pid
        if not isinstance(key, str) or not isinstance(count, int):
            raise RefusedArchiveError("a storage without a name or a size")
        return _Storage(data_type, key, count)

    def load_build(self) -> None:
        """Leave the state of objects behind: tensors have none."""
        self.stack.pop()  # pyright: ignore[reportAttributeAccessIssue]

    def get_extension(self, code: int) -> Any:
        return _Record

    dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: load_build}  # pyright: ignore


def read_tensors(path: Path, table: str = "state_dict") -> dict[str, Tensor]:
    """The tensors of `table` in a PyTorch file, or, when it has no such table, those at its top.

    Raises `RefusedArchiveError` for a file that is broken or none of PyTorch's, `OSError` for an unreadable one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            index = next((name for name in members if name.endswith("/data.pkl")), None)
            if index is None or members[index].file_size > _LARGEST_PICKLE:
                raise RefusedArchiveError("an archive without a list of tensors")
            top = index.removesuffix("data.pkl")
            if f"{top}byteorder" in members and archive.read(f"{top}byteorder") != b"little":
                raise RefusedArchiveError("numbers in big-endian order")
            content = archive.read(index)
            whole = np.memmap(path, np.uint8, "c")
        value = _Reader(io.BytesIO(content)).load()
        entries = value.get(table, value) if isinstance(value, dict) else None
        if not isinstance(entries, dict):
            raise RefusedArchiveError("something other than a table of tensors")
        return {
            name: _view(whole, members, f"{top}data/{pieces.storage.key}", pieces)
            for name, pieces in entries.items()
            if isinstance(name, str) and isinstance(pieces, _Pieces)
        }
    except (RefusedArchiveError, OSError):
        raise
    except Exception as error:  # a broken file may fail in any way, and each of them only means "broken"
        raise RefusedArchiveError("data that is cut short or is not PyTorch's") from error


def _view(whole: np.ndarray, members: dict[str, zipfile.ZipInfo], name: str, pieces: _Pieces) -> Tensor:
    info = members[name]
    size = pieces.storage.count * pieces.storage.data_type.itemsize
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != size:
        raise RefusedArchiveError("a storage whose size and data disagree")
    header = whole[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    data = whole[start : start + size]
    if signature != b"PK\3\4" or len(data) != size:
        raise RefusedArchiveError("a storage outside the file")
    numbers = torch.from_numpy(data).view(pieces.storage.data_type) if size else torch.empty(0)
    return numbers.as_strided(pieces.shape, pieces.strides, pieces.offset)
