"""More of `disasters_inside.py`: backends that do not start, are not there, or are not ours."""

import os
import signal
import sys
from pathlib import Path

from disasters_inside import in_stage, press, row, tell
from scenarios import MODULE, bpy, install, part, wait


def half_installed(given):
    """Blender was killed during the installation: a folder without the mark that is written last."""
    install(given)
    bpy.context.preferences.system.use_online_access = True
    (Path(given["data"]) / "environment").mkdir()
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.data_folder = "MANAGED", given["data"]
    backend = part("running").session().backend
    wait(lambda: backend.settings.mode == "MANAGED" and backend.state.name == "BROKEN")
    row("Blender is killed during the installation, and opened again")


def silent(given):
    """A backend elsewhere that is stopped, or hangs, during a job."""
    install(given)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    session = part("running").session()
    preferences.mode, preferences.data_folder = "REMOTE", given["data"]
    for what, number, address in (
        ("The backend on another machine hangs", signal.SIGSTOP, given["hangs"]),
        ("The backend on another machine is killed", signal.SIGKILL, given["dies"]),
    ):
        preferences.url, preferences.token = address["url"], address["token"]
        wait(lambda address=address: session.backend.settings.url == address["url"])
        session.backend.client()._timeout = 1.0  # instead of 15
        job = in_stage(press(given, "slow field"), "field")
        os.kill(address["pid"], number)
        wait(lambda job=job: job.finished)
        row(what, code=job.error.code)


def addresses(given):
    """A backend that somebody else started: none there, another program, a wrong token, another version."""
    install(given)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    session = part("running").session()
    preferences.mode, preferences.token, preferences.data_folder = "REMOTE", "wrong", given["data"]
    for what, url in given["addresses"]:
        preferences.url = url
        wait(lambda url=url: session.backend.settings.url == url)
        job = press(given)
        wait(lambda job=job: job.finished)
        row(what, code=job.error.code)


def start(given):
    """The backend cannot start, or is killed while it does."""
    install(given)
    session = part("running").session()
    for what, python, data in given["starts"]:
        preferences = bpy.context.preferences.addons[MODULE].preferences
        preferences.mode, preferences.python, preferences.data_folder = "ENVIRONMENT", python, data
        wait(lambda p=python, d=data: (session.backend.settings.python, str(session.backend.settings.root)) == (p, d))
        job = press(given)
        if "killed" in what:
            wait(lambda: session.backend._process is not None)
            session.backend._process.kill()
        wait(lambda job=job: job.finished)
        row(what, code=job.error.code)


if __name__ == "__main__":
    tell(globals()[sys.argv[-1]])
