"""Where the backend is, in words: one sentence for each state, and what to do when it does not start. No bpy."""

from __future__ import annotations

import enum

from .client import BackendError


class State(enum.Enum):
    """Where the backend is; the value is the sentence."""

    NOT_INSTALLED = "The backend is not installed"
    INSTALLING = "Installing the backend"
    BROKEN = "The installation is incomplete"
    STOPPED = "The backend is stopped"
    STARTING = "The backend is starting"
    READY = "The backend is ready"
    BUSY = "The backend is working"
    UPDATE_NEEDED = "The backend is of another version"


class Mode(enum.StrEnum):
    """Whose backend is used."""

    MANAGED = "MANAGED"  # installed by the add-on
    ENVIRONMENT = "ENVIRONMENT"  # an existing environment of the user
    REMOTE = "REMOTE"  # started by somebody else, here or on another machine


_OTHERWISE = {
    (Mode.REMOTE, State.STOPPED): "Not connected to the backend",
    (Mode.REMOTE, State.STARTING): "Connecting to the backend",
    (Mode.ENVIRONMENT, State.NOT_INSTALLED): "The chosen environment is not there",
}

_HINTS = {
    State.NOT_INSTALLED: "Press Install in the panel.",
    State.INSTALLING: "Wait until it is installed.",
    State.BROKEN: "Press Repair in the panel.",
    State.UPDATE_NEEDED: "Press Update in the panel.",
}


def sentence(state: State, mode: Mode) -> str:
    """What the panel says, without a full stop."""
    return _OTHERWISE.get((mode, state), state.value)


def not_ready(state: State, mode: Mode) -> BackendError:
    """Why a backend in this state cannot be started."""
    hint = _HINTS.get(state, "")
    if mode is Mode.ENVIRONMENT:
        hint = "Choose another Python in the preferences, or let the add-on install the backend."
    return BackendError("not_installed", f"{sentence(state, mode)}.", hint)


def ended_at_start(last_line: str) -> BackendError:
    """Why a backend ended before it listened, from the last line that it wrote; `broken` asks for a repair."""
    line = last_line.strip().removeprefix("error: ").rstrip(".")
    if "Another backend uses the data folder" in line:
        hint = "Close the other one, or choose another data folder in the preferences."
        return BackendError("folder_in_use", "Another Blender, or backend, uses this data folder.", hint)
    if "ModuleNotFoundError" in line or "No module named" in line:
        return BackendError("broken", f"The backend lacks a part ({line}).", "Repair the installation.")
    what = f": {line}." if line else "."
    hint = "Press Start once more. If that does not help, copy the diagnostics and report it."
    return BackendError("cannot_start", f"The backend ended right after its start{what}", hint)
