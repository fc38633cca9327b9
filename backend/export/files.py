"""Writing files so that a reader never sees half of one, and failures as one sentence."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from typing import TYPE_CHECKING

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jaxtyping import UInt8


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside into the `MaquetteError` that says what to do about `path`."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            sentence = f"There is no room left to write {path}: free some space or choose another place."
            raise MaquetteError(ErrorCode.DISK_FULL, sentence, stage="export") from problem
        reason = (problem.strerror or "unknown reason").lower()
        sentence = f"{path} cannot be written ({reason}): choose a place where you may write."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="export") from problem


def write_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk, then rename: `path` is the old file or the new, never half.

    Raises:
        MaquetteError: DISK_FULL or OUTPUT_NOT_WRITABLE.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(path):
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def encode_png(image: UInt8[np.ndarray, "H W C"]) -> bytes:
    """PNG bytes (lossless) of an 8-bit RGB or RGBA picture; the same picture gives the same bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """JPEG bytes of an 8-bit RGB picture, at a quality where skin shows no loss; the same picture, the same bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
