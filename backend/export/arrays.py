"""The avatar as plain arrays in one uncompressed ``.npz``: exact, and readable with numpy and the standard library.

GLB splits vertices at texture seams and rounds textures to JPEG; this file keeps the surface in one piece and the
texture lossless, which is what the Blender extension imports and what ``maquette rig --like`` starts from.

Layout, format version 1 (head frame, metres; P parts, J bones; all numbers little-endian, no pickled objects):

=======================  =========  ==================================================================================
name                     type       meaning
=======================  =========  ==================================================================================
``format_version``       int32      1
``base_height``          float32    lift along +Z that puts the lowest point of the avatar at height 0
``bones/names``          str [J]    unique; parents come before their children
``bones/parents``        int32 [J]  -1 for a root
``bones/heads``          f32 [J,3]
``bones/tails``          f32 [J,3]
``parts``                str [P]    names of the parts, the head first; part number ``i`` has what follows
``i/vertices``           f32 [V,3]  neutral pose
``i/faces``              int32 [F,3]  counter-clockwise seen from outside
``i/uvs``                f32 [T,2]  u right, v up
``i/uv_faces``           int32 [F,3]  per corner of ``faces``, an index into ``uvs``
``i/joints``             int32 [V,4]  bones of each vertex
``i/weights``            f32 [V,4]  their weights, which sum to one
``i/key_names``          str [K]    shape keys that move this part, in ARKit's spelling
``i/key_starts``         int32 [K+1]  key ``k`` owns the rows ``key_starts[k]:key_starts[k+1]`` of the next two
``i/key_vertices``       int32 [N]  which vertices it moves
``i/key_offsets``        f32 [N,3]  by how much, at weight 1
``i/texture_png``        uint8 [B]  the bytes of a PNG file, sRGB, three or four channels
``i/roughness``          float32
``i/double_sided``       bool
``i/alpha_mask``         bool       texels with alpha below one half are holes
=======================  =========  ==================================================================================
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.export.files import encode_png, write_file
from backend.export.glb import base_height
from backend.meshing.mesh import Mesh
from backend.rigging.avatar import AvatarPart, Material, RiggedAvatar, Skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jaxtyping import Float, Int, UInt8

FORMAT_VERSION = 1

_LARGEST_TEXTURE = 8192  # texels per side; nothing of ours is larger, and a picture bomb is


def write_npz(avatar: RiggedAvatar, path: Path) -> None:
    """Write `avatar` in the layout above; the same avatar gives the same bytes.

    Raises:
        MaquetteError: DISK_FULL or OUTPUT_NOT_WRITABLE; nothing is left at `path` then.
    """
    write_file(path, npz_bytes(avatar))


def npz_bytes(avatar: RiggedAvatar) -> bytes:
    """The whole file of `avatar`."""
    arrays: dict[str, Any] = {
        "format_version": np.int32(FORMAT_VERSION),
        "base_height": np.float32(base_height(avatar)),
        "bones/names": np.array(avatar.skeleton.names, np.str_),
        "bones/parents": _int32(avatar.skeleton.parents),
        "bones/heads": _float32(avatar.skeleton.heads),
        "bones/tails": _float32(avatar.skeleton.tails),
        "parts": np.array([part.name for part in avatar.parts], np.str_),
    }
    for index, part in enumerate(avatar.parts):
        arrays |= {f"{index}/{name}": array for name, array in _part_arrays(part).items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)
            # Time and system would otherwise be those of the computer.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, member.getvalue())
    return stream.getvalue()


def read_npz(path: Path) -> RiggedAvatar:
    """The avatar in a file that `write_npz` wrote. Nothing in the file is trusted, and nothing pickled is read.

    Raises:
        MaquetteError: BAD_MESH when the file cannot be read, is not an avatar, or contradicts itself.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if (version := int(arrays["format_version"])) != FORMAT_VERSION:
                sentence = (
                    f"{path} is in format {version}, this version of Maquette reads {FORMAT_VERSION}: make it anew."
                )
                raise MaquetteError(ErrorCode.BAD_MESH, sentence, stage="export")
            skeleton = Skeleton(
                tuple(map(str, arrays["bones/names"])),
                arrays["bones/parents"],
                arrays["bones/heads"],
                arrays["bones/tails"],
            )
            parts = [_read_part(str(name), f"{i}/", arrays) for i, name in enumerate(arrays["parts"])]
    except MaquetteError:
        raise
    except FileNotFoundError as problem:
        sentence = f"There is no avatar at {path}: give the folder or the avatar.npz that Maquette wrote."
        raise MaquetteError(ErrorCode.BAD_MESH, sentence, stage="export") from problem
    except Exception as problem:  # whatever a damaged file makes zipfile, numpy or Pillow say
        sentence = f"{path} is not an avatar that Maquette wrote, or it is damaged: make it anew."
        raise MaquetteError(ErrorCode.BAD_MESH, sentence, stage="export", hint=str(problem)) from problem
    avatar = RiggedAvatar(parts, skeleton)
    if problem := _contradiction(avatar):
        sentence = f"{path} is damaged ({problem}): make it anew."
        raise MaquetteError(ErrorCode.BAD_MESH, sentence, stage="export")
    return avatar


def _part_arrays(part: AvatarPart) -> dict[str, Any]:
    moved = [np.flatnonzero(np.any(offsets, axis=1)) for offsets in part.shape_keys.values()]
    offsets = [_float32(part.shape_keys[name][rows]) for name, rows in zip(part.shape_keys, moved, strict=True)]
    return {
        "vertices": _float32(part.mesh.vertices),
        "faces": _int32(part.mesh.faces),
        "uvs": _float32(part.mesh.uvs),
        "uv_faces": _int32(part.mesh.uv_faces),
        "joints": _int32(part.joints),
        "weights": _float32(part.weights),
        "key_names": np.array(list(part.shape_keys), np.str_),
        "key_starts": _int32(np.cumsum([0, *map(len, moved)])),
        "key_vertices": _int32(np.concatenate([np.zeros(0), *moved])),
        "key_offsets": _float32(np.concatenate([np.zeros((0, 3)), *offsets])),
        "texture_png": np.frombuffer(encode_png(part.texture), np.uint8),
        "roughness": np.float32(part.material.roughness),
        "double_sided": np.bool_(part.material.double_sided),
        "alpha_mask": np.bool_(part.material.alpha_mask),
    }


def _read_part(name: str, prefix: str, arrays: Mapping[str, np.ndarray]) -> AvatarPart:
    def get(key: str) -> np.ndarray:
        return arrays[prefix + key]

    vertices = get("vertices")
    starts, key_vertices, key_offsets = get("key_starts"), get("key_vertices"), get("key_offsets")
    shape_keys = {}
    for key, start, stop in zip(map(str, get("key_names")), starts[:-1], starts[1:], strict=True):
        shape_keys[key] = np.zeros_like(vertices)
        shape_keys[key][key_vertices[start:stop]] = key_offsets[start:stop]
    return AvatarPart(
        name,
        Mesh(vertices, get("faces"), get("uvs"), get("uv_faces")),
        _decode_png(get("texture_png").tobytes()),
        Material(float(get("roughness")), bool(get("double_sided")), bool(get("alpha_mask"))),
        get("joints"),
        get("weights"),
        shape_keys,
    )


def _decode_png(data: bytes) -> UInt8[np.ndarray, "H W C"]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if max(image.size) > _LARGEST_TEXTURE or image.mode not in ("RGB", "RGBA"):
            raise ValueError(f"texture of {image.size[0]} x {image.size[1]} in mode {image.mode}")
        return np.asarray(image)


def _contradiction(avatar: RiggedAvatar) -> str:
    """What is wrong with the arrays of an avatar, or an empty string."""
    skeleton, bones = avatar.skeleton, len(avatar.skeleton.names)
    if not bones or not avatar.parts:
        return "it has no bones or no parts"
    if not (skeleton.heads.shape == skeleton.tails.shape == (bones, 3) and skeleton.parents.shape == (bones,)):
        return "the bones are incomplete"
    if (skeleton.parents >= np.arange(bones)).any() or (skeleton.parents < -1).any():
        return "a bone comes before its parent"
    for part in avatar.parts:
        count, mesh = len(part.mesh.vertices), part.mesh
        if mesh.vertices.shape != (count, 3) or mesh.uvs.shape != (len(mesh.uvs), 2):
            return f"part {part.name} has no proper vertices"
        if mesh.faces.shape != (len(mesh.faces), 3) or mesh.faces.shape != mesh.uv_faces.shape or not len(mesh.faces):
            return f"part {part.name} has no proper faces"
        if part.joints.shape != (count, 4) or part.weights.shape != (count, 4):
            return f"part {part.name} has no proper skin weights"
        for indices, limit in ((mesh.faces, count), (mesh.uv_faces, len(mesh.uvs)), (part.joints, bones)):
            if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= limit:
                return f"an index of part {part.name} is out of range"
        numbers = (mesh.vertices, mesh.uvs, part.weights, *part.shape_keys.values())
        if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers):
            return f"a number of part {part.name} is not finite"
    return ""


def _float32(array: Any) -> Float[np.ndarray, "*n"]:
    return np.ascontiguousarray(array, "<f4")


def _int32(array: Any) -> Int[np.ndarray, "*n"]:
    return np.ascontiguousarray(array, "<i4")
