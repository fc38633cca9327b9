"""Read numbers out of somebody else's pickle without ever running what the file says.

FLAME is published as pickles, written by Python 2 and holding numpy, SciPy and chumpy objects. A pickle can name any
function of any module and have it called, so the standard reader must never touch a file from outside. This reader
knows a dozen names, and none of them leads to the real thing: each makes a plain record, and the arrays are built
from the records afterwards, by code that checks every size. numpy's own unpickling is not used either, because a
forged data type can make it read memory that is not its own.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER_KINDS = "biuf"
_MOST_ELEMENTS = 2**31
_DEEPEST_NESTING = 8
_LARGEST_MEMBER = 6 * 2**30


class RefusedPickleError(Exception):
    """The file names something that a model file has no business with, or its numbers do not add up."""


class _DataType:
    """`numpy.dtype` as a record: only plain numbers, and `O` for the lists that wrap them."""

    def __init__(self, spec: Any = None, *_: Any) -> None:
        self.spec, self.order = spec, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise RefusedPickleError("a structured data type")
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        spec = self.spec if isinstance(self.spec, str) else ""
        order = self.order if self.order in ("<", ">", "|", "=") else ""
        try:
            data_type = np.dtype(spec)
        except TypeError as error:
            raise RefusedPickleError(f"the data type {self.spec!r}") from error
        if not spec or not order or data_type.kind not in _NUMBER_KINDS + "O":
            raise RefusedPickleError(f"the data type {self.spec!r}")
        return data_type.newbyteorder(order) if order in "<>" else data_type  # pyright: ignore[reportArgumentType]


class _Array:
    """`numpy.ndarray` as a record; `value` is the array (or the list inside an array of objects)."""

    def __init__(self, *_: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, data_type, column_major, data = state
        except (TypeError, ValueError) as error:
            raise RefusedPickleError("an array without its data") from error
        self.value = _array(data, data_type, shape, "F" if column_major else "C")


class _Sparse:
    """A SciPy sparse matrix (compressed rows or columns) as a record of its state."""

    axis = 0

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedPickleError("a sparse matrix without its data")
        self.state = state


class _SparseColumns(_Sparse):
    axis = 1


class _Chumpy:
    """`chumpy.Ch`, a variable of an abandoned autodiff library: only the array that it wraps matters."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or "x" not in state:
            raise RefusedPickleError("a chumpy expression that is not a plain array")
        self.state = state


class _Object:
    """Stands for Python's `object`, which old pickles name as the base of a class."""


def _array(data: Any, data_type: Any, shape: Any, order: str) -> Any:
    if not isinstance(data_type, _DataType):
        raise RefusedPickleError("an array without a data type")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and 0 <= n <= _MOST_ELEMENTS for n in shape):
        raise RefusedPickleError("an array without a shape")
    resolved = data_type.resolve()
    if resolved.kind == "O":
        if not isinstance(data, list):
            raise RefusedPickleError("an array of objects")
        return data
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise RefusedPickleError("an array without its data")
    count = 1
    for n in shape:
        count *= n
    if count * resolved.itemsize != len(raw):
        raise RefusedPickleError("an array whose size and data disagree")
    values = np.frombuffer(raw, resolved).reshape(shape, order="F" if order == "F" else "C")
    return np.array(values, resolved.newbyteorder("="), order="C")


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise RefusedPickleError("an array of a class of its own")
    return _Array()


def _reconstruct_object(kind: Any, *_: Any) -> Any:
    if kind not in (_Array, _SparseColumns, _Sparse, _Chumpy):
        raise RefusedPickleError("an object of a class of its own")
    return kind()


def _from_buffer(data: Any, data_type: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _array(data, data_type, shape, order)
    return array


def _scalar(data_type: Any, data: Any = b"") -> Any:
    value = _array(data, data_type, (), "C")
    return value if isinstance(value, list) else value.item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickleError("text in an unusual encoding")
    return text.encode("latin1")


def _no_bytes(*content: Any) -> bytes:
    if content:
        raise RefusedPickleError("bytes made in an unusual way")
    return b""


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise RefusedPickleError("a set of something unusual")
    return set(items)


def _known_names() -> dict[tuple[str, str], Callable[..., Any]]:
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DataType,
        ("chumpy.ch", "Ch"): _Chumpy,
        ("chumpy", "Ch"): _Chumpy,
        ("_codecs", "encode"): _encode,
    }
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        known[f"{core}.multiarray", "scalar"] = _scalar
        known[f"{core}.numeric", "_frombuffer"] = _from_buffer
    for prefix in ("", "_"):
        known[f"scipy.sparse.{prefix}csc", "csc_matrix"] = _SparseColumns
        known[f"scipy.sparse.{prefix}csr", "csr_matrix"] = _Sparse
    for builtins in ("__builtin__", "builtins"):
        known[builtins, "object"] = _Object
        known[builtins, "set"] = _set
        known[builtins, "bytes"] = _no_bytes
    for registry in ("copy_reg", "copyreg"):
        known[registry, "_reconstructor"] = _reconstruct_object
    return known


_KNOWN = _known_names()


class _Reader(pickle._Unpickler):  # the reader in plain Python: a forged index cannot make it allocate a huge table
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise RefusedPickleError(f"{module}.{name}")
        return _KNOWN[module, name]

    def load_build(self) -> None:
        """Give a record its state; nothing else, a function or class say, may be written to."""
        state = self.stack.pop()  # pyright: ignore[reportAttributeAccessIssue]
        record = self.stack[-1]  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(record, _Array | _DataType | _Sparse | _Chumpy):
            raise RefusedPickleError("a change to something that is not data")
        record.__setstate__(state)

    dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: load_build}  # pyright: ignore

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedPickleError("a reference to another file")

    def get_extension(self, code: int) -> Any:
        raise RefusedPickleError(f"the registered extension {code}")


def _plain(value: Any, depth: int = 0) -> Any:
    """Records to arrays, through the few levels of nesting that occur."""
    if depth > _DEEPEST_NESTING:
        raise RefusedPickleError("objects nested without end")
    if isinstance(value, _Array):
        return _plain(value.value, depth + 1)
    if isinstance(value, _Chumpy):
        return _plain(value.state["x"], depth + 1)
    if isinstance(value, _Sparse):
        return _dense(value, depth)
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0], depth + 1)
    return value


def _dense(record: _Sparse, depth: int) -> np.ndarray:
    from scipy import sparse

    shape = record.state.get("_shape")
    parts = [_plain(record.state.get(name), depth + 1) for name in ("data", "indices", "indptr")]
    if (
        not isinstance(shape, tuple)
        or len(shape) != 2
        or not all(isinstance(n, int) and n > 0 for n in shape)
        or shape[0] * shape[1] > 2**27
        or not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts)
    ):
        raise RefusedPickleError("a sparse matrix whose parts do not fit together")
    try:
        kind = sparse.csc_matrix if record.axis else sparse.csr_matrix
        matrix = kind(tuple(parts), shape=shape)
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise RefusedPickleError("a sparse matrix whose parts do not fit together") from error
    return matrix.toarray()


def load_pickle(content: bytes) -> Any:
    """The dictionary (or array, or list) in a pickle, with arrays as numpy arrays and sparse matrices made dense.

    Raises `RefusedPickleError`, naming what was refused, for anything but numbers, and for a truncated file.
    """
    try:
        # "latin1" is how Python 3 must read the byte strings of Python 2.
        value = _Reader(io.BytesIO(content), encoding="latin1").load()
        if isinstance(value, dict):
            return {key: _plain(item) for key, item in value.items() if isinstance(key, str)}
        return _plain(value)
    except RefusedPickleError:
        raise
    except Exception as error:  # a broken pickle may fail in any way, and each of them only means "broken"
        raise RefusedPickleError("data that is cut short or is not a pickle") from error


def load_npz_member(archive: zipfile.ZipFile, name: str) -> Any:
    """One array of an ``.npz``; an array of objects (a sparse matrix, say) is read by the same safe reader."""
    if archive.getinfo(f"{name}.npy").file_size > _LARGEST_MEMBER:
        raise RefusedPickleError("an array of more than 6 GiB")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise RefusedPickleError(f"version {version} of numpy's array format")
        shape, column_major, data_type = read_header[version](file)
        if data_type.hasobject:
            return load_pickle(file.read())
        if data_type.kind not in _NUMBER_KINDS + "U":
            raise RefusedPickleError(f"the data type {data_type}")
        raw = file.read()
    if len(raw) != int(np.prod(shape, dtype=object)) * data_type.itemsize:
        raise RefusedPickleError("an array whose size and data disagree")
    return np.frombuffer(raw, data_type).reshape(shape, order="F" if column_major else "C")


def load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The named entries, as far as present, of an ``.npz`` or of a pickled dictionary.

    Raises `RefusedPickleError` for an unsafe or broken file and `OSError` for an unreadable one.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                present = {info.filename for info in archive.infolist()}
                return {name: load_npz_member(archive, name) for name in names if f"{name}.npy" in present}
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, MemoryError) as error:
            raise RefusedPickleError("data that is cut short or is not an .npz file") from error
    value = load_pickle(path.read_bytes())
    if not isinstance(value, dict):
        raise RefusedPickleError("something other than a table of arrays")
    return {name: value[name] for name in names if name in value}
