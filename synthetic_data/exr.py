"""OpenEXR files as Blender writes them, read with numpy alone: Blender's own Python has nothing else.

Scanline files, uncompressed or ZIP, one part (Blender 4) or one part per pass (Blender 5). The format:
https://openexr.com/en/latest/OpenEXRFileLayout.html
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

_MAGIC, _MULTI_PART = 20000630, 0x1000
_ROWS_PER_BLOCK = {0: 1, 2: 1, 3: 16}  # compression: none, ZIPS, ZIP
_KINDS = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}


@dataclasses.dataclass
class _Part:
    """The header of one part: its channels in the file's order, and how their rows are stored."""

    channels: list[tuple[str, np.dtype]]
    width: int
    height: int
    top: int
    compression: int

    @property
    def blocks(self) -> int:
        return -(-self.height // _ROWS_PER_BLOCK[self.compression])


def read_channels(path: Path) -> dict[str, Float[np.ndarray, "H W"]]:
    """Every channel of every part as float32, row 0 on top. Raises ValueError for a file of another kind."""
    data = path.read_bytes()
    try:
        return _read(data)
    except (struct.error, zlib.error, KeyError, IndexError, ValueError) as problem:
        raise ValueError(f"{path.name} is damaged, or no OpenEXR file that Blender writes") from problem


def _read(data: bytes) -> dict[str, np.ndarray]:
    magic, version = struct.unpack_from("<ii", data)
    if magic != _MAGIC:
        raise KeyError(magic)
    several = bool(version & _MULTI_PART)
    parts, position = [], 8
    while True:
        part, position = _header(data, position)
        if part is None:
            break
        parts.append(part)
        if not several:
            break
    tables = []
    for part in parts:
        tables.append(struct.unpack_from(f"<{part.blocks}Q", data, position))
        position += 8 * part.blocks
    channels: dict[str, np.ndarray] = {}
    for part, table in zip(parts, tables, strict=True):
        channels |= _pixels(data, part, table, several)
    return channels


def _header(data: bytes, position: int) -> tuple[_Part | None, int]:
    """One part's header; None at the empty header that ends a list of them."""
    attributes: dict[str, bytes] = {}
    while data[position] != 0:
        name, position = _word(data, position)
        _, position = _word(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    if not attributes:
        return None, position + 1
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    channels, at = [], 0
    listing = attributes["channels"]
    while listing[at] != 0:
        name, at = _word(listing, at)
        channels.append((name, _KINDS[struct.unpack_from("<i", listing, at)[0]]))
        at += 16
    return _Part(channels, right - left + 1, bottom - top + 1, top, attributes["compression"][0]), position + 1


def _word(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode(), end + 1


def _pixels(data: bytes, part: _Part, table: tuple[int, ...], several: bool) -> dict[str, np.ndarray]:
    """The channels of one part; in every row of a block they follow each other."""
    found = {name: np.zeros((part.height, part.width), np.float32) for name, _ in part.channels}
    rows_per_block = _ROWS_PER_BLOCK[part.compression]
    row_bytes = sum(kind.itemsize for _, kind in part.channels) * part.width
    for offset in table:
        line, size = struct.unpack_from("<ii", data, offset + 4 * several)
        start = offset + 4 * several + 8
        first = line - part.top
        rows = min(rows_per_block, part.height - first)
        block = np.frombuffer(data, np.uint8, size, start)
        if size < rows * row_bytes:  # a block that would not shrink is stored as it is
            block = _unzip(block)
        block = block.reshape(rows, row_bytes)
        at = 0
        for name, kind in part.channels:
            end = at + kind.itemsize * part.width
            values = np.ascontiguousarray(block[:, at:end]).view(kind)
            found[name][first : first + rows] = values.astype(np.float32)
            at = end
    return found


def _unzip(block: UInt8[np.ndarray, " n"]) -> UInt8[np.ndarray, " m"]:
    """Undo OpenEXR's ZIP: deflate, then differences of neighbours, then even and odd bytes apart."""
    differences = np.frombuffer(zlib.decompress(block.tobytes()), np.uint8)
    steps = differences.astype(np.int64)
    steps[1:] -= 128
    bytes_apart = (np.cumsum(steps) & 255).astype(np.uint8)
    half = (len(bytes_apart) + 1) // 2
    result = np.empty_like(bytes_apart)
    result[0::2], result[1::2] = bytes_apart[:half], bytes_apart[half:]
    return result
