"""PNG whose bytes depend on the pixels alone, 16-bit colour included; files of other writers are read by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_CHANNELS = {kind: channels for channels, kind in _COLOUR_TYPES.items()}


def encode_png(pixels: UInt[np.ndarray, "H W *c"], level: int = 6) -> bytes:
    """A PNG of uint8 or uint16 pixels, (H, W) or (H, W, C) with C up to 4.

    Each row is stored plain, or as the difference to the pixel at its left or above, whichever is smallest.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"no picture: {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    step = channels * pixels.itemsize
    rows = np.ascontiguousarray(pixels, f">u{pixels.itemsize}").reshape(height, -1).view(np.uint8)
    left, above = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], above[1:] = rows[:, :-step], rows[:-1]
    filtered = np.stack([rows, rows - left, rows - above])
    cost = np.minimum(filtered, 256 - filtered.astype(np.int16)).sum(-1)
    best = cost.argmin(0)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0], lines[:, 1:] = best, filtered[best, np.arange(height)]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), level)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(*part) for part in parts)


def decode_png(data: bytes) -> UInt[np.ndarray, "H W *c"]:
    """Pixels of a PNG. Raises ValueError when it is damaged."""
    try:
        if data[:8] == _SIGNATURE and data[24] == 16 and _CHANNELS.get(data[25], 1) > 1:
            return _decode_wide(data)  # Pillow would drop half of the bits
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return np.array(picture)
    except (OSError, SyntaxError, IndexError, struct.error, zlib.error) as problem:
        raise ValueError(f"damaged picture: {problem}") from None


def _decode_wide(data: bytes) -> UInt[np.ndarray, "H W c"]:
    """16-bit colour, as `encode_png` writes it."""
    width, height, _, kind = struct.unpack(">IIBB", data[16:26])
    position, body = 8, b""
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        name, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if data[position : position + 12 + length] != _chunk(name, content):
            raise ValueError("damaged picture: wrong checksum")
        body += content if name == b"IDAT" else b""
        position += 12 + length
    channels = _CHANNELS[kind]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + 2 * channels * width)
    rows = np.zeros((height, width, 2 * channels), np.uint8)
    above = rows[0]
    for row, line in zip(rows, lines, strict=True):
        values = line[1:].reshape(width, -1)
        if line[0] > 2:
            raise ValueError("this picture was written by another program")
        row[:] = (values, np.cumsum(values, 0, np.uint8), values + above)[line[0]]
        above = row
    return rows.reshape(height, width, channels, 2).view(">u2")[..., 0].astype(np.uint16)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
