"""Writes the packed form of a set, small enough to be carried to a GPU; see `packed` for what it holds."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from synthetic_data.archive import encode_npz, write_whole
from synthetic_data.packed import DEPTH_UNIT, KINDS
from synthetic_data.reader import DataSet, Person
from synthetic_data.record import View

if TYPE_CHECKING:
    from jaxtyping import Float

FILE_LIMIT = 16 * 2**20
"""Bytes of a file at most."""
_QUALITY = 90
"""Of WebP: about 1.2 kB per view of 128 x 128 pixels, 41 dB."""
_MARGIN = 2**20
"""Left for cameras and parameters within `FILE_LIMIT`."""


def write_pack(folder: Path, out: Path, *, limit: int = FILE_LIMIT, partial: bool = False) -> list[Path]:
    """Write ``pack-000.npz``... into `out`, none larger than `limit`, and return their paths.

    Raises:
        MaquetteError: the set is damaged, or not finished and `partial` does not allow that.
        ValueError: `out` holds other files of this kind.
    """
    data = DataSet.open(folder, partial=partial)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.glob("pack-*.npz")):
        raise ValueError(f"{out} already holds a packed set: choose another folder")
    paths: list[Path] = []
    waiting: list[dict[str, Any]] = []
    size = 0
    for item in _items(data):
        cost = len(item["blob"]) + sum(v.nbytes for v in item.values() if isinstance(v, np.ndarray))
        if waiting and size + cost > limit - min(_MARGIN, limit // 8):
            paths.append(_write(out, len(paths), waiting))
            waiting, size = [], 0
        waiting.append(item)
        size += cost
    if waiting:
        paths.append(_write(out, len(paths), waiting))
    return paths


def _items(data: DataSet) -> Iterator[dict[str, Any]]:
    for entry in data.entries():
        person = Person.read(entry, check=True)
        points = entry.decode("labels.npz", check=True)["points"]
        for take, said in enumerate(person.data["takes"]):
            views = [view for view in person.views if view.take == take]
            parts = [encode for view in views for encode in _pictures(person, view)]
            words = {"caption": said["caption"], "attributes": said["attributes"]}
            parts.append(zlib.compress(json.dumps(words, sort_keys=True).encode(), 9))
            yield {
                "blob": b"".join(len(part).to_bytes(4, "little") + part for part in parts),
                "kinds": np.array([[kind in _kinds(view) for kind in KINDS] for view in views]),
                "portrait": np.array([view.kind == "portrait" for view in views]),
                "index": np.int32(entry.index),
                "take": np.int32(take),
                "identity": np.array(said["spec"].get("identity", ()), np.float32),
                "expression": np.array(said["spec"].get("expression", ()), np.float32),
                "points": points[take].astype(np.float16),
                "world_to_camera": np.array([view.camera.world_to_camera for view in views], np.float32),
                "intrinsics": np.array([view.camera.intrinsics for view in views], np.float32),
            }


def _kinds(view: View) -> tuple[str, ...]:
    # A portrait is a condition: what lies behind it is never asked for.
    return KINDS[:2] if view.kind == "portrait" else KINDS


def _pictures(person: Person, view: View) -> Iterator[bytes]:
    rgba = person.picture(view, "rgba", check=True)
    alpha = rgba[..., 3:]
    yield _webp(np.rint(255 * _spread(rgba)).astype(np.uint8), quality=_QUALITY)
    yield _lossless(np.rint(255 * alpha))
    if view.kind != "portrait":
        steps = np.rint(person.picture(view, "depth", check=True) / DEPTH_UNIT).astype(np.uint16)
        yield _lossless(np.stack([steps >> 8, steps & 255, np.zeros_like(steps)], -1))
        yield _lossless(person.picture(view, "segmentation", check=True)[..., None])


def _spread(rgba: Float[np.ndarray, "H W 4"]) -> Float[np.ndarray, "H W 3"]:
    """Straight colours that go on beyond the mask: a ground would bleed into the person and cost bytes."""
    seen = rgba[..., 3] > 0.5
    if not seen.any():
        return rgba[..., :3]
    places: Any = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    nearest = rgba[places[0], places[1], :3]
    blurred = np.stack([ndimage.uniform_filter(nearest[..., c], 9, mode="nearest") for c in range(3)], -1)
    return np.where(seen[..., None], nearest, blurred)


def _lossless(values: np.ndarray) -> bytes:
    pixels = np.broadcast_to(values, (*values.shape[:2], 3)).astype(np.uint8)
    return _webp(pixels, lossless=True, quality=75)  # the last effort is ten times the time for 3 %


def _webp(pixels: np.ndarray, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", method=6, **options)
    return buffer.getvalue()


def _write(out: Path, number: int, items: list[dict[str, Any]]) -> Path:
    lengths = [len(item["blob"]) for item in items]
    arrays: dict[str, np.ndarray] = {
        "blob": np.frombuffer(b"".join(item["blob"] for item in items), np.uint8),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "kinds": items[0]["kinds"],
        "portrait": items[0]["portrait"],
    }
    for name in ("index", "take", "identity", "expression", "points", "world_to_camera", "intrinsics"):
        arrays[name] = np.stack([item[name] for item in items])
    path = out / f"pack-{number:03d}.npz"
    write_whole(path, encode_npz(arrays))
    return path
