# pyright: reportInvalidTypeForm=false
"""Expressions of the selected avatar: set, keyed, saved under a name and deleted again."""

from typing import Any

import bpy

from . import expressions, own_expressions, running
from .avatar_operators import selected_head
from .own_expressions import ExpressionError


class _OfAvatar:
    @classmethod
    def poll(cls, context: Any) -> bool:
        if selected_head(context) is None:
            cls.poll_message_set("Select an avatar first")  # pyright: ignore[reportAttributeAccessIssue]
            return False
        return True


class MAQUETTE_OT_expression(_OfAvatar, bpy.types.Operator):
    """Set the sliders of the selected avatar to this expression"""

    bl_idname = "maquette.expression"
    bl_label = "Expression"
    bl_options = {"REGISTER", "UNDO"}

    preset: bpy.props.StringProperty(name="Expression", description="Of Maquette, or one that you saved")
    strength: bpy.props.FloatProperty(
        name="Strength", description="How much of the expression", min=0, max=1, default=1, subtype="FACTOR"
    )

    def execute(self, context: Any) -> set[str]:
        own_expressions.refresh(running.current_settings().root)
        weights = (own_expressions.mine() | expressions.PRESETS).get(self.preset)
        if weights is None:
            self.report({"ERROR"}, f"There is no expression {self.preset!r}")
            return {"CANCELLED"}
        for block in selected_head(context).data.shape_keys.key_blocks[1:]:
            block.value = weights.get(block.name, 0.0) * self.strength
        return {"FINISHED"}


class MAQUETTE_OT_key_expression(_OfAvatar, bpy.types.Operator):
    """Insert a keyframe for all sliders of the selected avatar"""

    bl_idname = "maquette.key_expression"
    bl_label = "Key All Sliders"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Any) -> set[str]:
        for block in selected_head(context).data.shape_keys.key_blocks[1:]:
            block.keyframe_insert("value")
        return {"FINISHED"}


class MAQUETTE_OT_save_expression(_OfAvatar, bpy.types.Operator):
    """Keep the sliders as they are under a name, for all avatars; a JSON file in the data folder holds them"""

    bl_idname = "maquette.save_expression"
    bl_label = "Save Expression"

    name: bpy.props.StringProperty(name="Name", maxlen=own_expressions.LONGEST_NAME)

    def invoke(self, context: Any, event: Any) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: Any) -> set[str]:
        blocks = selected_head(context).data.shape_keys.key_blocks[1:]
        weights = {block.name: min(max(block.value, 0.0), 1.0) for block in blocks}
        try:
            own_expressions.save(running.current_settings().root, self.name, weights)
        except ExpressionError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class MAQUETTE_OT_delete_expression(bpy.types.Operator):
    """Delete an expression that you saved"""

    bl_idname = "maquette.delete_expression"
    bl_label = "Delete Expression"

    preset: bpy.props.StringProperty(name="Expression")

    def invoke(self, context: Any, event: Any) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: Any) -> set[str]:
        try:
            own_expressions.delete(running.current_settings().root, self.preset)
        except ExpressionError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    MAQUETTE_OT_expression,
    MAQUETTE_OT_key_expression,
    MAQUETTE_OT_save_expression,
    MAQUETTE_OT_delete_expression,
)
