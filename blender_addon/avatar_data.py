"""Reads the `avatar.npz` of an avatar folder: numpy only, so that it can run in a thread beside Blender.

The layout (format version 1) is described in the backend's `export/arrays.py`. Head frame: metres, +Z up, the face
looks along -Y, +X is the character's left. Nothing in the file is trusted and nothing pickled is read: what
`read_avatar` returns can be handed to Blender without further checks.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT_VERSION = 1
LARGEST_TEXTURE = 8192  # texels per side; nothing of ours is larger, and a picture bomb is
MOST_VERTICES = 4_000_000  # of all parts; a hundred times what the backend makes

_PNG_START = b"\x89PNG\r\n\x1a\n"


class AvatarFileError(Exception):
    """The file is missing, damaged or of another version; the text is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class PartData:
    """One object: V vertices, F triangles, T texture coordinates, K shape keys."""

    name: str
    vertices: np.ndarray  # float32 [V, 3], metres, neutral pose
    faces: np.ndarray  # int32 [F, 3]
    corner_uvs: np.ndarray  # float32 [3 F, 2], one per corner of a face
    groups: list[tuple[int, list[int], float]]  # (bone, vertices, weight): which vertices a bone moves how much
    keys: dict[str, tuple[np.ndarray, np.ndarray]]  # name: (vertices [n], offsets [n, 3] in metres at weight 1)
    texture_png: bytes
    texture_size: tuple[int, int]  # width, height
    roughness: float
    double_sided: bool
    alpha_mask: bool

    def key_coordinates(self, name: str) -> np.ndarray:
        """Where the vertices are at weight 1 of a key: float32 [V, 3], metres."""
        rows, offsets = self.keys[name]
        moved = self.vertices.copy()
        moved[rows] += offsets
        return moved


@dataclasses.dataclass(frozen=True)
class AvatarData:
    """A whole avatar; `parts[0]` is the head, parents of bones come before their children."""

    base_height: float  # metres along +Z that put the lowest point on height 0
    bone_names: list[str]
    bone_parents: list[int]  # -1 for a root
    bone_heads: np.ndarray  # float32 [J, 3]
    bone_tails: np.ndarray  # float32 [J, 3]
    parts: list[PartData]
    report: dict[str, Any]  # report.json beside the file, or empty


def read_avatar(path: Path) -> AvatarData:
    """The avatar in the file `path`. Raises `AvatarFileError` when it cannot be used."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if (version := int(arrays["format_version"])) != FORMAT_VERSION:
                raise AvatarFileError(
                    f"{path.name} has format {version}, this add-on reads {FORMAT_VERSION}: "
                    "update the add-on or make the avatar anew."
                )
            return _avatar(arrays, _report_beside(path))
    except AvatarFileError:
        raise
    except FileNotFoundError:
        raise AvatarFileError(f"There is no avatar at {path}.") from None
    except Exception as problem:  # whatever a damaged file makes zipfile and numpy say
        raise AvatarFileError(f"{path} is not an avatar of Maquette, or it is damaged: make it anew.") from problem


def _avatar(arrays: Mapping[str, np.ndarray], report: dict[str, Any]) -> AvatarData:
    names = [str(name) for name in arrays["bones/names"]]
    parents = [int(parent) for parent in arrays["bones/parents"]]
    heads, tails = (_floats(arrays[f"bones/{end}"], (len(names), 3)) for end in ("heads", "tails"))
    _require(len(names) > 0 and len(set(names)) == len(names), "bones without unique names")
    _require(len(parents) == len(names) and all(-1 <= p < i for i, p in enumerate(parents)), "a bone before its parent")
    part_names = [str(name) for name in arrays["parts"]]
    _require(bool(part_names), "no parts")
    vertices = 0
    parts = []
    for index, name in enumerate(part_names):
        parts.append(_part(name, f"{index}/", arrays, len(names)))
        vertices += len(parts[-1].vertices)
        _require(vertices <= MOST_VERTICES, "too many vertices")
    base_height = float(arrays["base_height"])
    _require(bool(np.isfinite(base_height)), "a height that is not finite")
    return AvatarData(base_height, names, parents, heads, tails, parts, report)


def _part(name: str, prefix: str, arrays: Mapping[str, np.ndarray], bones: int) -> PartData:
    vertices = _floats(arrays[f"{prefix}vertices"], (None, 3))
    faces = _indices(arrays[f"{prefix}faces"], (None, 3), len(vertices))
    uvs = _floats(arrays[f"{prefix}uvs"], (None, 2))
    uv_faces = _indices(arrays[f"{prefix}uv_faces"], (len(faces), 3), len(uvs))
    sorted_faces = np.sort(faces, axis=1)
    _require(len(faces) > 0 and bool((np.diff(sorted_faces, axis=1) > 0).all()), "a face that uses a vertex twice")
    joints = _indices(arrays[f"{prefix}joints"], (len(vertices), 4), bones)
    weights = _floats(arrays[f"{prefix}weights"], (len(vertices), 4))
    png = arrays[f"{prefix}texture_png"].tobytes()
    return PartData(
        name,
        vertices,
        faces,
        np.ascontiguousarray(uvs[uv_faces.ravel()]),
        _weight_groups(joints, weights),
        _shape_keys(prefix, arrays, len(vertices)),
        png,
        _png_size(png),
        min(max(float(arrays[f"{prefix}roughness"]), 0.0), 1.0),
        bool(arrays[f"{prefix}double_sided"]),
        bool(arrays[f"{prefix}alpha_mask"]),
    )


def _shape_keys(prefix: str, arrays: Mapping[str, np.ndarray], count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = [str(name) for name in arrays[f"{prefix}key_names"]]
    starts = arrays[f"{prefix}key_starts"]
    rows = _indices(arrays[f"{prefix}key_vertices"], (None,), max(count, 1))
    offsets = _floats(arrays[f"{prefix}key_offsets"], (len(rows), 3))
    _require(starts.shape == (len(names) + 1,) and "Basis" not in names, "shape keys that do not fit")
    _require(len(set(names)) == len(names), "two shape keys of one name")
    _require(int(starts[0]) == 0 and int(starts[-1]) == len(rows) and bool((np.diff(starts) >= 0).all()), "key rows")
    spans = zip(names, starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    return {name: (rows[start:stop], offsets[start:stop]) for name, start, stop in spans}


def _weight_groups(joints: np.ndarray, weights: np.ndarray) -> list[tuple[int, list[int], float]]:
    """Vertices of one bone with exactly one weight together: Blender takes such a batch in one call."""
    vertices, columns = np.nonzero(weights > 0)
    bones, values = joints[vertices, columns], weights[vertices, columns]
    order = np.lexsort((vertices, values, bones))
    bones, values, vertices = bones[order], values[order], vertices[order]
    borders = np.flatnonzero((np.diff(bones) != 0) | (np.diff(values) != 0)) + 1
    starts, stops = [0, *borders.tolist()], [*borders.tolist(), len(bones)]
    if not len(bones):
        return []
    return [
        (int(bones[start]), vertices[start:stop].tolist(), float(values[start]))
        for start, stop in zip(starts, stops, strict=True)
    ]


def _png_size(data: bytes) -> tuple[int, int]:
    _require(data[:8] == _PNG_START and data[12:16] == b"IHDR", "a texture that is no PNG")
    width, height = struct.unpack(">II", data[16:24])
    _require(0 < width <= LARGEST_TEXTURE and 0 < height <= LARGEST_TEXTURE, "a texture that is too large")
    return width, height


def _report_beside(path: Path) -> dict[str, Any]:
    try:
        report = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _floats(array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    _require(array.dtype.kind == "f" and _fits(array, shape) and bool(np.isfinite(array).all()), "a number")
    return np.ascontiguousarray(array, np.float32)


def _indices(array: np.ndarray, shape: tuple[int | None, ...], limit: int) -> np.ndarray:
    _require(array.dtype.kind in "iu" and _fits(array, shape), "an index")
    _require(not array.size or (int(array.min()) >= 0 and int(array.max()) < limit), "an index out of range")
    return np.ascontiguousarray(array, np.int32)


def _fits(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    return array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)  # `read_avatar` turns it into a sentence
