"""The one session of this Blender, the timer that looks after it, and the handlers that protect it.

The timer is the only place where results of threads become Blender data, and it works in short slices.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from . import avatar_import, own_expressions, stillness, viewing
from .backend_process import Mode, Settings, State
from .client import BackendError
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Generator

    from .session import Job

JOB_MARK = "maquette_job"  # on the armature, object and data: the backend's id of the job
# Seconds of work per call of the timer, after which no further step of an import begins: short, but a longer one where
# Blender takes long to draw between two calls, as without a graphics card.
_SLICE, _LONGEST_SLICE, _SLICE_PER_PAUSE = 0.01, 0.03, 0.1
_IMPORTING, _BUSY, _IDLE = 0.005, 0.1, 1.0  # seconds between calls

_session: Session | None = None
_build: Generator[str, None, str] | None = None
_building: Job | None = None
_arrived = ""  # the armature that the next call shows to the user
_drawn_revision = -1
_ended = 0.0  # when the last call of the timer ended
_previews: Any = None
longest_tick = 0.0  # seconds; measured for the diagnostics


def session() -> Session:
    """The session; made when it is first needed."""
    global _session
    if _session is None:
        _session = Session(current_settings())
        _session.configure(_session.wanted)
    return _session


def ready_session() -> Session:
    """The same for scripts, for whom no timer looks at the preferences; may take seconds."""
    current, wanted = session(), current_settings()
    current.wanted = wanted
    current.backend.configure(wanted)
    current.backend.inspect()
    return current


def preferences() -> Any:
    """The add-on's preferences, or None where it is not registered as an extension."""
    entry = bpy.context.preferences.addons.get(__package__)
    return entry.preferences if entry else None


def default_root() -> Path:
    """Where environment and avatars go unless the user decides otherwise."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, path="data", create=False))
    except ValueError:  # not installed as an extension
        return Path(bpy.utils.user_resource("DATAFILES", path="maquette"))


def current_settings() -> Settings:
    """The preferences as plain data."""
    chosen = preferences()
    package = Path(__file__).parent
    if chosen is None:
        return Settings(default_root(), package)
    root = Path(bpy.path.abspath(chosen.data_folder)) if chosen.data_folder else default_root()
    return Settings(
        root,
        package,
        Mode(chosen.mode),
        bpy.path.abspath(chosen.python) if chosen.python else "",
        chosen.url,
        chosen.token,
        chosen.device,
    )


def tick() -> float:
    """What the timer does: bring finished avatars in, slice by slice, and redraw what changed."""
    global longest_tick, _ended
    started = time.perf_counter()
    current = session()
    if current.backend.poll():
        current.changed()
    if (wanted := current_settings()) != current.wanted:
        current.configure(wanted)
    own_expressions.refresh(wanted.root)
    if (scene := getattr(bpy.context, "scene", None)) is not None:
        chosen = scene.maquette
        current.ask_estimate(chosen.engine, chosen.quality, chosen.mesh)
    _show_arrived()
    pause = started - _ended if _ended else 0.0
    _import_some(started + min(max(_SLICE, pause * _SLICE_PER_PAUSE), _LONGEST_SLICE))
    _redraw(current)
    _ended = time.perf_counter()
    longest_tick = max(longest_tick, _ended - started)
    if _build is not None or _arrived:
        return _IMPORTING
    return _BUSY if _is_busy(current) else _IDLE


def _show_arrived() -> None:
    """In the call after the import: only then has Blender worked out where everything is."""
    global _arrived
    name, _arrived = _arrived, ""
    if (armature := bpy.data.objects.get(name)) is not None:
        viewing.find_avatar(armature)


def _is_busy(current: Session) -> bool:
    return bool(current.active) or current.backend.state in (State.INSTALLING, State.STARTING)


def _import_some(deadline: float) -> None:
    global _build, _building
    began = time.perf_counter()
    if _build is None:
        _building = next((job for job in session().jobs if job.finished and job.avatar is not None), None)
        if _building is None:
            return
        if _building.file_generation != session().file_generation:
            _set_aside(_building)
            return
        assert _building.avatar is not None
        if not stillness.ask():
            return
        _build = avatar_import.build(_building.avatar, _building.title, _building.request)
    try:
        while time.perf_counter() < deadline:
            if next(_build) == avatar_import.ALL_BUT_SHOWN and time.perf_counter() - began > _SLICE:
                return  # showing it and the undo step that follows get a call of their own
    except StopIteration as end:
        _finish(_building, end.value)
        bpy.ops.ed.undo_push(message="Generate Avatar")
    except Exception as problem:
        if _building is not None:
            _building.error = BackendError("import", f"The import failed ({problem}).", "Import it from the history.")
            _building.avatar = None
        _build = None
        session().changed()


def _finish(job: Job | None, name: str) -> None:
    global _build, _arrived
    _build, _arrived = None, name
    if job is not None:
        sign(name, job)
        job.imported, job.avatar, job.text = name, None, "Done"
    session().changed()


def sign(name: str, job: Job) -> None:
    """Store on the armature which job it came from, for `Generate Again` and `Rig Selected Mesh`."""
    armature = bpy.data.objects[name]
    if job.status is not None:
        armature[JOB_MARK] = armature.data[JOB_MARK] = job.status.id
    stored = json.loads(armature[avatar_import.VERSIONS_MARK])
    if (hello := session().backend.hello) is not None:
        stored.setdefault("maquette", hello.version)
    stored["blender"] = bpy.app.version_string
    armature[avatar_import.VERSIONS_MARK] = json.dumps(stored)


def _set_aside(job: Job) -> None:
    """An avatar whose file was closed meanwhile is not put into another; it stays in the history."""
    job.avatar = None
    job.text = "Finished after its file was closed"
    job.error = BackendError("other_file", "It was finished after its file was closed.", "Import it from the history.")
    session().changed()


def _redraw(current: Session) -> None:
    global _drawn_revision
    # Not between the slices of an import: where drawing is slow they would wait for it a hundred times.
    if current.revision == _drawn_revision and (_build is not None or not _is_busy(current)):
        return
    _drawn_revision = current.revision
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def interrupt_import(*_: Any) -> None:
    """Before an undo, a redo or another file: all references of a half-made import are about to die."""
    global _build
    if _build is not None:
        with contextlib.suppress(ReferenceError, RuntimeError):
            _build.close()
        _build = None  # the timer starts it anew


def _before_load(*arguments: Any) -> None:
    interrupt_import()


def _after_load(*_: Any) -> None:
    if _session is not None:
        _session.file_generation += 1
        _session.changed()


def thumbnail(path: Path) -> int:
    """Icon of a picture on the disk; Blender reads it beside."""
    global _previews
    if _previews is None:
        from bpy.utils import previews

        _previews = previews.new()
    key = str(path)
    if key not in _previews:
        _previews.load(key, key, "IMAGE")
    return _previews[key].icon_id


_HANDLERS = {
    "undo_pre": interrupt_import,
    "redo_pre": interrupt_import,
    "load_pre": _before_load,
    "load_post": _after_load,
}


def start() -> None:
    """Called by `register`."""
    for name, handler in _HANDLERS.items():
        handlers = getattr(bpy.app.handlers, name)
        if handler not in handlers:
            handlers.append(bpy.app.handlers.persistent(handler))
    bpy.app.timers.register(tick, first_interval=0.5, persistent=True)


def stop() -> None:
    """Called by `unregister`, also in the middle of a job: nothing is left behind."""
    global _session, _previews
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    interrupt_import()
    for name, handler in _HANDLERS.items():
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
    if _previews is not None:
        from bpy.utils import previews

        previews.remove(_previews)
        _previews = None
    if _session is not None:
        _session.close()
        _session = None
