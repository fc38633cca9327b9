# pyright: reportInvalidTypeForm=false
"""The big button and what belongs to jobs: generate, cancel, history, portraits.

`invoke` (a press) returns at once and leaves the rest to the timer; `execute` (a script) does the whole job and returns
when the avatar stands in the scene: ``bpy.ops.maquette.generate(portrait="face.jpg")``.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from . import avatar_import, running
from .api import AvatarRequest
from .backend_state import State
from .client import BackendError

PICTURES = "*.png;*.jpg;*.jpeg;*.webp;*.tif;*.tiff;*.bmp"
MOST_PORTRAITS = 5


def reason_against(context: Any) -> str:
    """Why there can be no avatar now, or an empty string. Cheap: the panel asks on each redraw."""
    settings = context.scene.maquette
    backend = running.session().backend
    if backend.state in (State.NOT_INSTALLED, State.BROKEN, State.INSTALLING, State.UPDATE_NEEDED):
        return backend.sentence
    if not any(item.image if item.is_image else item.path for item in settings.portraits):
        if settings.engine == "template":
            return "Choose a portrait first"
        if not settings.prompt.strip():
            return "Choose a portrait or write a prompt first"
    hello = running.session().backend.hello
    for engine in hello.engines if hello else ():
        if engine.name == settings.engine and not engine.available:
            return engine.reason or f"The engine {engine.name} is not available"
    return ""


def picture_file(item: Any) -> str:
    """A file with the picture of a portrait; images of the .blend file are written to a temporary one."""
    if not item.is_image:
        return bpy.path.abspath(item.path)
    image = item.image
    on_disk = bpy.path.abspath(image.filepath)
    if not image.is_dirty and image.packed_file is None and Path(on_disk).is_file():
        return on_disk
    target = Path(tempfile.mkdtemp(prefix="maquette-")) / f"{bpy.path.clean_name(image.name)}.png"
    if image.packed_file is not None and not image.is_dirty:
        target.write_bytes(image.packed_file.data)
    else:
        image.save(filepath=str(target), save_copy=True)
    return str(target)


def picture_title(item: Any) -> str:
    """What an avatar of this picture is called."""
    name = item.image.name if item.is_image and item.image else Path(item.path.replace("\\", "/")).name
    return Path(name).stem.replace("_", " ").strip()[:40]


class MAQUETTE_OT_generate(bpy.types.Operator):
    """Make a rigged head from the portraits"""

    bl_idname = "maquette.generate"
    bl_label = "Generate Avatar"
    bl_options = {"REGISTER", "UNDO"}

    portrait: bpy.props.StringProperty(name="Portrait", subtype="FILE_PATH", options={"SKIP_SAVE"})
    prompt: bpy.props.StringProperty(name="Prompt", options={"SKIP_SAVE"})
    engine: bpy.props.StringProperty(name="Engine", options={"SKIP_SAVE"})
    quality: bpy.props.StringProperty(name="Quality", options={"SKIP_SAVE"})
    mesh: bpy.props.StringProperty(name="Mesh", options={"SKIP_SAVE"})
    seed: bpy.props.IntProperty(name="Seed", default=-1, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        return context.scene is not None

    def invoke(self, context: Any, event: Any) -> set[str]:
        if bpy.app.background:
            return self.execute(context)
        try:
            self._start(context)
        except (ValueError, RuntimeError, OSError) as problem:
            self.report({"ERROR"}, str(problem))
        return {"CANCELLED"}  # nothing has changed yet: the undo step is the import's

    def execute(self, context: Any) -> set[str]:
        session = running.ready_session()
        try:
            job = self._start(context)
            avatar = session.run_blocking(job, lambda line: print(f"Maquette: {line}", flush=True))
        except BackendError as error:
            self.report({"ERROR"}, f"{error.message} {error.hint}".strip())
            return {"CANCELLED"}
        except (ValueError, RuntimeError, OSError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        job.avatar = None  # the timer must not bring it in a second time
        name = avatar_import.run(avatar, job.title, job.request)
        running.sign(name, job)
        job.imported, job.text = name, "Done"
        self.report({"INFO"}, f"{name} stands in the scene")
        return {"FINISHED"}

    def _start(self, context: Any) -> Any:
        settings = context.scene.maquette
        files = [self.portrait] if self.portrait else []
        title = Path(self.portrait).stem
        if not files:
            chosen = [item for item in settings.portraits if (item.image if item.is_image else item.path)]
            files = [picture_file(item) for item in chosen]
            title = picture_title(chosen[0]) if chosen else ""
        request = AvatarRequest(
            portraits=tuple(files),
            prompt=self.prompt or settings.prompt,
            engine=self.engine or settings.engine,
            seed=self.seed if self.seed >= 0 else settings.seed,
            quality=self.quality or settings.quality,
            mesh=self.mesh or settings.mesh,
        )
        request.validate()
        return running.session().generate(request, title or request.prompt[:40].strip() or "Avatar")


class MAQUETTE_OT_cancel(bpy.types.Operator):
    """Stop this job and give its memory back"""

    bl_idname = "maquette.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    number: bpy.props.IntProperty()

    def execute(self, context: Any) -> set[str]:
        session = running.session()
        for job in session.jobs:
            if job.number == self.number and not job.finished:
                session.cancel(job)
        return {"FINISHED"}


class MAQUETTE_OT_dismiss(bpy.types.Operator):
    """Take this message away"""

    bl_idname = "maquette.dismiss"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    def execute(self, context: Any) -> set[str]:
        session = running.session()
        session.jobs = [job for job in session.jobs if not (job.finished and job.error)]
        session.problem = None
        session.changed()
        return {"FINISHED"}


class MAQUETTE_OT_add_portraits(bpy.types.Operator, ImportHelper):
    """Choose pictures of one person; the sharpest frontal one makes the avatar"""

    bl_idname = "maquette.add_portraits"
    bl_label = "Use as Portrait"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default=PICTURES, options={"HIDDEN"})
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: Any, event: Any) -> set[str]:
        if self.directory and self.files:  # dropped into the viewport
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[str]:
        portraits = context.scene.maquette.portraits
        named = [str(Path(self.directory, each.name)) for each in self.files if each.name]
        for path in named or [self.filepath]:
            if len(portraits) == MOST_PORTRAITS:
                self.report({"WARNING"}, f"At most {MOST_PORTRAITS} pictures are used")
                break
            portraits.add().path = path
        running.session().changed()  # after a drop Blender does not draw the panel by itself
        return {"FINISHED"}


class MAQUETTE_OT_add_image(bpy.types.Operator):
    """Use an image of this file as a portrait"""

    bl_idname = "maquette.add_image"
    bl_label = "Add Image"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Any) -> set[str]:
        if len(context.scene.maquette.portraits) < MOST_PORTRAITS:
            context.scene.maquette.portraits.add().is_image = True
        return {"FINISHED"}


class MAQUETTE_OT_remove_portrait(bpy.types.Operator):
    """Do not use this picture"""

    bl_idname = "maquette.remove_portrait"
    bl_label = "Remove Picture"
    bl_options = {"INTERNAL", "UNDO"}

    index: bpy.props.IntProperty()

    def execute(self, context: Any) -> set[str]:
        context.scene.maquette.portraits.remove(self.index)
        return {"FINISHED"}


class MAQUETTE_OT_history(bpy.types.Operator):
    """Import, delete or repeat an avatar that was made before"""

    bl_idname = "maquette.history"
    bl_label = "Avatar of the History"
    bl_options = {"INTERNAL"}

    job: bpy.props.StringProperty()
    action: bpy.props.EnumProperty(
        items=[
            ("IMPORT", "Import", "Bring this avatar into the scene once more"),
            ("REPEAT", "Use Settings", "Set the panel to what this avatar was made with"),
            ("DELETE", "Delete", "Delete this avatar and its files"),
            ("REFRESH", "Refresh", "Ask the backend for its avatars"),
        ]
    )

    @classmethod
    def description(cls, context: Any, properties: Any) -> str:
        items = cls.bl_rna.properties["action"].enum_items
        return items[properties.action].description

    def execute(self, context: Any) -> set[str]:
        session = running.session()
        if self.action == "REFRESH":
            session.refresh_history()
            return {"FINISHED"}
        status = next((each for each in session.history if each.id == self.job), None)
        if status is None:
            self.report({"ERROR"}, "This avatar is gone: refresh the history")
            return {"CANCELLED"}
        if self.action == "DELETE":
            session.delete(self.job)
        elif self.action == "IMPORT":
            session.bring_back(status, f"Avatar {status.created[:16].replace('T', ' ')}")
        else:
            use_settings(context.scene.maquette, status.request)
        return {"FINISHED"}


def use_settings(settings: Any, request: dict[str, Any]) -> None:
    """Set the panel to a stored request; pictures that are no files here are left as they are."""
    for name in ("engine", "quality", "mesh", "prompt", "seed"):
        if name in request:
            setattr(settings, name, request[name])
    if files := [path for path in request.get("portraits", ()) if Path(path).is_file()]:
        settings.portraits.clear()
        for path in files:
            settings.portraits.add().path = path


class MAQUETTE_OT_generate_again(bpy.types.Operator):
    """Set the panel to what the selected avatar was made with, with a new seed if you like"""

    bl_idname = "maquette.generate_again"
    bl_label = "Generate Again"
    bl_options = {"REGISTER", "UNDO"}

    new_seed: bpy.props.BoolProperty(name="New Seed", description="Add one to the seed", default=False)

    def execute(self, context: Any) -> set[str]:
        from .avatar_operators import avatar_of

        armature = avatar_of(context.object)
        if armature is None:
            self.report({"ERROR"}, "Select an avatar first")
            return {"CANCELLED"}
        request = json.loads(armature.get(avatar_import.REQUEST_MARK, "{}"))
        request["seed"] = int(request.get("seed", 0)) + int(self.new_seed)
        use_settings(context.scene.maquette, request)
        return bpy.ops.maquette.generate("EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT")


class MAQUETTE_FH_portrait(bpy.types.FileHandler):
    """Pictures dropped into the viewport become portraits."""

    bl_idname = "MAQUETTE_FH_portrait"
    bl_label = "Maquette Portrait"
    bl_import_operator = "maquette.add_portraits"
    bl_file_extensions = PICTURES.replace("*", "")

    @classmethod
    def poll_drop(cls, context: Any) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (
    MAQUETTE_OT_generate,
    MAQUETTE_OT_cancel,
    MAQUETTE_OT_dismiss,
    MAQUETTE_OT_add_portraits,
    MAQUETTE_OT_add_image,
    MAQUETTE_OT_remove_portrait,
    MAQUETTE_OT_history,
    MAQUETTE_OT_generate_again,
    MAQUETTE_FH_portrait,
)
