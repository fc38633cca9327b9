"""Cycles materials by name. They see colours as attributes and images; what is painted is decided in `appearance`."""

from __future__ import annotations

from typing import Any

import bpy

Colour = tuple[float, float, float]
"""Linear RGB."""


def node_tree(owner: Any) -> Any:
    """The nodes of a material or world; before Blender 5 they have to be asked for."""
    if owner.node_tree is None:
        owner.use_nodes = True
    return owner.node_tree


class Nodes:
    """A node tree, built from the outputs of one node into the inputs of the next."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.tree = node_tree(self.material)
        self.tree.nodes.clear()

    def add(self, kind: str, properties: dict[str, Any] | None = None, inputs: dict[Any, Any] | None = None) -> Any:
        """A node with some properties set and some inputs set or linked."""
        node = self.tree.nodes.new(kind)
        for key, value in (properties or {}).items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                node.inputs[key].default_value = value
        return node

    def math(self, operation: str, a: Any, b: Any, c: Any = 0.0) -> Any:
        """The value of one arithmetic node."""
        return self.add("ShaderNodeMath", {"operation": operation}, {0: a, 1: b, 2: c}).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Any:
        """A mix of two colours."""
        node = self.add("ShaderNodeMix", {"data_type": "RGBA", "blend_type": blend}, {0: factor, 6: a, 7: b})
        return node.outputs[2]

    def attribute(self, name: str) -> Any:
        """The node that reads a point attribute."""
        return self.add("ShaderNodeAttribute", {"attribute_name": name})

    def finish(self, shader: Any) -> Any:
        """The material with this surface."""
        self.add("ShaderNodeOutputMaterial", inputs={"Surface": shader.outputs[0]})
        return self.material


def skin(maps: dict[str, Any], roughness: float, scattering: float) -> Any:
    """Skin with two albedo maps (``"body"``, and ``"face"`` in the UV layer "window") and the relief of the face.

    The alpha of the albedo maps says how wet the surface is; the relief is in millimetres.
    """
    nodes = Nodes("skin")
    window = nodes.add("ShaderNodeUVMap", {"uv_map": "window"}).outputs[0]
    inside = nodes.add("ShaderNodeSeparateXYZ", inputs={0: nodes.attribute("in_face").outputs["Vector"]}).outputs[0]

    def image(name: str, vector: Any = None) -> Any:
        inputs = {} if vector is None else {"Vector": vector}
        settings = {"image": maps[name], "interpolation": "Linear", "extension": "EXTEND"}
        return nodes.add("ShaderNodeTexImage", settings, inputs)

    face, body = image("face", window), image("body")
    colour = nodes.mix(inside, body.outputs["Color"], face.outputs["Color"])
    wet = nodes.math("MULTIPLY", face.outputs["Alpha"], inside)
    template = nodes.attribute("template").outputs["Vector"]
    coarse = nodes.add("ShaderNodeTexNoise", inputs={"Vector": template, "Scale": 420.0, "Detail": 3.0}).outputs[0]
    # Away from the face a plain noise stands for the fine relief.
    outside = nodes.math("MULTIPLY", nodes.math("SUBTRACT", 1.0, inside), coarse)
    relief = nodes.math("MULTIPLY", image("relief", window).outputs["Color"], inside)
    height = nodes.math("MULTIPLY_ADD", outside, 0.12, relief)
    bump = nodes.add("ShaderNodeBump", inputs={"Height": height, "Strength": 1.0, "Distance": 0.001})
    inputs = {
        "Base Color": colour,
        "Roughness": nodes.math("MULTIPLY_ADD", wet, -0.12, roughness),
        "Normal": bump.outputs[0],
        "IOR": 1.42,
    }
    if scattering > 0:
        inputs |= {
            "Subsurface Weight": 0.8 * scattering,
            "Subsurface Radius": (1.0, 0.36, 0.18),
            "Subsurface Scale": 0.0045,
        }
    properties = {"subsurface_method": "RANDOM_WALK"}
    return nodes.finish(nodes.add("ShaderNodeBsdfPrincipled", properties, inputs))


def eye() -> Any:
    """Painted eyeball under a clear cornea."""
    nodes = Nodes("eye")
    # Only the film of tears mirrors: a second gloss beneath it would fill the pupil with grey.
    coat = {"Coat Weight": 1.0, "Coat Roughness": 0.02, "Coat IOR": 1.376, "Roughness": 0.6, "Specular IOR Level": 0.0}
    colour = nodes.attribute("colour").outputs["Color"]
    return nodes.finish(nodes.add("ShaderNodeBsdfPrincipled", inputs={"Base Color": colour, **coat}))


_FINISHES: dict[str, dict[str, Any]] = {
    "cloth": {"Roughness": 0.85, "Sheen Weight": 0.15},
    "leather": {"Roughness": 0.45},
    "plastic": {"Roughness": 0.22, "Coat Weight": 0.4, "Coat Roughness": 0.08},
    "metal": {"Roughness": 0.3, "Metallic": 1.0},
    "tooth": {"Roughness": 0.22, "Coat Weight": 0.3, "Coat Roughness": 0.1},
    "wet": {"Roughness": 0.32},
    "dark glass": {"Roughness": 0.05, "Specular IOR Level": 0.8},
}


def finish(name: str, colour: Colour, *, texture: Any = None, painted: bool = False) -> Any:
    """One of the simple materials of garments, accessories and teeth; ``"glass"`` lets nearly all light through."""
    nodes = Nodes(name)
    if name == "glass":
        clear = nodes.add("ShaderNodeBsdfTransparent", inputs={"Color": (*colour, 1.0)})
        gloss = nodes.add("ShaderNodeBsdfGlossy", inputs={"Roughness": 0.03})
        facing = nodes.add("ShaderNodeLayerWeight", inputs={"Blend": 0.5}).outputs["Facing"]
        mirror = nodes.math("MULTIPLY_ADD", nodes.math("POWER", facing, 4.0), 0.35, 0.02)
        return nodes.finish(
            nodes.add("ShaderNodeMixShader", inputs={0: mirror, 1: clear.outputs[0], 2: gloss.outputs[0]})
        )
    surface: Any = (*colour, 1.0)
    inputs = dict(_FINISHES[name])
    if texture is not None:
        pattern = nodes.add("ShaderNodeTexImage", {"image": texture, "extension": "REPEAT"})
        surface = nodes.mix(1.0, surface, pattern.outputs["Color"], "MULTIPLY")
        bump = {"Height": pattern.outputs["Alpha"], "Strength": 0.6, "Distance": 0.001}
        inputs["Normal"] = nodes.add("ShaderNodeBump", inputs=bump).outputs[0]
    if painted:
        surface = nodes.mix(1.0, surface, nodes.attribute("colour").outputs["Color"], "MULTIPLY")
    return nodes.finish(nodes.add("ShaderNodeBsdfPrincipled", inputs={"Base Color": surface, **inputs}))


_STRAND = {"Roughness": 0.32, "Radial Roughness": 0.45, "Random Roughness": 0.2}


def hair(melanin: float, redness: float) -> Any:
    """Hair with natural pigments."""
    nodes = Nodes("hair")
    inputs = {"Melanin": melanin, "Melanin Redness": redness, "Random Color": 0.3, **_STRAND}
    return nodes.finish(nodes.add("ShaderNodeBsdfHairPrincipled", {"parametrization": "MELANIN"}, inputs))


def dyed_hair(colour: Colour) -> Any:
    """Hair whose strands absorb as much as makes a head of them look like `colour`. (Behind a tint, pigments stay what
    is seen: a blue dye came out brown.)"""
    nodes = Nodes("dyed hair")
    red, green, blue = (channel**1.5 for channel in colour)  # a whole head of them is lighter than each
    inputs = {"Color": (red, green, blue, 1.0), **_STRAND}
    return nodes.finish(nodes.add("ShaderNodeBsdfHairPrincipled", {"parametrization": "COLOR"}, inputs))


def plain_hair(colour: Colour) -> Any:
    """Diffuse strands, each a little lighter or darker: free of the noise that few samples leave in real hair."""
    nodes = Nodes("plain hair")
    tinted = nodes.add("ShaderNodeHairInfo").outputs["Random"]
    vary = nodes.math("MULTIPLY_ADD", tinted, 0.5, 0.75)
    mixed = nodes.mix(1.0, (*colour, 1.0), vary, "MULTIPLY")
    return nodes.finish(nodes.add("ShaderNodeBsdfDiffuse", inputs={"Color": mixed}))


def world(image: Any) -> Any:
    """Surroundings from an equirectangular image."""
    surroundings = bpy.data.worlds.new("environment")
    tree = node_tree(surroundings)
    nodes = tree.nodes
    nodes.clear()
    texture = nodes.new("ShaderNodeTexEnvironment")
    texture.image = image
    background, output = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    tree.links.new(background.outputs[0], output.inputs["Surface"])
    return surroundings
