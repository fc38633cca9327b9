"""From arrays to Blender: meshes, UVs, packed textures, materials, armature and shape keys.

`build` is a generator: it works in slices of a few milliseconds, so that a timer can run it without a jerk; `run` does
it in one go. All data is made aside, in a scene of its own, and shown at the very end: nobody sees half an avatar,
selection and mode of the user stay as they are, and one undo step takes the whole avatar.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from . import stillness, viewing

if TYPE_CHECKING:
    from collections.abc import Generator

    from .avatar_data import AvatarData, PartData

    Build = Generator[str, None, str]
    Part = Generator[str, None, Any]

AVATAR_MARK = "maquette_avatar"  # on the armature: the unique name of this avatar
PART_MARK = "maquette_part"  # on its meshes: the part's name in the file
REQUEST_MARK = "maquette_request"  # JSON: what the avatar was made from
VERSIONS_MARK = "maquette_versions"  # JSON: what it was made with

MAKING, ALL_BUT_SHOWN = "making", "all but shown"  # what `build` yields

_GROUPS_PER_SLICE = 2000


def run(avatar: AvatarData, name: str, request: dict[str, Any] | None = None) -> str:
    """Put `avatar` into the current scene; returns the name of its armature."""
    steps = build(avatar, name, request)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def build(avatar: AvatarData, name: str, request: dict[str, Any] | None = None) -> Build:
    """The same in slices; whatever was made is taken away again when the work fails or is given up."""
    made: list[Any] = []
    shown = False
    try:
        armature = _armature(avatar, name, made)
        yield MAKING
        parts = []
        for part in avatar.parts:
            parts.append((yield from _part(part, avatar, armature, name, made)))
            yield MAKING
        yield from _follow_the_head(avatar, parts)
        _remember(armature, avatar, request)
        yield ALL_BUT_SHOWN
        _show([armature, *parts], name)
        shown = True
        return armature.name
    finally:
        if not shown:
            _remove(made)


def _armature(avatar: AvatarData, name: str, made: list[Any]) -> Any:
    data = bpy.data.armatures.new(name)
    armature = bpy.data.objects.new(name, data)
    made += [armature, data]
    armature.show_in_front = True
    data.display_type = "STICK"  # the usual shape of bones hides the face
    # Bones can only be made in edit mode, and the user may be in a mode of another object.
    workshop = bpy.data.scenes.new("Maquette")
    try:
        workshop.collection.objects.link(armature)
        layer = workshop.view_layers[0]
        layer.objects.active = armature
        override = {"scene": workshop, "view_layer": layer, "object": armature, "active_object": armature}
        with stillness.hold(), bpy.context.temp_override(**override):
            bpy.ops.object.mode_set(mode="EDIT")
            bones = []
            lift = np.array([0, 0, avatar.base_height])
            for index, bone_name in enumerate(avatar.bone_names):
                bone = data.edit_bones.new(bone_name)
                bone.head, bone.tail = avatar.bone_heads[index] + lift, avatar.bone_tails[index] + lift
                if (parent := avatar.bone_parents[index]) >= 0:
                    bone.parent = bones[parent]
                bones.append(bone)
            bpy.ops.object.mode_set(mode="OBJECT")
    finally:
        bpy.data.scenes.remove(workshop)
    _gather_bones(data)
    return armature


def _gather_bones(data: Any) -> None:
    """Two bone collections; the eyes' stays hidden: their sticks look like black bars over the eyes, and mostly the
    shape keys turn them."""
    for name, chosen in (("Body", False), ("Eyes", True)):
        collection = data.collections.new(name)
        for bone in data.bones:
            if bone.name.endswith("Eye") == chosen:
                collection.assign(bone)
        collection.is_visible = not chosen


def _part(part: PartData, avatar: AvatarData, armature: Any, name: str, made: list[Any]) -> Part:
    mesh = bpy.data.meshes.new(f"{name} {part.name}")
    made.append(mesh)
    corners = part.faces.ravel()
    mesh.vertices.add(len(part.vertices))
    mesh.loops.add(len(corners))
    mesh.polygons.add(len(part.faces))
    lift = np.array([0, 0, avatar.base_height], np.float32)
    mesh.vertices.foreach_set("co", (part.vertices + lift).ravel())
    mesh.loops.foreach_set("vertex_index", corners)
    mesh.polygons.foreach_set("loop_start", np.arange(0, len(corners), 3, dtype=np.int32))
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", part.corner_uvs.ravel())
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    thing = bpy.data.objects.new(mesh.name, mesh)
    made.append(thing)
    thing[PART_MARK] = part.name
    mesh.materials.append(_material(part, mesh.name, is_skin=part is avatar.parts[0], made=made))
    yield MAKING
    groups = [thing.vertex_groups.new(name=bone) for bone in avatar.bone_names]
    for count, (bone, vertices, weight) in enumerate(part.groups):
        groups[bone].add(vertices, weight, "ADD")  # a bone may be named twice
        if count % _GROUPS_PER_SLICE == _GROUPS_PER_SLICE - 1:
            yield MAKING
    if part.keys:
        thing.shape_key_add(name="Basis", from_mix=False)
        for key in part.keys:
            block = thing.shape_key_add(name=key, from_mix=False)
            block.value = 0  # from Blender 5.0 on, new keys are switched on
            block.points.foreach_set("co", (part.key_coordinates(key) + lift).ravel())
        mesh.shape_keys.name = mesh.name
    thing.parent = armature
    thing.modifiers.new("Armature", "ARMATURE").object = armature
    return thing


def _material(part: PartData, name: str, *, is_skin: bool, made: list[Any]) -> Any:
    image = bpy.data.images.new(name, 1, 1)  # of the right size it would be filled with black first, in vain
    made.append(image)
    image.source = "FILE"
    image.pack(data=part.texture_png, data_len=len(part.texture_png))
    image.filepath_raw = f"//{name}.png"
    image.colorspace_settings.name = "sRGB"
    material = bpy.data.materials.new(name)
    made.append(material)
    if material.node_tree is None:  # Blender 4; from 5.0 on there always is one
        material.use_nodes = True
    tree: Any = material.node_tree
    nodes, links = tree.nodes, tree.links
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.extension = "EXTEND"
    texture.location = (shader.location.x - 320, shader.location.y)
    links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = part.roughness
    if is_skin:  # light that goes a few millimetres into the skin and comes out red
        shader.inputs["Subsurface Weight"].default_value = 0.1
        shader.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
        shader.inputs["Subsurface Scale"].default_value = 0.004
    if part.alpha_mask:
        links.new(texture.outputs["Alpha"], shader.inputs["Alpha"])
        material.surface_render_method = "DITHERED"
    material.use_backface_culling = not part.double_sided
    return material


def _follow_the_head(avatar: AvatarData, parts: list[Any]) -> Generator[str, None, None]:
    """One slider per expression: keys of the other parts take their value from the head's key of the same name.

    A driver that sums one variable is no Python, so it also works where scripts are not trusted.
    """
    head_keys = parts[0].data.shape_keys
    if head_keys is None:
        return
    for thing in parts[1:]:
        keys = thing.data.shape_keys
        for block in keys.key_blocks[1:] if keys else ():
            if block.name not in head_keys.key_blocks:
                continue
            driver = block.driver_add("value").driver
            driver.type = "SUM"
            target = driver.variables.new().targets[0]
            target.id_type = "KEY"
            target.id = head_keys
            target.data_path = f'key_blocks["{block.name}"].value'
        yield MAKING


def _remember(armature: Any, avatar: AvatarData, request: dict[str, Any] | None) -> None:
    """Everything the avatar depends on, stored on it."""
    taken = {thing.get(AVATAR_MARK) for thing in bpy.data.objects}
    number = 1
    while (mark := f"avatar-{number}") in taken:
        number += 1
    armature[AVATAR_MARK] = mark
    armature[REQUEST_MARK] = json.dumps(request or avatar.report.get("request", {}))
    armature[VERSIONS_MARK] = json.dumps(avatar.report.get("versions", {}))


def _show(things: list[Any], name: str) -> None:
    """Link the avatar to the scene, beside what stands there, and select it unless a mode forbids."""
    scene, layer = bpy.context.scene, bpy.context.view_layer
    things[0].location = viewing.free_place(scene)
    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    for thing in things:
        collection.objects.link(thing)
    active = layer.objects.active
    if active is not None and active.mode != "OBJECT":
        return
    for thing in layer.objects:
        thing.select_set(False)
    things[1].select_set(True)
    layer.objects.active = things[1]


def _remove(made: list[Any]) -> None:
    """Take unfinished data away; an undo or a new file may have done so already.

    Objects go before what they are made of: Blender deletes an object whose data goes, and then crashes on it.
    """
    dead = []
    for item in made:
        with contextlib.suppress(ReferenceError):
            dead.append((item.bl_rna.identifier != "Object", item))
    for _, item in sorted(dead, key=lambda pair: pair[0]):
        with contextlib.suppress(ReferenceError, RuntimeError):
            bpy.data.batch_remove([item])
