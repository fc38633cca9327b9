"""Reads the packed form of a set; needs NumPy, Pillow and PyTorch, and nothing of this package: carry the file along.

``pack-000.npz``, ``pack-001.npz``... hold one item per take of an identity:

=================== ===============================================================================================
blob, offsets       pictures and words one after the other; item i has ``offsets[i] ... offsets[i + 1]``, where each
                    part is (length, content), in the order of `KINDS` per view and then the words
kinds               (N, K) bool, which of `KINDS` each view has; the same for all items
index, take         (I,) int32
identity            (I, P) float32, parameters of the body model; expression (I, E)
points              (I, L, 3) float16, landmarks, metres, head frame
world_to_camera     (I, N, 4, 4) float32, OpenCV axes; intrinsics (I, N, 3, 3), pixels, centres at +0.5
portrait            (N,) bool, views that are no part of the rig
=================== ===============================================================================================

Colours are straight sRGB that go on beyond the mask, WebP; alpha and classes lossless WebP; depth lossless WebP whose
red and green are the high and the low byte of millimetres, 0 where there is nothing.
"""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

KINDS = ("rgb", "alpha", "depth", "segmentation")
DEPTH_UNIT = 1e-3
"""Metres per step."""


class PackedHeads(Dataset[dict[str, Any]]):
    """All items of a packed set, held in memory as they were stored, decoded when they are asked for.

    An item: ``rgb`` (N, 3, H, W) in [0, 1], straight, ``alpha`` (N, 1, H, W), ``depth`` (N, 1, H, W) metres,
    ``segmentation`` (N, 1, H, W) int64 — N views of the rig, or portraits, which have no depth and no classes; the
    cameras of these views; ``points``, ``identity``, ``expression``, ``index``, ``take``, ``caption``, ``attributes``.
    """

    def __init__(self, folder: Path, *, portraits: bool = False) -> None:
        paths = sorted(Path(folder).glob("pack-*.npz"))
        if not paths:
            raise ValueError(f"{folder} holds no packed set")
        self._files = [dict(np.load(path, allow_pickle=False)) for path in paths]
        self._places = [(file, row) for file in self._files for row in range(len(file["index"]))]
        self._portraits = portraits

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> dict[str, Any]:
        file, row = self._places[number]
        parts = _parts(file["blob"][file["offsets"][row] : file["offsets"][row + 1]].tobytes())
        pictures: dict[str, list[np.ndarray]] = {}
        for view, has in enumerate(file["kinds"]):
            for kind, there in zip(KINDS, has, strict=True):
                content = next(parts) if there else b""
                if there and file["portrait"][view] == self._portraits:
                    pictures.setdefault(kind, []).append(_decode(kind, content))
        chosen = file["portrait"] == self._portraits
        item: dict[str, Any] = {kind: torch.from_numpy(np.stack(some)) for kind, some in pictures.items()}
        for name in ("world_to_camera", "intrinsics"):
            item[name] = torch.from_numpy(file[name][row][chosen])
        for name in ("identity", "expression"):
            item[name] = torch.from_numpy(file[name][row])
        item["points"] = torch.from_numpy(file["points"][row].astype(np.float32))
        words = json.loads(zlib.decompress(next(parts)))
        return item | words | {"index": int(file["index"][row]), "take": int(file["take"][row])}


def _parts(data: bytes) -> Any:
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        yield data[position + 4 : position + 4 + length]
        position += 4 + length


def _decode(kind: str, content: bytes) -> np.ndarray:
    """(C, H, W), see `PackedHeads`."""
    with Image.open(io.BytesIO(content), formats=("WEBP",)) as picture:
        pixels = np.array(picture.convert("RGB"))
    if kind == "rgb":
        return pixels.transpose(2, 0, 1).astype(np.float32) / 255
    if kind == "depth":
        return ((pixels[None, ..., 0] * np.float32(256) + pixels[None, ..., 1]) * np.float32(DEPTH_UNIT)).astype(
            np.float32
        )
    values = pixels[None, ..., 0]
    return values.astype(np.float32) / 255 if kind == "alpha" else values.astype(np.int64)
