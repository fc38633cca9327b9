# pyright: reportInvalidTypeForm=false
"""What is stored in the file: the settings of the next avatar.

No callbacks and no Python properties, here and in the preferences: Blender 4.2 crashes at its end when a class that
had one is gone, so after an update of the add-on. The timer looks for changes instead.
"""

import bpy

from .api import ENGINES, MESHES, QUALITIES, default_engine

_ENGINE_ITEMS = [
    ("template", "Template", "Fits a body model to the portrait, without a learned prior"),
    ("rodin", "Rodin", "Diffusion of tri-planes, from a portrait or a prompt"),
    ("morphable", "Morphable (experimental)", "Multi-view diffusion guided by a morphable model"),
]
_QUALITY_ITEMS = [
    ("draft", "Draft", "A fast look at the result"),
    ("standard", "Standard", "2048 pixels of skin, the usual choice"),
    ("high", "High", "Finer field and textures, several times slower"),
]
_MESH_ITEMS = [
    ("wrapped", "Wrapped", "Clean topology of the body model, with eyes, teeth, tongue and hair as parts"),
    ("levelset", "Level set", "One surface extracted from the field"),
]
assert [item[0] for item in _ENGINE_ITEMS] == list(ENGINES)
assert [item[0] for item in _QUALITY_ITEMS] == list(QUALITIES)
assert [item[0] for item in _MESH_ITEMS] == list(MESHES)


class MaquettePortrait(bpy.types.PropertyGroup):
    """One picture: a file, or an image of this .blend file."""

    path: bpy.props.StringProperty(
        name="File", description="A picture of the person, from the front", subtype="FILE_PATH"
    )
    image: bpy.props.PointerProperty(
        type=bpy.types.Image, name="Image", description="An image of this file that shows the person from the front"
    )
    is_image: bpy.props.BoolProperty(
        name="Image of This File", description="Take an image of this .blend file instead of one on the disk"
    )


class MaquetteSettings(bpy.types.PropertyGroup):
    """Everything the next avatar depends on; saved with the file."""

    portraits: bpy.props.CollectionProperty(type=MaquettePortrait, name="Portraits")
    prompt: bpy.props.StringProperty(
        name="Prompt", description="Words that describe the person, or change the one in the portrait", maxlen=500
    )
    engine: bpy.props.EnumProperty(
        name="Engine", description="What makes the head", items=_ENGINE_ITEMS, default=default_engine()
    )
    quality: bpy.props.EnumProperty(
        name="Quality",
        description="How fine field and textures are",
        items=_QUALITY_ITEMS,
        default="standard",
    )
    mesh: bpy.props.EnumProperty(name="Mesh", description="How the surface is made", items=_MESH_ITEMS)
    seed: bpy.props.IntProperty(
        name="Seed", description="Same seed and settings, same avatar", min=0, max=2**31 - 1, default=0
    )
    rig_like: bpy.props.PointerProperty(
        type=bpy.types.Armature,
        name="Like",
        description="The avatar whose bones, weights and shape keys the mesh gets",
    )


CLASSES = (MaquettePortrait, MaquetteSettings)
