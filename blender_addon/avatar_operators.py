# pyright: reportInvalidTypeForm=false
"""What can be done with an avatar in the scene, or with a file: import, look at it, rig a mesh like it."""

import tempfile
from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from . import avatar_import, running, viewing
from .avatar_data import AvatarFileError, read_avatar
from .client import BackendError


def avatar_of(thing: Any) -> Any:
    """The armature of the avatar that an object belongs to, or None."""
    while thing is not None and avatar_import.AVATAR_MARK not in thing:
        thing = thing.parent
    return thing


def head_of(armature: Any) -> Any:
    """The head of an avatar, whose shape keys all others follow, or None."""
    heads = [child for child in armature.children if child.type == "MESH" and child.data.shape_keys]
    heads = [child for child in heads if avatar_import.PART_MARK in child]
    return max(heads, key=lambda child: len(child.data.shape_keys.key_blocks), default=None)


def selected_head(context: Any) -> Any:
    """The head of the avatar that is active, or None. Cheap."""
    armature = avatar_of(context.object)
    return None if armature is None else head_of(armature)


class MAQUETTE_OT_import_avatar(bpy.types.Operator, ImportHelper):
    """Bring an avatar.npz that Maquette wrote into the scene, rigged and textured"""

    bl_idname = "maquette.import_avatar"
    bl_label = "Import Maquette Avatar"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".npz"
    filter_glob: bpy.props.StringProperty(default="*.npz", options={"HIDDEN"})

    def execute(self, context: Any) -> set[str]:
        path = Path(bpy.path.abspath(self.filepath))
        if path.is_dir():
            path /= "avatar.npz"
        try:
            name = avatar_import.run(read_avatar(path), path.parent.name or "Avatar")
        except AvatarFileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"{name} stands in the scene")
        return {"FINISHED"}


class MAQUETTE_OT_show_avatar(bpy.types.Operator):
    """Look the selected avatar in the face, and show its textures in Solid mode"""

    bl_idname = "maquette.show_avatar"
    bl_label = "Show Avatar"

    @classmethod
    def poll(cls, context: Any) -> bool:
        if context.area is None or context.area.type != "VIEW_3D" or avatar_of(context.object) is None:
            cls.poll_message_set("Select an avatar first, and use it in a 3D viewport")
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        region = next(each for each in context.area.regions if each.type == "WINDOW")
        viewing.show_textures(context.space_data)
        viewing.look_at(avatar_of(context.object), context.space_data, region)
        context.area.tag_redraw()
        return {"FINISHED"}


class MAQUETTE_OT_rig_mesh(bpy.types.Operator):
    """Give the selected head mesh bones, skin weights and shape keys like those of an avatar"""

    bl_idname = "maquette.rig_mesh"
    bl_label = "Rig Selected Mesh"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        like = context.scene.maquette.rig_like
        reason = ""
        if context.mode != "OBJECT":
            reason = "Leave the edit mode first"
        elif context.object is None or context.object.type != "MESH" or not context.object.select_get():
            reason = "Select the mesh of a head first"
        elif like is None or running.JOB_MARK not in like:
            reason = "Choose the avatar it should be like first"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: Any, event: Any) -> set[str]:
        if bpy.app.background:
            return self.execute(context)
        try:
            self._start(context)
        except RuntimeError as problem:
            self.report({"ERROR"}, str(problem))
        return {"CANCELLED"}

    def execute(self, context: Any) -> set[str]:
        try:
            running.ready_session()
            job = self._start(context)
            avatar = running.session().run_blocking(job, lambda line: print(f"Maquette: {line}", flush=True))
        except BackendError as error:
            self.report({"ERROR"}, f"{error.message} {error.hint}".strip())
            return {"CANCELLED"}
        except RuntimeError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        job.avatar = None
        name = avatar_import.run(avatar, job.title, job.request)
        running.sign(name, job)
        job.imported, job.text = name, "Done"
        return {"FINISHED"}

    def _start(self, context: Any) -> Any:
        like = context.scene.maquette.rig_like
        target = Path(tempfile.mkdtemp(prefix="maquette-")) / "mesh.glb"
        selected = list(context.selected_objects)
        try:
            for thing in selected:
                thing.select_set(thing == context.object)
            wanted = {
                "filepath": str(target),
                "export_format": "GLB",
                "use_selection": True,
                "export_apply": True,
                "export_skins": False,
                "export_morph": False,
                "export_animations": False,
            }
            known = bpy.ops.export_scene.gltf.get_rna_type().properties.keys()
            bpy.ops.export_scene.gltf(**{name: value for name, value in wanted.items() if name in known})
        except AttributeError:
            raise RuntimeError("Enable the add-on 'glTF 2.0 format': the mesh is sent as GLB") from None
        finally:
            for thing in selected:
                thing.select_set(True)
        return running.session().rig(target, like[running.JOB_MARK], f"{context.object.name} rigged")


CLASSES = (
    MAQUETTE_OT_import_avatar,
    MAQUETTE_OT_show_avatar,
    MAQUETTE_OT_rig_mesh,
)
