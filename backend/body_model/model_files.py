"""Find, read and check the model files that a user owns; every refusal is one sentence that names file and remedy."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import ErrorCode
from backend.body_model.safe_pickle import RefusedPickleError, load_arrays
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STAGE = "body_model"


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """Where a model's file comes from and the names that it goes by in a folder, most wanted first."""

    title: str
    variable: str
    """Environment variable that may hold the path of the file or of its folder."""
    folder: str
    """Folder below ``~/.maquette/body_models``, searched when neither a path nor the variable is given."""
    names: tuple[str, ...]
    source: str
    """Half a sentence: how to get the file."""

    @property
    def default_folder(self) -> Path:
        return Path.home() / ".maquette" / "body_models" / self.folder

    def locate(self, path: Path | str | None = None) -> Path:
        """Path of the model file. Raises `MaquetteError` (``MODEL_MISSING``) with the way to get it."""
        given = path or os.environ.get(self.variable) or self.default_folder
        place = Path(given).expanduser()
        if place.is_file():
            return place
        for name in self.names:
            if (place / name).is_file():
                return place / name
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"{self.title} was not found at {place}: {self.source}, then set {self.variable} to the path of the file "
            f"or put it as {self.names[0]} into {self.default_folder}.",
            stage=STAGE,
        )


def unusable(path: Path, reason: str) -> MaquetteError:
    """The error for a file that is there but cannot be used; `reason` completes "… cannot be used because"."""
    return MaquetteError(
        ErrorCode.MODEL_MISSING,
        f"{path} cannot be used because {reason}: download the official file again or choose another one.",
        stage=STAGE,
    )


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The named entries, as far as present, of an ``.npz`` or pickled model file; nothing in the file is executed."""
    try:
        return load_arrays(path, names)
    except RefusedPickleError as error:
        raise unusable(path, f"it contains {error}") from error
    except OSError as error:
        raise unusable(path, f"it cannot be read ({error.strerror or 'input error'})") from error


class Entries:
    """The arrays of one model file, checked as they are taken out."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self._arrays = read_arrays(path, names)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def floats(self, name: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "..."]:
        """A float64 array; ``None`` in `shape` stands for any length. Raises when missing, misshapen or not finite."""
        return self._numbers(name, shape).astype(np.float64)

    def float32(self, name: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "..."]:
        """As `floats`, for tensors too large to be doubled."""
        return self._numbers(name, shape).astype(np.float32, copy=False)

    def _numbers(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        array = self._take(name, shape)
        if not np.isfinite(array).all():
            raise unusable(self.path, f"{name!r} holds values that are not finite")
        return array

    def indices(self, name: str, shape: tuple[int | None, ...], count: int | None = None) -> Int[np.ndarray, "..."]:
        """An array of indices, each from 0 to `count` - 1 (unchecked without `count`)."""
        array = self._take(name, shape)
        if not np.array_equal(array, np.floor(array)):
            raise unusable(self.path, f"{name!r} holds numbers that are no indices")
        array = array.astype(np.int64)
        if count is not None and array.size and (array.min() < 0 or array.max() >= count):
            raise unusable(self.path, f"{name!r} points beyond its {count} entries")
        return array

    def _take(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        if name not in self._arrays:
            raise unusable(self.path, f"it has no {name!r}")
        array = self._arrays[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise unusable(self.path, f"{name!r} is not an array of numbers")
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            found = " x ".join(map(str, array.shape)) or "a single number"
            raise unusable(self.path, f"{name!r} should be {wanted}, not {found}")
        return array
