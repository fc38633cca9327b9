"""Avatars and their pictures as files of this computer: what lies in the data folder, what is fetched. No bpy.

Reads what the backend's `server/store.py` writes: ``ROOT/jobs/ID/job.json`` and, as soon as it is whole, the folder
``ROOT/jobs/ID/avatar``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .api import JobState, JobStatus
from .client import BackendError, Client

if TYPE_CHECKING:
    from .backend_process import Settings

_AVATAR_FILES = ("avatar.npz", "report.json", "preview.png")
_READ = 200  # jobs; the panel shows a few, and a folder of years must not take seconds


def finished(root: Path) -> list[JobStatus]:
    """What was made here, newest first. Reads files; what cannot be read is left out."""
    found = []
    with contextlib.suppress(OSError):
        # The names begin with the time of their making.
        for folder in sorted((root / "jobs").iterdir(), reverse=True)[:_READ]:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                status = JobStatus.from_json(json.loads((folder / "job.json").read_text(encoding="utf-8")))
                avatar = folder / "avatar"  # the folder may have been moved since job.json was written
                if status.id == folder.name and status.state is JobState.DONE and (avatar / "avatar.npz").is_file():
                    found.append(dataclasses.replace(status, folder=str(avatar)))
    return found


def folder_here(status: JobStatus) -> Path | None:
    """The folder of a finished avatar, if it is on this computer."""
    if status.folder and (Path(status.folder) / "avatar.npz").is_file():
        return Path(status.folder)
    return None


def delete(root: Path, job_id: str) -> None:
    """Delete a finished job as the backend does: what is left over goes at its next start. Raises `BackendError`."""
    try:
        folder = next((each for each in (root / "jobs").iterdir() if each.name == job_id), None)
        if folder is not None:
            gone = folder.with_name(f".deleted-{job_id}")
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    except OSError as problem:
        sentence = f"The avatar cannot be deleted ({problem.strerror})."
        raise BackendError("locked", sentence, "Close what uses its files, then try again.") from problem


def avatar_folder(settings: Settings, client: Client | None, status: JobStatus) -> Path:
    """The folder of a finished avatar on this computer; fetched when it is on another."""
    here = folder_here(status) if settings.local else None
    if here or client is None:
        return here or Path(status.folder or "")
    folder = settings.root / "fetched" / _file_name(status.id)
    for name in _AVATAR_FILES:
        if name in status.files and not (folder / name).exists():
            client.fetch(status.id, name, folder / name)
    return folder


def picture(settings: Settings, client: Client | None, status: JobStatus, name: str) -> Path | None:
    """A picture of a job on this computer, fetched if need be; None when there is none: no reason to fail."""
    here = folder_here(status) if settings.local else None
    if here and (here / name).is_file():
        return here / name
    try:
        name = Path(name).name
        folder = settings.root / "previews" / _file_name(status.id)
        return client.fetch(status.id, name, folder / name) if client else None
    except BackendError:
        return None


def _file_name(job_id: str) -> str:
    """An id as a file name, whatever a backend elsewhere calls its jobs."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in job_id)[:80]
