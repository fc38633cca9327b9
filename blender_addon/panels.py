"""The sidebar of the 3D viewport. `draw` reads what is in memory and nothing else."""

import contextlib
import datetime
import textwrap
from typing import Any

import bpy

from . import expressions, own_expressions, running
from .api import ENGINES, EXPERIMENTAL
from .avatar_operators import avatar_of, selected_head
from .backend_operators import button_of
from .backend_state import State
from .operators import MOST_PORTRAITS, reason_against

_NO_BACKEND = (State.NOT_INSTALLED, State.INSTALLING, State.BROKEN, State.UPDATE_NEEDED)
_DEVICE_NAMES = {"cpu": "Processor", "cuda": "NVIDIA card", "mps": "Apple GPU"}
_WIDTH = 38  # characters that a label of the sidebar shows at its default width


def _sentence(layout: Any, text: str, *, alert: bool = False, icon: str = "NONE") -> None:
    """A long text in lines that are not cut off."""
    column = layout.column(align=True)
    column.alert = alert
    for number, line in enumerate(textwrap.wrap(text, _WIDTH - 4) or [""]):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE")


def _draw_facts(layout: Any, facts: list[tuple[str, str]]) -> None:
    """Two columns; of a long path the end is what tells it apart."""
    column = layout.box().column(align=True)
    for name, value in facts:
        row = column.split(factor=0.4)
        row.label(text=name)
        row.label(text=value if len(value) <= _WIDTH // 2 else f"…{value[1 - _WIDTH // 2 :]}")


def _draw_engines(layout: Any, settings: Any, hello: Any) -> None:
    """The engines to choose from; an experimental one only where it can run, or where it was chosen."""
    able = {engine.name for engine in hello.engines if engine.available} if hello else set()
    offered = [name for name in ENGINES if name not in EXPERIMENTAL or name in able or name == settings.engine]
    if len(offered) == len(ENGINES):
        layout.prop(settings, "engine")
        return
    split = layout.split(factor=0.4)  # where a property's own label would end
    label, row = split.row(), split.row(align=True)
    label.alignment = "RIGHT"
    label.label(text="Engine")
    row.use_property_split = False  # or each choice would be split as if it were a property
    for name in offered:
        row.prop_enum(settings, "engine", name)


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Maquette"


class MAQUETTE_PT_generate(_Panel, bpy.types.Panel):
    bl_label = "Generate Avatar"

    def draw(self, context: Any) -> None:
        layout, settings, session = self.layout, context.scene.maquette, running.session()
        _draw_portraits(layout, settings)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(settings, "prompt")
        _draw_engines(column, settings, session.backend.hello)
        column.prop(settings, "quality")
        header, body = layout.panel("maquette_advanced", default_closed=True)
        header.label(text="Advanced")
        if body:
            body.use_property_split, body.use_property_decorate = True, False
            body.prop(settings, "mesh")
            body.prop(settings, "seed")
        reason = reason_against(context)
        if session.estimate is not None and not reason:
            estimate = session.estimate
            memory = f"{estimate.memory_mb / 1000:.1f} GB of memory"
            layout.label(text=f"About {_duration(estimate.seconds)}, {memory}", icon="TIME")
        button = layout.row()
        button.scale_y = 1.5
        button.enabled = not reason
        button.operator_context = "INVOKE_DEFAULT"
        button.operator("maquette.generate", icon="OUTLINER_OB_ARMATURE")
        if reason:
            below = ": see Backend below" if session.backend.state in _NO_BACKEND else ""
            _sentence(layout, reason + below, icon="INFO")
        _draw_jobs(layout, session)


def _draw_portraits(layout: Any, settings: Any) -> None:
    column = layout.column(align=True)
    if not settings.portraits:
        column.label(text="Portrait, or several of one person")
    for index, item in enumerate(settings.portraits):
        row = column.row(align=True)
        if item.is_image:
            row.template_ID(item, "image", open="image.open")
        else:
            row.prop(item, "path", text="")
        row.operator("maquette.remove_portrait", text="", icon="X").index = index
    if len(settings.portraits) < MOST_PORTRAITS:
        row = column.row(align=True)
        row.operator("maquette.add_portraits", text="From Disk…", icon="FILE_IMAGE")
        row.operator("maquette.add_image", text="From Blender", icon="IMAGE_DATA")


def _draw_jobs(layout: Any, session: Any) -> None:
    for job in session.active:
        box = layout.box()
        if job.preview is not None:
            box.template_icon(running.thumbnail(job.preview), scale=6)
        left = job.status.seconds_left if job.status else None
        more = f", {_duration(left)} left" if left is not None else f", {_duration(job.seconds)}"
        box.label(text=job.title)
        box.progress(factor=job.fraction, text=f"{job.text}{more}")
        if not job.finished:
            row = box.row()
            row.enabled = not job.cancelled.is_set()
            row.operator("maquette.cancel", icon="CANCEL").number = job.number
    failed = [job.error for job in session.jobs if job.finished and job.error and job.error.code != "cancelled"]
    problems = [*failed[-1:], *([session.problem] if session.problem and not failed else [])]
    for problem in problems:
        box = layout.box()
        _sentence(box, problem.message, alert=True, icon="ERROR")
        if problem.hint:
            _sentence(box, problem.hint)
        row = box.row(align=True)
        row.operator("maquette.copy_diagnostics", icon="COPYDOWN")
        row.operator("maquette.dismiss", text="", icon="X")


class MAQUETTE_PT_avatar(_Panel, bpy.types.Panel):
    bl_label = "Expressions"

    @classmethod
    def poll(cls, context: Any) -> bool:
        return selected_head(context) is not None

    def draw(self, context: Any) -> None:
        layout, head = self.layout, selected_head(context)
        layout.operator("maquette.show_avatar", icon="ZOOM_SELECTED")
        grid = layout.grid_flow(row_major=True, columns=3, align=True, even_columns=True)
        for name in expressions.PRESETS:
            grid.operator("maquette.expression", text=name).preset = name
        for name in own_expressions.mine():
            row = layout.row(align=True)
            row.operator("maquette.expression", text=name).preset = name
            row.operator("maquette.delete_expression", text="", icon="X").preset = name
        row = layout.row(align=True)
        row.operator_context = "INVOKE_DEFAULT"
        row.operator("maquette.save_expression", text="Save…", icon="ADD")
        row.operator("maquette.key_expression", icon="KEY_HLT")
        blocks = head.data.shape_keys.key_blocks[1:]
        for title in expressions.GROUPS:
            header, body = layout.panel(f"maquette_{title}", default_closed=title != "Mouth")
            header.label(text=title)
            if body:
                column = body.column(align=True)
                for block in blocks:
                    if expressions.group_of(block.name) == title:
                        column.prop(block, "value", text=expressions.words(block.name), slider=True)
        armature = avatar_of(context.object)
        layout.operator("maquette.add_metarig", icon="OUTLINER_OB_ARMATURE")
        layout.operator("maquette.generate_again", icon="FILE_REFRESH").new_seed = False
        layout.label(text=armature.name, icon="ARMATURE_DATA")


class MAQUETTE_PT_rig(_Panel, bpy.types.Panel):
    bl_label = "Rig a Mesh"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        column = self.layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(context.scene.maquette, "rig_like")
        self.layout.operator_context = "INVOKE_DEFAULT"
        self.layout.operator("maquette.rig_mesh", icon="MOD_ARMATURE")


class MAQUETTE_PT_history(_Panel, bpy.types.Panel):
    bl_label = "History"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        layout, session = self.layout, running.session()
        layout.operator("maquette.history", text="Refresh", icon="FILE_REFRESH").action = "REFRESH"
        for status in session.history[:12]:
            box = layout.box()
            row = box.row()
            if (picture := session.thumbnails.get(status.id)) is not None:
                row.template_icon(running.thumbnail(picture), scale=3)
            column = row.column()
            column.label(text=_local_time(status.created))
            what = f"{str(status.request.get('quality', status.kind.value)).capitalize()}, {_duration(status.seconds)}"
            finished = status.state.value == "done"
            _sentence(column, status.error.message if status.error else what if finished else status.state.value)
            if status.state.final:
                row = box.row(align=True)
                if finished:
                    _history_button(row, status, "IMPORT", "Import")
                _history_button(row, status, "REPEAT", "Settings")
                _history_button(row, status, "DELETE", "Delete")


def _history_button(row: Any, status: Any, action: str, text: str) -> None:
    button = row.operator("maquette.history", text=text)
    button.job, button.action = status.id, action


class MAQUETTE_PT_backend(_Panel, bpy.types.Panel):
    bl_label = "Backend"

    def draw(self, context: Any) -> None:
        layout, session = self.layout, running.session()
        backend, state = session.backend, session.backend.state
        _sentence(layout, backend.sentence, alert=state is State.BROKEN)
        if backend.hello is not None and state in (State.READY, State.BUSY):
            hello = backend.hello
            cores = f"{hello.cores} core" + "s" * (hello.cores != 1)
            layout.label(text=f"{_DEVICE_NAMES.get(hello.device, hello.device)}, {cores}, version {hello.version}")
        if state is State.INSTALLING:
            text, fraction = backend.progress
            layout.progress(factor=fraction, text=text)
        problem = session.plan_error or backend.problem
        if problem is not None:
            _sentence(layout, problem.message, alert=True, icon="ERROR")
            _sentence(layout, problem.hint)
        action, text, icon = button_of(state, backend.settings.mode)
        if action == "PLAN" and session.plan is not None:
            _draw_facts(layout, session.plan.facts())
            action, text = "INSTALL", "Download and Install"
        offline = action in ("PLAN", "INSTALL") and not bpy.app.online_access
        if offline:
            _sentence(layout, "Installing needs online access", icon="INFO")
            layout.operator("extensions.userpref_show_online", text="Open Network Preferences", icon="PREFERENCES")
        elif state is State.STOPPED and backend.settings.local and problem is None:
            layout.label(text="It starts by itself when needed")
        row = layout.row()
        row.scale_y = 1.2
        row.enabled = not offline
        row.operator("maquette.backend", text=text, icon=icon).action = action
        if state in (State.STOPPED, State.BROKEN, State.UPDATE_NEEDED) and backend.settings.mode == "MANAGED":
            layout.operator("maquette.backend", text="Remove", icon="TRASH").action = "REMOVE"
        row = layout.row(align=True)
        row.operator("maquette.copy_diagnostics", icon="COPYDOWN")
        row.operator("maquette.open_folder", text="", icon="FILE_FOLDER")


def _local_time(created: str) -> str:
    """ISO 8601 in UTC as the clock on the wall shows it."""
    with contextlib.suppress(ValueError):
        return datetime.datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    return created


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


CLASSES = (MAQUETTE_PT_generate, MAQUETTE_PT_avatar, MAQUETTE_PT_rig, MAQUETTE_PT_history, MAQUETTE_PT_backend)
