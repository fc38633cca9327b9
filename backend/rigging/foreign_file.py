"""Reading heads that other programs wrote: GLB, glTF, OBJ, PLY and STL."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.api import ErrorCode
from backend.errors import MaquetteError
from backend.meshing.mesh import Mesh
from backend.rigging.avatar import Material

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int, UInt8

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
LARGEST_FILE = 500_000_000
MOST_FACES = 400_000
_LARGEST_TEXTURE = 4096
_OPPOSITE = -0.3
"""Cosine below which two vertices at the same place belong to different sheets, such as lips that touch."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """One object of a file. `names` are all that the file calls it; `mesh` is in the file's own axes and unit.

    `texture` is None when the file has no picture for it, `has_uvs` is false when it has no texture coordinates;
    `vertex_colours` in [0, 1] are there when the file paints vertices instead.
    """

    names: tuple[str, ...]
    mesh: Mesh
    has_uvs: bool
    texture: UInt8[np.ndarray, "H W C"] | None
    vertex_colours: Float[np.ndarray, "V 3"] | None
    material: Material | None


def bad_mesh(sentence: str, hint: str = "") -> MaquetteError:
    """The failure of everything that is wrong with a mesh."""
    return MaquetteError(ErrorCode.BAD_MESH, sentence, stage="mesh", hint=hint)


def read_pieces(path: Path) -> list[Piece]:
    """The objects of a mesh file, placed by its scene; vertices that the file doubles at seams are one again.

    Raises:
        MaquetteError: BAD_MESH when the file is missing, of another kind, damaged, empty or too large.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise bad_mesh(f"{path} is no mesh that Maquette reads: give a .glb, .gltf, .obj, .ply or .stl file.")
    if not path.is_file():
        raise bad_mesh(f"There is no mesh at {path}: give the file of a head.")
    if path.stat().st_size > LARGEST_FILE:
        raise bad_mesh(f"{path} is larger than 500 MB: decimate the head or shrink its textures first.")
    import trimesh

    # Some readers split objects only when asked; the others ignore the wish.
    options: dict[str, Any] = {"split_objects": True} if path.suffix.lower() == ".obj" else {}
    try:
        scene = trimesh.load_scene(path, process=False, **options)
        placed = [
            (node, name, scene.geometry[name], np.asarray(transform, np.float64))
            for node in sorted(scene.graph.nodes_geometry)
            for transform, name in [scene.graph[node]]
        ]
        pieces = [
            _piece(str(node), str(name), geometry, transform)
            for node, name, geometry, transform in placed
            if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces)
        ]
    except Exception as problem:  # whatever a damaged file makes trimesh, its readers and Pillow say
        raise bad_mesh(f"{path} cannot be read as a mesh: export the head again.", hint=str(problem)) from problem
    pieces = [piece for piece in pieces if len(piece.mesh.faces)]
    if not pieces:
        raise bad_mesh(f"{path} holds no triangles: export the head as a mesh with faces.")
    if not all(np.isfinite(piece.mesh.vertices).all() for piece in pieces):
        raise bad_mesh(f"{path} has vertices that are not numbers: clean the mesh and export it again.")
    count = sum(len(piece.mesh.faces) for piece in pieces)
    if count > MOST_FACES:
        raise bad_mesh(f"{path} has {count} triangles, {MOST_FACES} are the most: decimate the head first.")
    return pieces


def _piece(node: str, name: str, geometry: Any, transform: Float[np.ndarray, "4 4"]) -> Piece:
    vertices = np.asarray(geometry.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(geometry.faces, np.int64)
    if faces.max() >= len(vertices) or faces.min() < 0:
        raise ValueError("a triangle names a vertex that is not there")
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1].copy()
    material = getattr(geometry.visual, "material", None)
    texture = _texture(material)
    uvs = getattr(geometry.visual, "uv", None)
    has_uvs = uvs is not None and len(uvs) == len(vertices) and bool(np.isfinite(uvs).all()) and np.ptp(uvs) > 0
    uv_faces = faces
    uvs = np.asarray(uvs, np.float64) if has_uvs else np.zeros((len(vertices), 2))
    if uvs.min() < -1e-3 or uvs.max() > 1 + 1e-3:
        # Tiles beyond the first show the same picture; ours ends at its border.
        corners = uvs[uv_faces] - np.floor(uvs[uv_faces].mean(1, keepdims=True))
        uvs, uv_faces = corners.reshape(-1, 2), np.arange(faces.size).reshape(-1, 3)
    colours = None
    if geometry.visual.kind == "vertex":
        colours = np.asarray(geometry.visual.vertex_colors, np.float64)[:, :3] / 255
    kept, welded = weld(vertices, np.asarray(geometry.vertex_normals, np.float64))
    faces = welded[faces]
    real = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    names = tuple(dict.fromkeys(str(text) for text in (node, name, getattr(material, "name", None)) if text))
    mesh = Mesh(vertices[kept], faces[real], np.clip(uvs, 0, 1), uv_faces[real])
    return Piece(
        names, mesh, has_uvs, texture, None if colours is None else colours[kept], _material(material, texture)
    )


def weld(
    vertices: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " V"]]:
    """One vertex for all at the same place that face the same way: which are kept, and each vertex's new number."""
    size = max(float(np.ptp(vertices, axis=0).max()), 1e-30)
    place = np.unique(np.round(vertices / (size * 1e-7)), axis=0, return_inverse=True)[1].ravel()
    first = np.full(place.max() + 1, -1)
    order = np.arange(len(vertices))[::-1]
    first[place[order]] = order
    other_sheet = (normals * normals[first[place]]).sum(1) < _OPPOSITE
    _, kept, number = np.unique(2 * place + other_sheet, return_index=True, return_inverse=True)
    return kept, number.ravel()


def _texture(material: Any) -> UInt8[np.ndarray, "H W C"] | None:
    """The picture of a material, tinted as the file asks; None without one."""
    picture = getattr(material, "baseColorTexture", None)
    if picture is None:
        picture = getattr(material, "image", None)
    if picture is None:
        return None
    if max(picture.size) > _LARGEST_TEXTURE:
        picture.thumbnail((_LARGEST_TEXTURE, _LARGEST_TEXTURE))
    has_alpha = getattr(material, "alphaMode", None) == "MASK"
    texture = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"), np.uint8)
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None and (np.asarray(factor)[:3] < 255).any():
        tint = np.asarray(factor, np.float64)[:3] / 255
        texture = texture.copy()
        # The factor is linear light, the picture sRGB: this close to white a power does for both.
        texture[..., :3] = np.round(texture[..., :3] * tint ** (1 / 2.2))
    return texture


def _material(material: Any, texture: UInt8[np.ndarray, "H W C"] | None) -> Material | None:
    roughness = getattr(material, "roughnessFactor", None)
    if roughness is None:
        return None
    cut_out = texture is not None and texture.shape[2] == 4
    return Material(float(np.clip(roughness, 0, 1)), bool(getattr(material, "doubleSided", False)), cut_out)
