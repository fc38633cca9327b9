"""What happens inside Blender when things go wrong: ``python disasters_inside.py NAME``, started by `disasters.py`.

Like `scenarios.py`, on which it stands: the built extension in a fresh Blender, settings as JSON on stdin, needs
nothing but Blender. Each disaster is one row: what happened, and what the add-on's panels then say.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from scenarios import (
    MODULE,
    avatars,
    bpy,
    configure,
    install,
    part,
    wait,
)  # first of all: it sets the user's folder for Blender
from screen import look

STAGES = ("starting", "portrait", "fit", "field", "mesh", "texture", "export")
rows: list[dict] = []


def row(what, **facts):
    """Note what the user sees now."""
    part("running").tick()
    seen = look(part("panels"))
    rows.append({"what": what, "seen": seen} | facts)
    bpy.ops.maquette.dismiss()
    return seen


def press(given, prompt=""):
    """What the big button does: the window's press, without a window."""
    settings = bpy.context.scene.maquette
    if not settings.portraits:
        bpy.ops.maquette.add_portraits(filepath=given["portrait"])
    options = {"portrait": "", "prompt": prompt, "engine": "", "quality": "draft", "mesh": "", "seed": -1}
    return part("operators").MAQUETTE_OT_generate._start(SimpleNamespace(**options), bpy.context)


def in_stage(job, stage, seconds=240.0):
    wait(lambda: job.finished or (job.status is not None and job.status.stage == stage), seconds)
    assert not job.finished, f"{stage}: {job.error}"
    return job


def prompt_for(given, stage):
    """The stand-in stays in the stage that the prompt names; the real pipeline comes to it by itself."""
    return f"slow {stage}" if given["stand_in"] else ""


def one_avatar(given):
    """What must not get lost; returns the job's id."""
    job = press(given, f"copying {given['avatar']}" if given["stand_in"] else "")
    wait(lambda: job.imported or job.error, 300)
    assert job.imported, job.error
    return job.status.id


def wait_for_history(condition):
    """The history once it is as it should be; asks the backend until then."""
    session, end = part("running").session(), time.monotonic() + 60
    while not condition(session.history):
        assert time.monotonic() < end, session.history
        session.refresh_history()
        wait(lambda: True)
        time.sleep(0.2)


def still_there(job_id):
    """Whether a finished avatar can still be had from the history, and comes into the scene."""
    wait_for_history(lambda history: any(each.id == job_id and each.state.value == "done" for each in history))
    before, session = len(avatars()), part("running").session()
    bpy.ops.maquette.history(job=job_id, action="IMPORT")
    wait(lambda: session.jobs[-1].imported or session.jobs[-1].error)
    return len(avatars()) == before + 1


def processes(mark):
    """Numbers of all processes of this test, apart from Blender."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return found


def gone(mark, seconds=10.0):
    """Whether the processes of the backend have ended within some seconds."""
    end = time.monotonic() + seconds
    while processes(mark) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(mark)


def stages(given):
    """The backend is killed, then the job is cancelled, in each stage."""
    install(given)
    session = part("running").session()
    finished = one_avatar(given)
    for stage in STAGES:
        job = in_stage(press(given, prompt_for(given, stage)), stage)
        os.kill(session.backend.hello.pid, signal.SIGKILL)
        wait(lambda job=job: job.finished, 30)
        orphans = not gone(given["mark"])
        row(f"The backend is killed: {stage}", orphans=orphans, code=job.error.code)
    for stage in STAGES:
        job = in_stage(press(given, prompt_for(given, stage)), stage)
        (worker,) = set(processes(given["mark"])) - {session.backend.hello.pid}
        started = time.monotonic()
        bpy.ops.maquette.cancel(number=job.number)
        wait(lambda job=job: job.finished, 30)
        seconds = round(time.monotonic() - started, 1)
        wait_for_history(lambda history, job=job: any(e.id == job.status.id and e.state.final for e in history))
        orphans = worker in processes(given["mark"])
        row(f"Cancel is pressed: {stage}", orphans=orphans, code=job.error.code, seconds=seconds)
    for what, harm in (
        ("The job's own process is killed", kill_worker),
        ("Stop is pressed during a job", lambda given: bpy.ops.maquette.backend(action="STOP")),
    ):
        job = in_stage(press(given, prompt_for(given, "field")), "field")
        harm(given)
        wait(lambda job=job: job.finished, 30)
        row(what, code=job.error.code)
    rows.append({"what": "kept", "kept": still_there(finished)})


def kill_worker(given):
    (worker,) = set(processes(given["mark"])) - {part("running").session().backend.hello.pid}
    os.kill(worker, signal.SIGKILL)


def until_killed(given):
    """A job runs; then this Blender is killed from outside."""
    install(given)
    finished = one_avatar(given)
    stage = given["stage"]
    job = in_stage(press(given, prompt_for(given, stage)), stage)
    print(json.dumps({"ready": job.status.id, "finished": finished}), flush=True)
    wait(lambda: False, 600)


def after_a_kill(given):
    """Blender is opened again."""
    install(given)
    bpy.ops.maquette.backend(action="START")
    wait_for_history(lambda history: len(history) >= 2)
    row(given["what"])
    rows.append({"what": "kept", "kept": still_there(given["finished"])})


def quit_in_a_job(given):
    """Blender is closed in an orderly way: this program simply ends."""
    install(given)
    in_stage(press(given, prompt_for(given, "field")), "field")


def other_file(given):
    """Another file is opened while a job runs, and it finishes then."""
    install(given)
    path = str(Path(given["data"]) / "other.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    for what, leave in (
        ("File > New during a job", lambda: bpy.ops.wm.read_homefile(app_template="")),
        ("File > Open during a job", lambda: bpy.ops.wm.open_mainfile(filepath=path)),
    ):
        job = in_stage(press(given, f"held {given['avatar']}"), "field")
        leave()
        row(f"{what}: meanwhile", code="")
        (Path(given["data"]) / "jobs" / job.status.id / "go").touch()
        wait(lambda job=job: job.finished and job.avatar is None, 30)
        assert avatars() == [], "an avatar must not appear in a file that did not ask for it"
        row(f"{what}: then", code=job.error.code)
        rows.append({"what": "kept", "kept": still_there(job.status.id)})
        bpy.ops.wm.open_mainfile(filepath=path)


def two_jobs(given):
    """The button is pressed twice; both avatars arrive, in order."""
    install(given)
    first, second = (press(given, f"held {given['avatar']}") for _ in range(2))
    in_stage(first, "field")
    wait(lambda: second.status is not None and "Waiting" in second.text)
    row("The button is pressed twice", code="")
    for job in (first, second):
        in_stage(job, "field")
        (Path(given["data"]) / "jobs" / job.status.id / "go").touch()
        wait(lambda job=job: job.imported, 30)
    rows.append({"what": "kept", "kept": len(avatars()) == 2})


def late(given):
    """The backend is killed when it has done its part; and when a second job waits."""
    install(given)
    session = part("running").session()
    job = press(given, f"held {given['avatar']}")
    in_stage(job, "field")
    waiting = press(given, "quick")
    wait(lambda: waiting.status is not None)
    os.kill(session.backend.hello.pid, signal.SIGKILL)
    wait(lambda: job.finished and waiting.finished)
    row("The backend is killed while a second job waits", code=waiting.error.code)
    job = press(given, f"copying {given['avatar']}")
    end = time.monotonic() + 60
    while not job.finished or any(each.name == "maquette-command" for each in threading.enumerate()):  # no timer yet
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(session.backend.hello.pid, signal.SIGKILL)
    wait(lambda: job.imported)
    row("The backend is killed when the avatar is on its way into the scene")
    rows.append({"what": "kept", "kept": len(avatars()) == 1 and still_there(job.status.id)})
    bpy.context.scene.maquette.portraits[0].path = str(Path(given["data"]) / "moved.png")
    job = press(given)
    wait(lambda: job.finished)
    row("The picture has been moved away", code=job.error.code)
    shutil.rmtree(Path(given["data"]) / "jobs" / session.history[0].id / "avatar")
    bpy.ops.maquette.history(job=session.history[0].id, action="IMPORT")
    job = session.jobs[-1]
    wait(lambda: job.finished)
    row("An avatar of the history has been deleted on the disk", code=job.error.code)


def failing(given):
    """Jobs that fail for want of something: the prompt tells the stand-in what."""
    install(given)
    finished = one_avatar(given)
    for what, prompt in given["failing"]:
        job = press(given, prompt)
        if prompt == "growing":
            in_stage(job, "field")
            (worker,) = set(processes(given["mark"])) - {part("running").session().backend.hello.pid}
            Path(given["group"]).write_text(str(worker))
            (Path(given["data"]) / "jobs" / job.status.id / "go").touch()
        wait(lambda job=job: job.finished)
        row(what, code=job.error.code)
    if "ballast" in given:
        wait_for_history(lambda history: bool(history))
        command = ["dd", "if=/dev/zero", f"of={given['ballast']}", "bs=4k"]
        subprocess.run(command, capture_output=True, check=False)
        job = press(given, "quick")
        wait(lambda: job.finished)
        row("The disk is full before the job", code=job.error.code)
        bpy.ops.maquette.backend(action="STOP")
        wait(lambda: session_state() == "STOPPED")
        job = press(given, "quick")
        wait(lambda: job.finished)
        row("The disk is full before the backend starts", code=job.error.code)
    rows.append({"what": "kept", "kept": still_there(finished)})


def session_state():
    return part("running").session().backend.state.name


def switched_off(given):
    """The extension is disabled during a job, and enabled again."""
    install(given)
    finished = one_avatar(given)
    in_stage(press(given, prompt_for(given, "field")), "field")
    bpy.ops.preferences.addon_disable(module=MODULE)
    orphans = not gone(given["mark"])
    bpy.ops.preferences.addon_enable(module=MODULE)
    configure(given)  # Blender forgets the preferences of what is switched off
    bpy.ops.maquette.backend(action="START")
    wait_for_history(lambda history: len(history) == 2)
    row("The extension is switched off during a job, and on again", orphans=orphans)
    rows.append({"what": "kept", "kept": still_there(finished)})


def tell(scenario):
    """Run one and print the rows that it found."""
    scenario(json.load(sys.stdin))
    slowest = part("running").longest_tick if MODULE in sys.modules else 0.0
    print(json.dumps({"rows": rows, "slowest": slowest}, default=str), flush=True)


if __name__ == "__main__":
    tell(globals()[sys.argv[-1]])
