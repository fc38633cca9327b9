"""The rig of an avatar for a head from elsewhere: edited by an artist, or a plain level set.

What the file brings as a part of its own, eyes or teeth or hair, gets the rig of the part of the avatar that it stands
for, known by its name or by its place; the head gets the head's; anything else, glasses say, rides along. Eyeballs,
lashes, teeth and tongue that the file lacks are taken from the avatar where the mesh has an opening for them: behind
closed lids or in a fused mouth nobody would ever see them, and they would only pierce the skin.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from backend.export.arrays import read_npz
from backend.export.glb import base_height
from backend.meshing.hidden import DepthMaps, visible_faces
from backend.meshing.levelset import compact, face_components
from backend.meshing.mesh import Mesh
from backend.meshing.shells import unwrap
from backend.rigging.assemble import rigged_part
from backend.rigging.attach import Attachment
from backend.rigging.avatar import AvatarPart, Material, RiggedAvatar
from backend.rigging.borrowed_texture import borrow_texture, paint_vertices
from backend.rigging.carried import RigSource, carry_rig
from backend.rigging.foreign_file import Piece, bad_mesh, read_pieces
from backend.rigging.placement import Cloud, Placement, find_placement

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Bool, Float

_EYES, _LASHES, _MOUTH = ("eye_left", "eye_right"), ("lashes",), ("teeth_upper", "teeth_lower", "tongue")
_WORST_MISFIT = 0.006
"""Metres; a mesh that lies no better than this on the avatar is not its head."""
_SAME_PLACE = 0.002
_SOCKET = 0.004
_PAINTED = 1024
_MOST_UNWRAPPED = 160_000
"""Triangles that can be unwrapped in minutes."""
_RIDE = 0.015


@dataclasses.dataclass
class _Placed:
    """A piece in the head frame and the name of the part that it stands for, ``""`` when there is none."""

    piece: Piece
    mesh: Mesh
    stands_for: str


def rig_mesh(mesh_path: Path, like: Path) -> RiggedAvatar:
    """Bones, weights and shape keys of the avatar in the folder `like` for the head in the file `mesh_path`.

    Axes, unit and offset of the file are found by laying it onto the avatar. Texture coordinates and pictures of the
    file are kept; what has none is unwrapped and takes its colours from the avatar.

    Raises:
        MaquetteError: BAD_MESH when one of the two cannot be read, or the mesh does not lie on the avatar's head.
    """
    avatar = read_npz(like / "avatar.npz" if like.is_dir() else like)
    pieces = read_pieces(mesh_path)
    placement = place(pieces, avatar)
    if placement is None or placement.misfit > _WORST_MISFIT:
        raise bad_mesh(
            f"{mesh_path} does not lie on the head of {like}: give a head of about the avatar's shape and size."
        )
    placed = _identify([_moved(piece, placement) for piece in pieces], avatar)
    head = next(item for item in placed if item.stands_for == "head")
    brought = {item.stands_for for item in placed}
    openings = _Openings.of(head.mesh, avatar)
    added = [part for part in avatar.parts[1:] if part.name not in brought and openings.shows(part.name)]
    rigged = [_rig_head(head, avatar, brought | {part.name for part in added}, openings)]
    parts = {part.name: part for part in avatar.parts}
    for item in placed:
        if item is head:
            continue
        source = parts.get(item.stands_for)
        rigged.append(_ride_along(item, avatar) if source is None else _rig_part(item, source, avatar))
    order = {name: k for k, name in enumerate(parts)}
    everything = sorted([*rigged, *added], key=lambda part: order.get(part.name, len(order)))
    return RiggedAvatar(_uniquely_named(everything), avatar.skeleton)


def place(pieces: list[Piece], avatar: RiggedAvatar) -> Placement | None:
    """How the file lies in the head frame; None when no usual unit gives it the size of a head."""
    head = avatar.parts[0].mesh
    spread = Cloud.of(head.vertices.astype(np.float64), head.faces, 6000).points
    eyes = avatar.skeleton.heads[[avatar.skeleton.names.index(bone) for bone in _eye_bones(avatar)]].mean(0)
    offset = spread - eyes
    in_face = (offset[:, 1] < 0.02) & (np.abs(offset[:, 0]) < 0.07) & (offset[:, 2] > -0.10) & (offset[:, 2] < 0.03)
    if not in_face.any():
        return None
    known = Cloud.of(*_joined([part.mesh for part in avatar.parts]), 20_000)
    foreign = Cloud.of(*_joined([piece.mesh for piece in pieces]), 5000)
    return find_placement(foreign, known, spread[in_face], base_height(avatar))


def _eye_bones(avatar: RiggedAvatar) -> list[str]:
    found = [name for name in avatar.skeleton.names if "eye" in name.lower()]
    return found or [avatar.skeleton.names[-1]]


def _joined(meshes: list[Mesh]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return np.concatenate([mesh.vertices.astype(np.float64) for mesh in meshes]), np.concatenate(faces)


def _moved(piece: Piece, placement: Placement) -> _Placed:
    return _Placed(piece, dataclasses.replace(piece.mesh, vertices=placement.apply(piece.mesh.vertices)), "")


def _identify(placed: list[_Placed], avatar: RiggedAvatar) -> list[_Placed]:
    """Give every piece the part it stands for, by name or else by place; exactly one is the head, and comes first."""
    names = sorted((part.name for part in avatar.parts), key=len, reverse=True)
    for item in placed:
        item.stands_for = next((n for text in item.piece.names for n in names if _is_called(text, n)), "")
    if not any(item.stands_for == "head" for item in placed):
        placed = [half for item in placed for half in ([item] if item.stands_for else _split_by_place(item, avatar))]
        rest = [item for item in placed if not item.stands_for]
        if not rest:
            raise bad_mesh("The mesh has parts of a head but no head: export the head itself too.")
        max(rest, key=lambda item: _area(item.mesh)).stands_for = "head"
    heads = [item for item in placed if item.stands_for == "head"]
    heads.sort(key=lambda item: -_area(item.mesh))
    return [*heads, *(item for item in placed if item.stands_for != "head")]


def _is_called(text: str, name: str) -> bool:
    """Whether a program made `text` from the name of a part: ``eye_left``, ``eye_left.001``, ``Eye_Left_skin``."""
    return re.match(rf"{re.escape(name.lower())}($|[^a-z])", text.lower()) is not None


def _split_by_place(item: _Placed, avatar: RiggedAvatar) -> list[_Placed]:
    """Connected pieces that lie on one of the avatar's parts become that part; the rest stays one."""
    vertices, faces = item.mesh.vertices, item.mesh.faces
    label = face_components(faces, len(vertices))
    on_corner = np.repeat(label, 3)
    share = np.bincount(on_corner)
    distance = np.stack([KDTree(part.mesh.vertices).query(vertices)[0][faces.ravel()] for part in avatar.parts])
    typical = np.stack([np.bincount(on_corner, row) for row in distance]) / np.maximum(share, 1)
    owner = typical.argmin(0)
    owner[typical.min(0) > _SAME_PLACE] = 0
    for k, part in enumerate(avatar.parts):
        chosen = owner[label] == k
        # Crumbs inside of an eyeball are no eyeball: the part must be there as a whole.
        if k and chosen.any():
            there = KDTree(vertices[np.unique(faces[chosen])]).query(part.mesh.vertices)[0]
            owner[owner == k] = k if np.median(there) < 2 * _SAME_PLACE else 0
    found = []
    for k, part in enumerate(avatar.parts):
        chosen = owner[label] == k
        if chosen.any():
            name = part.name if k else ""
            found.append(_Placed(_piece_subset(item.piece, chosen), _subset(item.mesh, chosen), name))
    return found


def _subset(mesh: Mesh, chosen: Bool[np.ndarray, " F"]) -> Mesh:
    vertices, faces = compact(mesh.vertices, mesh.faces[chosen])
    uvs, uv_faces = compact(mesh.uvs, mesh.uv_faces[chosen])
    return Mesh(vertices, faces, uvs, uv_faces)


def _piece_subset(piece: Piece, chosen: Bool[np.ndarray, " F"]) -> Piece:
    colours = piece.vertex_colours
    if colours is not None:
        colours = compact(colours, piece.mesh.faces[chosen])[0]
    return dataclasses.replace(piece, mesh=_subset(piece.mesh, chosen), vertex_colours=colours)


def _area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())


@dataclasses.dataclass(frozen=True)
class _Openings:
    """Whether a head shows its eyes, and whether its mouth can open."""

    eyes: bool
    mouth: bool

    @classmethod
    def of(cls, head: Mesh, avatar: RiggedAvatar) -> _Openings:
        parts = {part.name: part.mesh.vertices for part in avatar.parts}
        eyes = all(name in parts for name in _EYES) and all(_shows(parts[name], head) for name in _EYES)
        mouth = "teeth_lower" in parts and _has_lining(head, avatar.parts[0].mesh, parts["teeth_lower"])
        return cls(eyes, mouth)

    def shows(self, name: str) -> bool:
        """Whether this part of the avatar belongs behind such a head."""
        return (self.eyes and name in _EYES + _LASHES) or (self.mouth and name in _MOUTH)


def _shows(part: Float[np.ndarray, "n 3"], head: Mesh) -> bool:
    """Whether a part is seen through an opening of the head, by a good share of its front."""
    front = part[part[:, 1] < np.quantile(part[:, 1], 0.3)]
    # Under a fused skin the eyes are at the surface too, but in an opening nothing is right behind their front.
    maps = DepthMaps.of(head.vertices, head.faces, along=(0, 1, 0))
    return bool((maps.behind(front) < -_SOCKET).mean() > 0.25)


def _has_lining(head: Mesh, known: Mesh, teeth: Float[np.ndarray, "n 3"]) -> bool:
    """Whether the head has the lining of a mouth where the known head has it: behind the lips, hidden, near teeth."""
    hidden = np.setdiff1d(known.faces, known.faces[visible_faces(known.vertices, known.faces)])
    lining = known.vertices[hidden]
    lining = lining[KDTree(teeth).query(lining)[0] < 0.02]
    if len(lining) < 20:
        return False
    return float(np.median(KDTree(head.vertices).query(lining)[0])) < 0.004


def _rig_head(item: _Placed, avatar: RiggedAvatar, separate: set[str], openings: _Openings) -> AvatarPart:
    """The head with the rig of the avatar's head; `separate` parts are objects of their own."""
    known = avatar.parts[0]
    faces = known.mesh.faces
    if not openings.mouth:
        faces = faces[visible_faces(known.mesh.vertices, faces)]
    eyes = [] if openings.eyes else [part for part in avatar.parts if part.name in _EYES]
    source = _source([dataclasses.replace(known, mesh=dataclasses.replace(known.mesh, faces=faces)), *eyes], avatar)
    if eyes:
        is_eye = np.arange(len(source.faces)) >= len(faces)
        source = dataclasses.replace(source, eye_faces=is_eye)
    # What the mesh has in one piece with the head, hair on a level set say, also takes its colour from there.
    lenders = [part for part in avatar.parts if part.name not in separate - {"head"}]
    fused = not (openings.eyes and openings.mouth)
    return _carried(item, source, _shown(lenders) if fused else lenders, known.material, fused=fused)


def _shown(parts: list[AvatarPart]) -> list[AvatarPart]:
    """Parts without what cannot be seen from outside: teeth behind lips, skin under hair."""
    shown = visible_faces(*_joined([part.mesh for part in parts]))
    starts = np.cumsum([0, *(len(part.mesh.faces) for part in parts)])
    return [
        dataclasses.replace(part, mesh=_subset(part.mesh, chosen))
        for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True)
        for chosen in [shown[start:end]]
        if chosen.any()
    ]


def _rig_part(item: _Placed, part: AvatarPart, avatar: RiggedAvatar) -> AvatarPart:
    return _carried(item, _source([part], avatar), [part], part.material, fused=False)


def _ride_along(item: _Placed, avatar: RiggedAvatar) -> AvatarPart:
    """A part that the avatar lacks follows the nearest skin, the less the further off it is."""
    head = avatar.parts[0]
    source = _source([head], avatar)
    outer = np.unique(head.mesh.faces[visible_faces(head.mesh.vertices, head.mesh.faces)])
    follows = Attachment.nearest(item.mesh.vertices, head.mesh.vertices, outer, count=12, reach=_RIDE)
    mesh, texture, material = _appearance(item, avatar.parts, Material(double_sided=True))
    name = item.piece.names[0] if item.piece.names else "part"
    return rigged_part(name, mesh, texture, material, follows, source.shape_keys, source.skin_weights)


def _source(parts: list[AvatarPart], avatar: RiggedAvatar) -> RigSource:
    vertices, faces = _joined([part.mesh for part in parts])
    names = dict.fromkeys(key for part in parts for key in part.shape_keys)
    keys = {
        name: np.concatenate([part.shape_keys.get(name, np.zeros_like(part.mesh.vertices)) for part in parts])
        for name in names
    }
    weights = np.zeros((len(vertices), len(avatar.skeleton.names)))
    joints = np.concatenate([part.joints for part in parts])
    np.add.at(weights, (np.arange(len(vertices))[:, None], joints), np.concatenate([part.weights for part in parts]))
    return RigSource(vertices, faces, {name: value.astype(np.float64) for name, value in keys.items()}, weights)


def _carried(
    item: _Placed, source: RigSource, lenders: list[AvatarPart], material: Material, *, fused: bool
) -> AvatarPart:
    mesh, texture, material = _appearance(item, lenders, material)
    carried = carry_rig(source, mesh.vertices, mesh.faces, fused=fused)
    return carried.part(item.stands_for, mesh, texture, material)


def _appearance(item: _Placed, lenders: list[AvatarPart], material: Material) -> tuple[Mesh, np.ndarray, Material]:
    """Texture coordinates, picture and material: the artist's own where there are any."""
    piece, mesh = item.piece, item.mesh
    if piece.has_uvs and piece.texture is not None:
        cut_out = piece.texture.shape[2] == 4
        return mesh, piece.texture, piece.material or dataclasses.replace(material, alpha_mask=cut_out)
    if not piece.has_uvs:
        if len(mesh.faces) > _MOST_UNWRAPPED:
            raise bad_mesh(
                f"The mesh has {len(mesh.faces)} triangles and no texture coordinates: unwrap it, or decimate it below"
                f" {_MOST_UNWRAPPED}."
            )
        mesh = unwrap(mesh.vertices, mesh.faces)
    if piece.vertex_colours is not None:
        texture = paint_vertices(mesh, piece.vertex_colours, _PAINTED)
    else:
        texture = borrow_texture(mesh, lenders)
    cut_out = texture.shape[2] == 4
    return mesh, texture, dataclasses.replace(piece.material or material, alpha_mask=cut_out)


def _uniquely_named(parts: list[AvatarPart]) -> list[AvatarPart]:
    taken: set[str] = set()
    for part in parts:
        name, number = part.name, 2
        while part.name in taken:
            part.name, number = f"{name}_{number}", number + 1
        taken.add(part.name)
    return parts
