"""From an `IdentitySpec` to a Blender scene. Only this file and `render.py` import bpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from backend.body_model.base import BodyModel
from synthetic_data.appearance.eyes import make_eyeball
from synthetic_data.appearance.garment import hidden_skin, make_garment
from synthetic_data.appearance.hair import grow_hair
from synthetic_data.appearance.light import environment_map
from synthetic_data.appearance.skin import paint_skin
from synthetic_data.appearance.strands import Strands, grow_brows, grow_lashes
from synthetic_data.identity import IdentitySpec
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
}
"""Class of every pixel in the segmentation pass."""

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


def build_scene(spec: IdentitySpec, model: BodyModel) -> None:
    """Replace the content of the current Blender scene by this person, in the head frame, metres."""
    purge()
    vertices = spec.vertices(model)
    _add_skin(spec, model, vertices)
    for part, colour, roughness, segment in (
        ("teeth_upper", (0.76, 0.70, 0.60), 0.25, "teeth"),
        ("teeth_lower", (0.76, 0.70, 0.60), 0.25, "teeth"),
        ("tongue", (0.42, 0.13, 0.12), 0.4, "tongue"),
    ):
        patch = _part(model, vertices, part)
        if patch is not None:
            add_mesh(part, patch.refined(1), _principled(part, colour, roughness), segment)
    if "eye_left" in model.topology.parts:
        for side, sphere in zip(("left", "right"), model.eye_spheres(vertices), strict=True):
            eye = make_eyeball(sphere, spec.gaze, spec.eyes)
            triangles = eye.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
            patch = Patch(eye.vertices, triangles, np.zeros((len(triangles), 3, 2)), {"colour": eye.colours})
            add_mesh(f"eye_{side}", patch, _eye_material(), "eye")
    garment = make_garment(model, vertices, spec.garment)
    if garment is not None:
        shirt = add_mesh("garment", garment, _cloth_material(), "garment")
        thickness = shirt.modifiers.new("thickness", "SOLIDIFY")
        thickness.thickness, thickness.offset = 0.0025, -1.0
    hair = spec.hair
    strands = grow_hair(model, vertices, hair)
    if strands is not None:
        add_strands("hair", strands, hair_material(hair.melanin, hair.redness), "hair")
    add_strands("brows", grow_brows(model, vertices, hair), hair_material(max(hair.melanin, 0.3), hair.redness), "brow")
    lashes = grow_lashes(model, vertices, hair.seed)
    if lashes is not None:
        add_strands("lashes", lashes, hair_material(1.0, 0.0), "lash")
    _light(spec)


def _part(
    model: BodyModel, vertices: Float[np.ndarray, "V 3"], part: str, keep: np.ndarray | None = None, **attributes: Any
) -> Patch | None:
    """The patch of one part of the body model, or None when the model lacks it."""
    topology = model.topology
    triangles = topology.parts.get(part, np.zeros(0, int))
    if keep is not None:
        triangles = triangles[keep]
    if len(triangles) == 0:
        return None
    return extract(vertices, topology.faces[triangles], topology.uvs[topology.uv_faces[triangles]], attributes)


def _add_skin(spec: IdentitySpec, model: BodyModel, vertices: Float[np.ndarray, "V 3"]) -> None:
    shown = ~hidden_skin(model, spec.garment)
    patch = _part(model, vertices, "skin", shown, template=model.template)
    assert patch is not None, "every body model has skin"
    image = add_image("skin", paint_skin(spec.skin, spec.hair, model))
    add_mesh("skin", patch.refined(2), _skin_material(spec, image), "skin")


def add_mesh(name: str, patch: Patch, material: Any, segment: str) -> Any:
    """A smooth-shaded mesh object with one material, point attributes and a segmentation class."""
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


def _add_object(name: str, data: Any, material: Any, segment: str) -> Any:
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    thing.pass_index = SEGMENTS[segment]
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()


class _Nodes:
    """A material's node tree, built from the outputs of one node into the inputs of the next."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def add(self, kind: str, properties: dict[str, Any] | None = None, inputs: dict[Any, Any] | None = None) -> Any:
        node = self.tree.nodes.new(kind)
        for key, value in (properties or {}).items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node

    def finish(self, shader: Any) -> Any:
        self.add("ShaderNodeOutputMaterial", inputs={"Surface": shader.outputs[0]})
        return self.material


def _skin_material(spec: IdentitySpec, image: Any) -> Any:
    nodes = _Nodes("skin")
    texture = nodes.add("ShaderNodeTexImage", {"image": image, "interpolation": "Cubic"})
    template = nodes.add("ShaderNodeAttribute", {"attribute_name": "template"}).outputs["Vector"]
    pores = nodes.add("ShaderNodeTexVoronoi", inputs={"Vector": template, "Scale": 1100.0})
    relief = nodes.add("ShaderNodeTexNoise", inputs={"Vector": template, "Scale": 260.0, "Detail": 4.0})
    height = nodes.add(
        "ShaderNodeMath", {"operation": "MULTIPLY_ADD"}, {0: relief.outputs[0], 1: 0.9, 2: pores.outputs[0]}
    )
    bump = nodes.add("ShaderNodeBump", inputs={"Height": height.outputs[0], "Strength": 0.16, "Distance": 0.0005})
    wet = {0: texture.outputs["Alpha"], 1: -0.14, 2: spec.skin.roughness}
    roughness = nodes.add("ShaderNodeMath", {"operation": "MULTIPLY_ADD"}, wet)
    shader = nodes.add(
        "ShaderNodeBsdfPrincipled",
        {"subsurface_method": "RANDOM_WALK"},
        {
            "Base Color": texture.outputs["Color"],
            "Roughness": roughness.outputs[0],
            "Normal": bump.outputs[0],
            "IOR": 1.42,
            "Subsurface Weight": 0.85,
            "Subsurface Radius": (1.0, 0.36, 0.18),
            "Subsurface Scale": 0.005,
            "Sheen Weight": 0.05,
        },
    )
    return nodes.finish(shader)


def _eye_material() -> Any:
    nodes = _Nodes("eye")
    colour = nodes.add("ShaderNodeAttribute", {"attribute_name": "colour"})
    coat = {"Coat Weight": 1.0, "Coat Roughness": 0.03, "Coat IOR": 1.45, "Roughness": 0.35}
    return nodes.finish(nodes.add("ShaderNodeBsdfPrincipled", inputs={"Base Color": colour.outputs["Color"], **coat}))


def _cloth_material() -> Any:
    nodes = _Nodes("cloth")
    colour = nodes.add("ShaderNodeAttribute", {"attribute_name": "colour"}).outputs["Color"]
    template = nodes.add("ShaderNodeAttribute", {"attribute_name": "template"}).outputs["Vector"]
    weave = nodes.add("ShaderNodeTexNoise", inputs={"Vector": template, "Scale": 900.0, "Detail": 2.0})
    bump = nodes.add("ShaderNodeBump", inputs={"Height": weave.outputs[0], "Strength": 0.3, "Distance": 0.0005})
    surface = {"Base Color": colour, "Normal": bump.outputs[0], "Roughness": 0.85, "Sheen Weight": 0.2}
    return nodes.finish(nodes.add("ShaderNodeBsdfPrincipled", inputs=surface))


def _principled(name: str, colour: tuple[float, float, float], roughness: float) -> Any:
    nodes = _Nodes(name)
    return nodes.finish(
        nodes.add("ShaderNodeBsdfPrincipled", inputs={"Base Color": (*colour, 1.0), "Roughness": roughness})
    )


def hair_material(melanin: float, redness: float) -> Any:
    """Principled Hair with natural pigments."""
    nodes = _Nodes("hair")
    pigments = {"Melanin": melanin, "Melanin Redness": redness, "Random Color": 0.3}
    surface = {"Roughness": 0.32, "Radial Roughness": 0.45, "Random Roughness": 0.2}
    shader = nodes.add("ShaderNodeBsdfHairPrincipled", {"parametrization": "MELANIN"}, {**pigments, **surface})
    return nodes.finish(shader)


def _light(spec: IdentitySpec) -> None:
    radiance = environment_map(spec.light)
    image = add_image("environment", np.concatenate([radiance, np.ones((*radiance.shape[:2], 1))], -1))
    world = bpy.data.worlds.new("environment")
    nodes = world.node_tree.nodes
    nodes.clear()
    texture = nodes.new("ShaderNodeTexEnvironment")
    texture.image = image
    background, output = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
    world.node_tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    world.node_tree.links.new(background.outputs[0], output.inputs["Surface"])
    bpy.context.scene.world = world
