# pyright: reportInvalidTypeForm=false
"""Buttons of the backend's states, and what helps when something went wrong."""

import platform
import sys
from typing import Any

import bpy

from . import platform_support as system
from . import running
from .backend_state import Mode, State


class MAQUETTE_OT_backend(bpy.types.Operator):
    """Look after the backend"""

    bl_idname = "maquette.backend"
    bl_label = "Backend"
    bl_options = {"INTERNAL"}

    action: bpy.props.EnumProperty(
        items=[
            ("PLAN", "Install…", "Look at this computer and say what will be downloaded, before anything is"),
            ("INSTALL", "Download and Install", "Make the backend's own environment; Blender's Python stays untouched"),
            ("CANCEL", "Cancel", "Stop the installation; what was downloaded is kept for the next time"),
            ("REMOVE", "Remove", "Delete the environment and the downloads; avatars stay"),
            ("START", "Start", "Start the backend; it ends with Blender"),
            ("STOP", "Stop", "End the backend and its jobs, and give their memory back"),
            ("PREFERENCES", "Preferences…", "Choose where the backend is"),
        ]
    )

    @classmethod
    def description(cls, context: Any, properties: Any) -> str:
        if properties.action == "INSTALL" and (plan := running.session().plan) is not None:
            return plan.sentence().removesuffix(".")
        return cls.bl_rna.properties["action"].enum_items[properties.action].description

    def invoke(self, context: Any, event: Any) -> set[str]:
        if self.action == "REMOVE":
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, context: Any) -> set[str]:
        session = running.session()
        if self.action in ("INSTALL", "PLAN") and not bpy.app.online_access:
            fixed = bpy.app.online_access_override
            how = "Blender was started without it" if fixed else "Allow it in Preferences > System > Network"
            self.report({"ERROR"}, f"Installing needs online access. {how}")
            return {"CANCELLED"}
        if self.action == "PREFERENCES":
            return bpy.ops.preferences.addon_show(module=__package__)
        if self.action == "INSTALL" and session.plan is None:
            self.report({"ERROR"}, "Press Install first: it says what will be downloaded")
            return {"CANCELLED"}
        {
            "PLAN": session.make_plan,
            "INSTALL": session.install,
            "CANCEL": session.backend.cancel_install,
            "REMOVE": session.remove,
            "START": session.start,
            "STOP": session.stop,
        }[self.action]()
        return {"FINISHED"}


def diagnostics() -> str:
    """What helps to understand a problem, without names and secrets."""
    session = running.session()
    backend, settings = session.backend, session.backend.settings
    lines = [
        f"Maquette add-on {_own_version()}, Blender {bpy.app.version_string}, Python {platform.python_version()}",
        f"System: {platform.platform()}, {platform.machine()}, executable {sys.executable}",
        f"Backend: {backend.sentence}; {settings.mode}; data in {settings.root}",
        f"Online access: {bpy.app.online_access}; longest call of the timer: {1000 * running.longest_tick:.0f} ms",
    ]
    if backend.hello is not None:
        hello = backend.hello
        lines.append(f"Backend {hello.version}: {hello.device}, {hello.cores} cores, {hello.memory_mb} MB")
    for problem in (backend.problem, session.problem):
        if problem is not None:
            lines.append(f"Problem: {problem.code}: {problem.message} {problem.hint}")
    for job in session.jobs[-5:]:
        error = f"; {job.error.code}: {job.error.message}" if job.error else ""
        lines.append(f"Job {job.number}: {job.text}, {job.seconds:.0f} s, {job.request}{error}")
    lines += ["Backend's log:", *backend.last_log_lines(30)]
    return system.masked("\n".join(lines))


def _own_version() -> str:
    import tomllib
    from pathlib import Path

    manifest = (Path(__file__).parent / "blender_manifest.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(manifest)["version"])


class MAQUETTE_OT_copy_diagnostics(bpy.types.Operator):
    """Copy versions, settings and the end of the log, with your name and folders masked"""

    bl_idname = "maquette.copy_diagnostics"
    bl_label = "Copy Diagnostics"

    def execute(self, context: Any) -> set[str]:
        context.window_manager.clipboard = diagnostics()
        self.report({"INFO"}, "Copied: paste it into your report")
        return {"FINISHED"}


class MAQUETTE_OT_open_folder(bpy.types.Operator):
    """Show the folder that holds avatars and logs"""

    bl_idname = "maquette.open_folder"
    bl_label = "Open Data Folder"

    def execute(self, context: Any) -> set[str]:
        folder = running.session().backend.settings.root
        try:
            folder.mkdir(parents=True, exist_ok=True)
            system.open_folder(folder)
        except OSError as problem:
            self.report({"ERROR"}, f"{folder} cannot be shown ({problem})")
            return {"CANCELLED"}
        return {"FINISHED"}


BUTTONS: dict[State, tuple[str, str, str]] = {
    State.NOT_INSTALLED: ("PLAN", "Install…", "IMPORT"),
    State.INSTALLING: ("CANCEL", "Cancel", "CANCEL"),
    State.BROKEN: ("PLAN", "Repair…", "TOOL_SETTINGS"),
    State.STOPPED: ("START", "Start", "PLAY"),
    State.STARTING: ("STOP", "Stop", "CANCEL"),
    State.READY: ("STOP", "Stop", "PAUSE"),
    State.BUSY: ("STOP", "Stop", "PAUSE"),
    State.UPDATE_NEEDED: ("PLAN", "Update…", "FILE_REFRESH"),
}
"""The one button of each state: action, text, icon."""


def button_of(state: State, mode: Mode) -> tuple[str, str, str]:
    """The same where the backend is not the add-on's to install, start and stop."""
    if mode is Mode.REMOTE:
        return ("START", "Connect", "LINKED") if state is State.STOPPED else ("STOP", "Disconnect", "UNLINKED")
    if mode is Mode.ENVIRONMENT and state is State.NOT_INSTALLED:
        return "PREFERENCES", "Preferences…", "PREFERENCES"
    return BUTTONS[state]


CLASSES = (MAQUETTE_OT_backend, MAQUETTE_OT_copy_diagnostics, MAQUETTE_OT_open_folder)
