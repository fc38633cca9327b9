"""GLB 2.0: the avatar as one binary glTF file that Blender, three.js and game engines read.

Layout: one joint hierarchy, one skin, and beside it one skinned node per part with a mesh, a material and an embedded
texture. glTF keeps one texture coordinate per vertex, so vertices on a UV seam are doubled; normals are computed before
that and so stay smooth across the seam. Axes change from the head frame (+Z up, face along -Y) to glTF's (+Y up, face
along +Z), and the avatar is lifted so that its lowest point is at height 0; ``asset.extras.headFrameHeight`` is the
height in metres at which the origin of the head frame ends up.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.export.files import encode_jpeg, encode_png, write_file
from backend.meshing.mesh import vertex_normals
from backend.rigging.avatar import ARKIT_SHAPES

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

    from backend.rigging.avatar import AvatarPart, RiggedAvatar, Skeleton

_TO_GLTF = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])

# Numbers from the glTF 2.0 specification.
_COMPONENT_TYPES = {np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125}
_COMPONENT_TYPES[np.dtype(np.float32)] = 5126
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071

_STILL = 1e-6  # metres: a shape key that moves a vertex by less does not move it
_STEADY = 1e-3  # the same for the direction of its normal


def write_glb(avatar: RiggedAvatar, path: Path) -> None:
    """Write `avatar` as a GLB 2.0 file; the same avatar gives the same bytes.

    Raises:
        MaquetteError: DISK_FULL or OUTPUT_NOT_WRITABLE; nothing is left at `path` then.
    """
    write_file(path, glb_bytes(avatar))


def base_height(avatar: RiggedAvatar) -> float:
    """How far the avatar must be lifted along +Z of the head frame to stand on height 0, metres."""
    return -float(min(part.mesh.vertices[part.mesh.faces, 2].min() for part in avatar.parts))


def glb_bytes(avatar: RiggedAvatar) -> bytes:
    """The whole GLB file of `avatar`."""
    builder = _Builder()
    height = base_height(avatar)
    lift = np.array([0.0, 0.0, height])
    joint_count = len(avatar.skeleton.names)
    rests = _rest_matrices(avatar.skeleton, lift)
    nodes = _joint_nodes(avatar.skeleton, rests)
    inverse_binds = np.linalg.inv(rests).transpose(0, 2, 1).reshape(-1, 16)  # glTF matrices are column-major
    inverse_binds[:, [3, 7, 11, 15]] = 0, 0, 0, 1  # exactly, whatever the inversion rounded
    roots = [joint for joint, parent in enumerate(avatar.skeleton.parents) if parent < 0]
    armature = len(nodes)
    nodes.append({"name": "Armature", "children": roots})

    meshes, materials, textures, images = [], [], [], []
    for index, part in enumerate(avatar.parts):
        nodes.append({"name": part.name, "mesh": index, "skin": 0})
        meshes.append(_mesh(builder, part, lift, material=index, all_shape_keys=index == 0))
        materials.append(_material(part, texture=index))
        textures.append({"sampler": 0, "source": index})
        images.append(_image(builder, part))

    skin = {
        "name": "Armature",
        "skeleton": armature,
        "joints": list(range(joint_count)),
        "inverseBindMatrices": builder.accessor(inverse_binds.astype(np.float32), "MAT4"),
    }
    sampler = {
        "magFilter": _LINEAR,
        "minFilter": _LINEAR_MIPMAP_LINEAR,
        "wrapS": _CLAMP_TO_EDGE,
        "wrapT": _CLAMP_TO_EDGE,
    }
    return builder.finish(
        {
            "asset": {"version": "2.0", "generator": "Maquette", "extras": {"headFrameHeight": height}},
            "scene": 0,
            # A skinned mesh is placed by its joints alone, so it stands at the root of the scene.
            "scenes": [{"name": "Avatar", "nodes": list(range(armature, len(nodes)))}],
            "nodes": nodes,
            "skins": [skin],
            "meshes": meshes,
            "materials": materials,
            "textures": textures,
            "images": images,
            "samplers": [sampler],
        }
    )


class _Builder:
    """The binary chunk and the tables that point into it."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes at the next multiple of four; returns the number of their buffer view."""
        self.blob.extend(b"\0" * (-len(self.blob) % 4))
        view = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data)}
        self.views.append(view if target is None else view | {"target": target})
        self.blob.extend(data)
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, kind: str, *, target: int | None = None, bounds: bool = False) -> int:
        """Append a whole array; returns the number of its accessor. `bounds` adds the smallest and largest values."""
        array = np.ascontiguousarray(array)
        accessor: dict[str, Any] = {"bufferView": self.view(array.tobytes(), target)}
        accessor |= {"componentType": _COMPONENT_TYPES[array.dtype], "count": len(array), "type": kind}
        return self._append(accessor | (_bounds(array) if bounds else {}))

    def displacement(self, offsets: Float[np.ndarray, "N 3"], threshold: float, *, bounds: bool = False) -> int:
        """Append the offsets of a morph target, as a sparse accessor where that is smaller."""
        offsets = offsets.astype(np.float32)
        moved = np.flatnonzero(np.abs(offsets).max(1) > threshold)
        index_type = np.uint16 if len(offsets) <= 2**16 else np.uint32
        if len(moved) * (12 + np.dtype(index_type).itemsize) >= offsets.nbytes:
            return self.accessor(offsets, "VEC3", target=_ARRAY_BUFFER, bounds=bounds)
        kept = np.zeros_like(offsets)
        kept[moved] = offsets[moved]
        accessor: dict[str, Any] = {"componentType": 5126, "count": len(offsets), "type": "VEC3"}
        if len(moved):  # without even sparse values an accessor is all zeros
            accessor["sparse"] = {
                "count": len(moved),
                "indices": {
                    "bufferView": self.view(moved.astype(index_type).tobytes()),
                    "componentType": _COMPONENT_TYPES[np.dtype(index_type)],
                },
                "values": {"bufferView": self.view(offsets[moved].tobytes())},
            }
        return self._append(accessor | (_bounds(kept) if bounds else {}))

    def finish(self, document: dict[str, Any]) -> bytes:
        """The file: header, JSON chunk, binary chunk."""
        self.blob.extend(b"\0" * (-len(self.blob) % 4))
        document |= {
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.blob)}],
        }
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(self.blob))
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(self.blob), b"BIN\0")
        return header + chunks + bytes(self.blob)

    def _append(self, accessor: dict[str, Any]) -> int:
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _bounds(array: np.ndarray) -> dict[str, list[float]]:
    return {"min": array.min(0).tolist(), "max": array.max(0).tolist()}


def _rest_matrices(skeleton: Skeleton, lift: Float[np.ndarray, "3"]) -> Float[np.ndarray, "J 4 4"]:
    """Joint to glTF world: +Y runs along the bone, which is how Blender's importer finds its direction."""
    matrices = np.tile(np.eye(4), (len(skeleton.names), 1, 1))
    for joint, (head, tail) in enumerate(zip(skeleton.heads, skeleton.tails, strict=True)):
        matrices[joint, :3, :3] = _TO_GLTF @ _along(tail - head)
        matrices[joint, :3, 3] = _TO_GLTF @ (head + lift)
    return matrices


def _along(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that takes +Y to `direction`: a Blender bone with roll 0. Up when it has no length."""
    length = np.linalg.norm(direction)
    x, y, z = direction / length if length > 1e-9 else (0.0, 0.0, 1.0)
    if y < -1 + 1e-9:
        return np.diag([-1.0, -1.0, 1.0])
    # Rodrigues' formula for the axis (+Y) x direction.
    return np.array(
        [
            [1 - x * x / (1 + y), x, -x * z / (1 + y)],
            [-x, y, -z],
            [-x * z / (1 + y), z, 1 - z * z / (1 + y)],
        ]
    )


def _joint_nodes(skeleton: Skeleton, rests: Float[np.ndarray, "J 4 4"]) -> list[dict[str, Any]]:
    nodes = []
    for joint, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents, strict=True)):
        local = rests[joint] if parent < 0 else np.linalg.inv(rests[parent]) @ rests[joint]
        node: dict[str, Any] = {"name": name, "translation": local[:3, 3].tolist()}
        quaternion = _quaternion(local[:3, :3])
        if abs(quaternion[3]) < 1 - 1e-12:
            node["rotation"] = quaternion.tolist()
        children = [int(child) for child in np.flatnonzero(skeleton.parents == joint)]
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat(canonical=True)  # x, y, z, w as in glTF


def _mesh(
    builder: _Builder, part: AvatarPart, lift: Float[np.ndarray, "3"], *, material: int, all_shape_keys: bool
) -> dict[str, Any]:
    """One glTF mesh; with `all_shape_keys` it has every ARKit name, those that do not move it too."""
    mesh = part.mesh
    source, uv_source, triangles = _split_at_seams(mesh.faces, mesh.uv_faces)
    rest = mesh.vertices.astype(np.float64)
    normals = _unit(vertex_normals(rest, mesh.faces) @ _TO_GLTF.T)
    uvs = mesh.uvs[uv_source] * [1, -1] + [0, 1]  # glTF's v points down
    joints, weights = _tidy_weights(part.joints[source], part.weights[source])

    def floats(array: np.ndarray, kind: str, *, bounds: bool = False) -> int:
        return builder.accessor(array.astype(np.float32), kind, target=_ARRAY_BUFFER, bounds=bounds)

    attributes = {
        "POSITION": floats((rest + lift)[source] @ _TO_GLTF.T, "VEC3", bounds=True),
        "NORMAL": floats(normals[source], "VEC3"),
        "TEXCOORD_0": floats(uvs, "VEC2"),
        "JOINTS_0": builder.accessor(joints, "VEC4", target=_ARRAY_BUFFER),
        "WEIGHTS_0": floats(weights, "VEC4"),
    }
    index_type = np.uint16 if len(source) < 2**16 else np.uint32  # the largest number of a type is reserved
    indices = builder.accessor(triangles.ravel().astype(index_type), "SCALAR", target=_ELEMENT_ARRAY_BUFFER)
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": material}

    names = [name for name in ARKIT_SHAPES if all_shape_keys or name in part.shape_keys]
    if not names:
        return {"name": part.name, "primitives": [primitive]}
    primitive["targets"] = []
    for name in names:
        offsets = np.asarray(part.shape_keys.get(name, np.zeros_like(rest)), np.float64)
        turned = _unit(vertex_normals(rest + offsets, mesh.faces) @ _TO_GLTF.T) - normals
        position = builder.displacement((offsets @ _TO_GLTF.T)[source], _STILL, bounds=True)
        primitive["targets"].append({"POSITION": position, "NORMAL": builder.displacement(turned[source], _STEADY)})
    weights_at_rest = [0.0] * len(names)
    return {
        "name": part.name,
        "primitives": [primitive],
        "weights": weights_at_rest,
        "extras": {"targetNames": names},  # where Blender, three.js and others look for the names
    }


def _split_at_seams(
    faces: Int[np.ndarray, "F 3"], uv_faces: Int[np.ndarray, "F 3"]
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"], Int[np.ndarray, "F 3"]]:
    """One glTF vertex per pair of vertex and texture coordinate: its vertex, its coordinate, and the triangles."""
    real = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces, uv_faces = faces[real].astype(np.int64), uv_faces[real].astype(np.int64)
    stride = int(uv_faces.max()) + 1
    pairs, triangles = np.unique(faces * stride + uv_faces, return_inverse=True)
    return pairs // stride, pairs % stride, triangles.reshape(-1, 3)


def _unit(vectors: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Vectors of length one; those without a direction point up, because glTF knows no missing normal."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), [0.0, 1.0, 0.0])


def _tidy_weights(
    joints: Int[np.ndarray, "N 4"], weights: Float[np.ndarray, "N 4"]
) -> tuple[Int[np.ndarray, "N 4"], Float[np.ndarray, "N 4"]]:
    """What glTF asks for: weights that sum to one, no joint twice in a vertex, joint 0 where the weight is zero."""
    joints, weights = joints.copy(), np.clip(np.asarray(weights, np.float64), 0, None)
    for first in range(3):
        for second in range(first + 1, 4):
            same = joints[:, first] == joints[:, second]
            weights[same, first] += weights[same, second]
            weights[same, second] = 0
    weights /= weights.sum(1, keepdims=True)
    joints[weights.astype(np.float32) == 0] = 0
    return joints.astype(np.uint8 if joints.max() < 2**8 else np.uint16), weights


def _material(part: AvatarPart, *, texture: int) -> dict[str, Any]:
    surface = {"baseColorTexture": {"index": texture}, "metallicFactor": 0, "roughnessFactor": part.material.roughness}
    material: dict[str, Any] = {"name": part.name, "pbrMetallicRoughness": surface}
    if part.material.alpha_mask:
        material["alphaMode"] = "MASK"  # cut off below one half, glTF's default
    if part.material.double_sided:
        material["doubleSided"] = True
    return material


def _image(builder: _Builder, part: AvatarPart) -> dict[str, Any]:
    """The texture as JPEG, or as PNG where its alpha is needed."""
    if part.material.alpha_mask:
        return {"name": part.name, "mimeType": "image/png", "bufferView": builder.view(encode_png(part.texture))}
    jpeg = encode_jpeg(part.texture[..., :3])
    return {"name": part.name, "mimeType": "image/jpeg", "bufferView": builder.view(jpeg)}
