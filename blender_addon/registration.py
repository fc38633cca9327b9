"""One explicit list of classes, in the order in which they are registered."""

from typing import Any

import bpy

from . import (
    avatar_operators,
    backend_operators,
    expression_operators,
    operators,
    panels,
    preferences,
    properties,
    rigify_metarig,
    running,
)

CLASSES = (
    *properties.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *avatar_operators.CLASSES,
    *expression_operators.CLASSES,
    *rigify_metarig.CLASSES,
    *backend_operators.CLASSES,
    *panels.CLASSES,
)


def _add_menu(menu: Any, context: Any) -> None:
    menu.layout.operator("maquette.import_avatar", text="Maquette Avatar (.npz)")


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Scene.maquette = bpy.props.PointerProperty(type=properties.MaquetteSettings)
    bpy.types.TOPBAR_MT_file_import.append(_add_menu)
    running.start()


def unregister() -> None:
    running.stop()
    bpy.types.TOPBAR_MT_file_import.remove(_add_menu)
    del bpy.types.Scene.maquette
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
