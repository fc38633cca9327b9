"""Runs inside Blender: answers what the test outside asks, one call at a time, in Blender's main thread.

Started by ``blender --python probe.py`` with the port to call back in ``MAQUETTE_PROBE``. Every function of `ANSWERS`
can be asked for by name. Needs only Blender, so that one file serves all versions. The test stays outside: Blender is
never held up by it, and a Blender that dies is a failure like any other.
"""

import contextlib
import functools
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback

import bpy

MODULE = "bl_ext.user_default.maquette"
TICK = 0.02  # seconds between two looks at the queue
HANDLERS = ("undo_pre", "redo_pre", "load_pre", "load_post")

durations = {}  # what was called: the seconds of its longest call since the last `measure`
totals = {
    "timer": 0.0,
    "drawing": 0.0,
}  # seconds: of the add-on's timer, of Blender itself between two rounds of timers
imports = {}  # number of a job: its times when its avatar could be imported, and when it stood in the scene
breaks = [0.0, 0.0, 0.0]  # when Blender last ran its timers, the longest time that it did not, the timer's total then


def part(name):
    """A module of the installed extension."""
    return sys.modules[f"{MODULE}.{name}"]


def about():
    return {"blender": bpy.app.version_string, "python": sys.version.split()[0], "online": bpy.app.online_access}


def install(zip):
    """As "Install from Disk" does. Then everything that Blender calls of the add-on is timed."""
    done = bpy.ops.extensions.package_install_files(
        filepath=zip, repo="user_default", enable_on_install=True, overwrite=True
    )
    assert done == {"FINISHED"} and MODULE in bpy.context.preferences.addons, "the zip is not enabled"
    _time_all()


def _timed(name, function, count):
    """`function` of `count` arguments, timed. Blender counts them."""

    def call(*arguments):
        started = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds = time.perf_counter() - started
            durations[name] = max(durations.get(name, 0.0), seconds)
            if name in totals:
                totals[name] += seconds

    calls = (call, call, lambda a, b: call(a, b), lambda a, b, c: call(a, b, c))
    return functools.wraps(function)(calls[count])


def _time_all():
    """Register anew with timed functions: Blender crashes when those of registered classes are exchanged."""
    addon, running = sys.modules[MODULE], part("running")
    addon.unregister()
    for each in part("registration").CLASSES:
        for name, count in (("draw", 2), ("invoke", 3), ("execute", 2)):
            if name in vars(each):
                setattr(each, name, _timed(f"{each.__name__}.{name}", vars(each)[name], count))
        for name in ("poll", "poll_drop"):
            if name in vars(each):
                setattr(each, name, classmethod(_timed(f"{each.__name__}.{name}", vars(each)[name].__func__, 2)))
    setattr(running, "tick", _timed("timer", running.tick, 0))  # noqa: B010
    addon.register()
    for name in HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        for index, handler in enumerate(handlers):
            if handler.__module__.startswith(MODULE):
                handlers[index] = bpy.app.handlers.persistent(_timed(name, handler, 1))


def measure():
    """The longest call of each kind since the last time, seconds, and the longest time without Blender's main loop."""
    found = {"calls": dict(durations), "break": breaks[1]}
    found["imports"] = [
        {name: end[name] - start[name] for name in start} for start, end in imports.values() if end is not None
    ]
    durations.clear()
    breaks[1] = 0.0
    return found


def _watch_imports(now):
    """In the same round of timers as the add-on's, so before the first drawing of the avatar, which is Blender's."""
    if f"{MODULE}.running" not in sys.modules or part("running")._session is None:
        return
    times = totals | {"wall": now}
    for job in part("running")._session.jobs:
        if job.finished and job.avatar is not None:
            imports.setdefault(job.number, (times, None))
        elif job.imported and job.number in imports and imports[job.number][1] is None:
            imports[job.number] = (imports[job.number][0], times)


def prefer(**values):
    """Set the add-on's preferences."""
    chosen = bpy.context.preferences.addons[MODULE].preferences
    for name, value in values.items():
        setattr(chosen, name, value)


def choose(**values):
    """Set the panel's menus."""
    for name, value in values.items():
        setattr(bpy.context.scene.maquette, name, value)
    bpy.ops.ed.undo_push(message="Settings")  # as a choice in the panel is


def areas():
    """All areas with their regions; pixels of the window, the origin is bottom left."""

    def box(thing):
        return {"type": thing.type, "x": thing.x, "y": thing.y, "width": thing.width, "height": thing.height}

    window = bpy.context.window_manager.windows[0]
    found = [box(area) | {"regions": [box(region) for region in area.regions]} for area in window.screen.areas]
    return {"height": window.height, "scale": bpy.context.preferences.system.ui_scale, "areas": found}


def _place(area, region):
    window = bpy.context.window_manager.windows[0]
    there = next(each for each in window.screen.areas if each.type == area)
    return window, there, next(each for each in there.regions if each.type == region)


def open_sidebar(tab):
    _, area, region = _place("VIEW_3D", "UI")
    area.spaces.active.show_region_ui = True
    with contextlib.suppress(TypeError, AttributeError):  # never drawn, it has no tabs yet: ask again
        region.active_panel_category = tab
    return region.active_panel_category == tab


def preview():
    """Show materials instead of Solid mode."""
    _place("VIEW_3D", "WINDOW")[1].spaces.active.shading.type = "MATERIAL"


def swap_area(old, new):
    """Turn the tallest editor of one kind into another."""
    found = [area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == old]
    max(found, key=lambda area: area.height).type = new


def browse(folder):
    """Show a folder in the file browser, one line per file."""
    _, area, _ = _place("FILE_BROWSER", "WINDOW")
    params = area.spaces.active.params
    if params is None:  # not drawn yet: ask again
        return False
    params.directory = folder.encode()
    params.display_type, params.use_filter = "LIST_VERTICAL", False
    area.spaces.active.show_region_toolbar = False  # hardly more than the list fits in
    return True


def under_mouse(area, region):
    """What the button under the pointer does, as Python: the one thing that Blender tells about its buttons."""
    window, area, region = _place(area, region)
    manager = bpy.context.window_manager
    manager.clipboard = ""
    with bpy.context.temp_override(window=window, area=area, region=region):
        for operator, options in (
            (bpy.ops.ui.copy_python_command_button, {}),
            (bpy.ops.ui.copy_data_path_button, {"full_path": True}),
        ):
            with contextlib.suppress(RuntimeError):
                if operator.poll() and operator(**options) == {"FINISHED"}:
                    return manager.clipboard
    return ""


def session():
    """What the add-on knows."""
    current = part("running").session()
    jobs = [
        {
            "text": job.text,
            "fraction": job.fraction,
            "finished": job.finished,
            "imported": job.imported,
            "error": job.error and job.error.message,
        }
        for job in current.jobs
    ]
    backend = current.backend
    return {
        "state": backend.state.name,
        "pid": backend.hello and backend.hello.pid,
        "problem": backend.problem and f"{backend.problem.message} {backend.problem.hint}",
        "progress": list(backend.progress),
        "planned": current.plan is not None,
        "jobs": jobs,
        "history": [status.id for status in current.history],
    }


def scene():
    """What stands in the scene."""
    things = bpy.context.scene.objects
    head = part("avatar_operators").selected_head(bpy.context)
    keys = head.data.shape_keys.key_blocks[1:] if head else ()
    return {
        "avatars": [thing.name for thing in things if "maquette_avatar" in thing],
        "places": [list(thing.location) for thing in things if "maquette_avatar" in thing],
        "objects": len(things),
        "portraits": [item.path for item in bpy.context.scene.maquette.portraits],
        "keys": {key.name: key.value for key in keys},
        "seen_height": _seen_height(head) if head else 0.0,
    }


def _seen_height(head):
    """How much of the viewport's height the head fills; 0 when its middle is out of sight."""
    from bpy_extras.view3d_utils import location_3d_to_region_2d
    from mathutils import Vector

    _, area, region = _place("VIEW_3D", "WINDOW")
    corners = [head.matrix_world @ Vector(corner) for corner in head.bound_box]
    view = area.spaces.active.region_3d
    points = [location_3d_to_region_2d(region, view, corner) for corner in corners]
    if any(point is None for point in points):
        return 0.0
    across, heights = [point.x for point in points], [point.y for point in points]
    middle = (sum(across) / len(across), sum(heights) / len(heights))
    inside = 0 <= middle[0] <= region.width and 0 <= middle[1] <= region.height
    return (max(heights) - min(heights)) / region.height if inside else 0.0


def end():
    bpy.app.timers.register(lambda: bpy.ops.wm.quit_blender() and None, first_interval=0.1)


ANSWERS = {
    function.__name__: function
    for function in (
        about, install, measure, prefer, choose, areas, open_sidebar, swap_area, preview, browse, under_mouse,
        session, scene, end
    )
}  # fmt: skip


def _serve():
    """Bring questions in from the socket and answers out; the timer works between."""
    questions = queue.Queue()
    stream = socket.create_connection(("127.0.0.1", int(os.environ["MAQUETTE_PROBE"]))).makefile("rw", encoding="utf-8")

    def read():
        for line in stream:
            questions.put(json.loads(line))

    def answer():
        now = time.perf_counter()
        if breaks[0]:
            lost = now - breaks[0] - TICK
            breaks[1] = max(breaks[1], lost)
            totals["drawing"] += max(lost - (totals["timer"] - breaks[2]), 0.0)
        _watch_imports(now)
        with contextlib.suppress(queue.Empty):
            question = questions.get_nowait()
            try:
                reply = {"value": ANSWERS[question["ask"]](**question["given"])}
            except Exception as problem:  # belongs to the test, not into Blender's log
                reply = {"error": "".join(traceback.format_exception_only(problem)).strip()}
            stream.write(json.dumps(reply) + "\n")
            stream.flush()
        breaks[0], breaks[2] = time.perf_counter(), totals["timer"]
        return TICK

    threading.Thread(target=read, daemon=True).start()
    bpy.app.timers.register(answer, first_interval=1.0, persistent=True)


if __name__ == "__main__":
    view = bpy.context.preferences.view
    view.show_splash = False
    bpy.context.preferences.system.viewport_aa = "OFF"  # drawing without a graphics card takes twice as long with it
    view.filebrowser_display_type = "SCREEN"  # a second window would need a window manager
    _serve()
