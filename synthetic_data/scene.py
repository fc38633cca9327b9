"""From an `IdentitySpec` to a Blender scene. Only this file, `materials.py` and `render.py` import bpy."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data import materials
from synthetic_data.appearance.accessories import make_accessories
from synthetic_data.appearance.atlas import FACE_WINDOW, window_weight
from synthetic_data.appearance.beard import grow_beard
from synthetic_data.appearance.eyes import make_eyeball
from synthetic_data.appearance.garment import hidden_skin, make_garment
from synthetic_data.appearance.hair import grow_hair
from synthetic_data.appearance.light import environment_map
from synthetic_data.appearance.mouth import make_mouth
from synthetic_data.appearance.pieces import Piece, plain_patch
from synthetic_data.appearance.skin import paint_skin
from synthetic_data.appearance.strands import Strands, grow_brows, grow_lashes
from synthetic_data.identity import HairSpec, IdentitySpec, LightSpec
from synthetic_data.posing import posed_vertices
from synthetic_data.surface import Patch, extract

if TYPE_CHECKING:
    from jaxtyping import Float

SEGMENTS = {
    "background": 0,
    "skin": 1,
    "eye": 2,
    "teeth": 3,
    "tongue": 4,
    "hair": 5,
    "brow": 6,
    "lash": 7,
    "garment": 8,
    "beard": 9,
    "glasses": 10,
    "headwear": 11,
    "earring": 12,
}
"""Class of every pixel in the segmentation pass."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much work goes into a scene.

    `hair_detail` is the share of strands; `face_size` and `body_size` are the texels of the two skin maps; `scattering`
    lets light travel under the skin; `natural_hair` is Cycles' hair model with pigments instead of a plain diffuse
    colour; `even_light` ignores the person's own surroundings.
    """

    hair_detail: float
    face_size: int
    body_size: int
    scattering: bool
    natural_hair: bool
    even_light: bool


PRESETS = {
    "fit": Preset(0.5, 384, 192, scattering=False, natural_hair=False, even_light=True),
    "portrait": Preset(1.0, 1024, 512, scattering=True, natural_hair=True, even_light=False),
    "show": Preset(1.0, 2048, 512, scattering=True, natural_hair=True, even_light=False),
}

_EVEN = LightSpec(kind="even", strength=0.75, warmth=0.0, contrast=0.0, seed=0)
_DATA_KINDS = (
    "objects",
    "meshes",
    "hair_curves",
    "materials",
    "images",
    "textures",
    "lights",
    "cameras",
    "worlds",
    "node_groups",
)


def purge() -> None:
    """Remove everything the last scene left; without it a process grows by 40 MB with each identity."""
    for kind in _DATA_KINDS:
        collection = getattr(bpy.data, kind)
        for block in list(collection):
            if getattr(block, "type", "") != "RENDER_RESULT":
                collection.remove(block)
    bpy.data.orphans_purge(do_recursive=True)


def build_scene(spec: IdentitySpec, model: BodyModel, *, preset: str = "portrait") -> None:
    """Replace the content of the current Blender scene by this person, in the head frame, metres.

    Raises KeyError for a preset that is not one of `PRESETS`.
    """
    chosen = PRESETS[preset]
    purge()
    vertices = posed_vertices(spec, model)
    _add_skin(spec, model, vertices, chosen)
    _add_eyes(spec, model, vertices)
    accessories, covered = make_accessories(model, vertices, spec.accessories)
    for piece in [*make_mouth(model, vertices), *make_garment(model, vertices, spec.garment), *accessories]:
        add_piece(piece)
    _add_hair(spec, model, vertices, covered, chosen)
    set_light(_EVEN if chosen.even_light else spec.light)


def _add_skin(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"], preset: Preset) -> None:
    topology = model.topology
    triangles = topology.parts["skin"][~hidden_skin(model, spec.garment)]
    attributes = {"template": model.template, "in_face": np.repeat(window_weight(model)[:, None], 3, 1)}
    patch = extract(vertices, topology.faces[triangles], topology.uvs[topology.uv_faces[triangles]], attributes)
    face = paint_skin(spec, model, preset.face_size, FACE_WINDOW)
    body = paint_skin(spec, model, preset.body_size)
    maps = {name: add_image(name, pixels) for name, pixels in (("face", face.colour), ("body", body.colour))}
    maps["relief"] = add_image("relief", np.repeat(face.height[..., None], 4, -1))
    material = materials.skin(maps, spec.skin.roughness, scattering=preset.scattering)
    add_mesh("skin", patch.refined(2), material, "skin", window=FACE_WINDOW)


def _add_eyes(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> None:
    if "eye_left" not in model.topology.parts:
        return
    for side, sphere in zip(("left", "right"), model.eye_spheres(vertices), strict=True):
        eye = make_eyeball(sphere, spec.gaze, spec.eyes)
        patch = plain_patch(eye.vertices, eye.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
        patch = dataclasses.replace(patch, attributes={"colour": eye.colours})
        add_mesh(f"eye_{side}", patch, materials.eye(), "eye")


def _add_hair(
    spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"], covered: Any, preset: Preset
) -> None:
    hair, detail = spec.hair, preset.hair_detail
    beard = dataclasses.replace(hair, melanin=hair.melanin * (1 - 0.6 * spec.beard.greyer), dye=0.0)
    brows = dataclasses.replace(hair, melanin=max(hair.melanin, 0.3), dye=0.0)
    lashes = dataclasses.replace(hair, melanin=1.0, dye=0.0)
    grown: list[tuple[str, Strands | None, HairSpec, str]] = [
        ("hair", grow_hair(model, vertices, hair, covered, detail=detail), hair, "hair"),
        ("beard", grow_beard(model, vertices, spec.beard, hair, detail=detail), beard, "beard"),
        ("brows", grow_brows(model, vertices, hair, detail=detail), brows, "brow"),
        ("lashes", grow_lashes(model, vertices, hair, detail=detail), lashes, "lash"),
    ]
    for name, strands, pigments, segment in grown:
        if strands is not None:
            add_strands(name, strands, materials.hair(pigments, natural=preset.natural_hair), segment)


def add_piece(piece: Piece) -> Any:
    """A mesh object from plain data."""
    texture = None if piece.texture is None else add_image(piece.name, piece.texture)
    painted = "colour" in piece.patch.attributes
    material = materials.finish(piece.finish, piece.colour, texture=texture, painted=painted)
    return add_mesh(piece.name, piece.patch, material, piece.segment)


def add_mesh(
    name: str, patch: Patch, material: Any, segment: str, *, window: tuple[float, float, float, float] | None = None
) -> Any:
    """A smooth-shaded mesh object with one material, point attributes and a segmentation class.

    `window` adds a second UV layer, "window": this part (left, bottom, right, top) of the first fills the square.
    """
    mesh = bpy.data.meshes.new(name)
    count = len(patch.faces)
    mesh.vertices.add(len(patch.vertices))
    mesh.vertices.foreach_set("co", _flat(patch.vertices))
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(patch.faces, np.int32).ravel())
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("loop_total", np.full(count, 3, np.int32))
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", _flat(patch.corner_uvs))
    if window is not None:
        inside = (patch.corner_uvs - window[:2]) / np.subtract(window[2:], window[:2])
        mesh.uv_layers.new(name="window").uv.foreach_set("vector", _flat(inside))
    for key, values in patch.attributes.items():
        kind, field = ("FLOAT_COLOR", "color") if values.shape[1] == 4 else ("FLOAT_VECTOR", "vector")
        mesh.attributes.new(key, kind, "POINT").data.foreach_set(field, _flat(values))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    return _add_object(name, mesh, material, segment)


def add_strands(name: str, strands: Strands, material: Any, segment: str) -> Any:
    """A hair-curves object."""
    count, length, _ = strands.points.shape
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([length] * count)
    curves.position_data.foreach_set("vector", _flat(strands.points))
    radius = curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", np.tile(strands.radius, count).astype(np.float32))
    return _add_object(name, curves, material, segment)


def add_image(name: str, pixels: Float[np.ndarray, "H W 4"]) -> Any:
    """A linear float image from rows that run downwards (Blender's own run upwards)."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True)
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"  # alpha is a mask here and must not multiply the colours
    image.pixels.foreach_set(_flat(pixels[::-1]))
    image.update()
    return image


def set_light(light: LightSpec) -> None:
    """Surround the scene by this light."""
    radiance = environment_map(light)
    image = add_image("environment", np.concatenate([radiance, np.ones((*radiance.shape[:2], 1))], -1))
    bpy.context.scene.world = materials.world(image)


def _add_object(name: str, data: Any, material: Any, segment: str) -> Any:
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    thing.pass_index = SEGMENTS[segment]
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()
