"""A Rigify metarig for an avatar: "Generate Rig" makes controls of it, and the avatar's bones follow them.

Avatar and mesh stay as they are. Rigify runs the metarig's finalize script when it has made the rig; ours lets each
bone of the avatar copy the rig's bone of the same name, so that it also works where this add-on is not installed.
"""

from typing import Any

import addon_utils
import bpy

from . import avatar_import
from .avatar_operators import avatar_of

_RIGIFY = "rigify"
_TYPE, _HEAD_TYPE = "basic.super_copy", "spines.super_head"
_FINALIZE = """# Run by Rigify after Generate Rig: the avatar's bones follow those of the rig.
import bpy

rig = bpy.context.object
avatar = next((each for each in bpy.data.objects if each.get("{mark}") == {name!r}), None)
if avatar and avatar.visible_get():  # the first time; Rigify makes its rigs at the origin
    rig.matrix_world = avatar.matrix_world
    avatar.hide_set(True)
for bone in avatar.pose.bones if avatar else ():
    copy = bone.constraints.get("Rigify") or bone.constraints.new("COPY_TRANSFORMS")
    copy.name, copy.target, copy.subtarget = "Rigify", rig, "DEF-" + bone.name
"""


class MAQUETTE_OT_add_metarig(bpy.types.Operator):
    """Add a Rigify metarig with the avatar's bones; Generate Rig then makes controls that move the avatar"""

    bl_idname = "maquette.add_metarig"
    bl_label = "Add Rigify Metarig"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        reason = ""
        if avatar_of(context.object) is None:
            reason = "Select an avatar first"
        elif context.mode != "OBJECT":
            reason = "Go to the object mode first"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: Any) -> set[str]:
        if not _rigify_is_on(context):
            self.report({"ERROR"}, "Rigify is not there: enable the add-on Rigify in the preferences, then press again")
            return {"CANCELLED"}
        metarig = _make(context, avatar_of(context.object))
        self.report({"INFO"}, f"Press Generate Rig in the Armature properties of {metarig.name}")
        return {"FINISHED"}


def _rigify_is_on(context: Any) -> bool:
    """Whether Rigify, which comes with Blender, is enabled, if need be by us."""
    if _RIGIFY in context.preferences.addons:
        return True
    if all(module.__name__ != _RIGIFY for module in addon_utils.modules()):  # Blender can be built without it
        return False
    return bpy.ops.preferences.addon_enable(module=_RIGIFY) == {"FINISHED"}


def _make(context: Any, avatar: Any) -> Any:
    data = bpy.data.armatures.new(f"{avatar.name} metarig")
    metarig = bpy.data.objects.new(data.name, data)
    avatar.users_collection[0].objects.link(metarig)
    metarig.matrix_world = avatar.matrix_world
    for thing in context.selected_objects:
        thing.select_set(False)
    metarig.select_set(True)
    context.view_layer.objects.active = metarig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in avatar.data.bones:
        made = data.edit_bones.new(bone.name)
        made.tail = (0, 0, bone.length)
        made.matrix = bone.matrix_local
        if bone.parent is not None:
            made.parent = data.edit_bones[bone.parent.name]
            touching = (bone.head_local - bone.parent.tail_local).length < 1e-4
            made.use_connect = touching and _is_of_neck(bone) and _is_of_neck(bone.parent)
    bpy.ops.object.mode_set(mode="OBJECT")
    collection = data.collections.new("Head")
    collection.rigify_ui_row = 1  # Rigify wants at least one button for its panel
    for bone in metarig.pose.bones:
        collection.assign(bone)
        above = bone.bone.use_connect
        chain = any(child.bone.use_connect for child in bone.children)
        bone.rigify_type = "" if above else _HEAD_TYPE if chain else _TYPE
    script = bpy.data.texts.new(f"{data.name}.py")
    script.write(_FINALIZE.format(mark=avatar_import.AVATAR_MARK, name=avatar[avatar_import.AVATAR_MARK]))
    data.rigify_finalize_script = script
    return metarig


def _is_of_neck(bone: Any) -> bool:
    return bone.name.startswith(("Neck", "Head"))


CLASSES = (MAQUETTE_OT_add_metarig,)
