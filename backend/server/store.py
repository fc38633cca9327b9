"""The jobs on disk: ``DATA/jobs/ID/job.json`` with its inputs and its avatar, and ``DATA/uploads``.

A job.json is written aside and renamed, an avatar folder appears whole: what a killed server leaves is either old or
new, never half.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api import HINTS, ErrorCode, JobError, JobState, JobStatus
from backend.server.forecast import Costs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PREVIEW_WHILE_RUNNING = "progress.png"
_UPLOAD_AGE = 24 * 3600  # seconds an upload is kept that no job names
_ID_LENGTH = 34  # of an upload's id, "u-" and 32 digits
_NAME_LENGTH = 40  # characters kept of an upload's name; with the id below the 255 bytes of most file systems
_AFTER_RESTART = 1_000_000  # added to the revision, which may have grown unsaved before the server was killed
_LOG = logging.getLogger("maquette.server")


def failure(code: ErrorCode, message: str, hint: str = "") -> JobError:
    """An error with the code's own hint unless another is given."""
    return JobError(code.value, message, hint or HINTS.get(code, ""))


class UploadTooLargeError(Exception):
    """The upload exceeds the limit; nothing of it is kept."""


class Store:
    """One data folder. Only one process may use it at a time: see `life.lock_folder`."""

    def __init__(self, data: Path) -> None:
        self._jobs = data / "jobs"
        self._uploads = data / "uploads"
        for folder in (self._jobs, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def folder(self, job: str) -> Path:
        return self._jobs / job

    def avatar(self, job: str) -> Path:
        return self._jobs / job / "avatar"

    def is_whole(self, job: str) -> bool:
        """Whether the avatar of `job` is finished: its folder appears by one rename."""
        return (self.avatar(job) / "report.json").is_file()

    def avatar_files(self, job: str) -> tuple[str, ...]:
        with contextlib.suppress(OSError):
            return tuple(sorted(entry.name for entry in self.avatar(job).iterdir() if entry.is_file()))
        return ()

    def new_folder(self, inputs: list[Path]) -> tuple[str, list[Path]]:
        """A folder for a new job with its own copies of `inputs`; returns its id and theirs. Raises `OSError`."""
        job = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        folder = self.folder(job)
        folder.mkdir()
        try:
            copies = [folder / f"input-{index}-{upload_name(path)}" for index, path in enumerate(inputs)]
            for path, copy in zip(inputs, copies, strict=True):
                _link_or_copy(path, copy)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job, copies

    def save(self, status: JobStatus) -> None:
        """Write job.json: after a power cut it is the old one or this one. Raises `OSError`, and leaves the old one."""
        path = self.folder(status.id) / "job.json"
        aside = path.with_name("job.json.part")
        try:
            with aside.open("w", encoding="utf-8") as file:
                json.dump(status.to_json(), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise

    def load(self) -> list[JobStatus]:
        """All jobs, oldest first, as they are after a start: none waits or runs; leftovers are removed."""
        found = []
        for folder in sorted(self._jobs.iterdir()):
            if folder.name.startswith(".") or not (folder / "job.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # half made or half deleted
                continue
            try:
                status = JobStatus.from_json(json.loads((folder / "job.json").read_text(encoding="utf-8")))
                if status.id != folder.name:
                    raise ValueError("it is of another job")
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
                _LOG.warning("%s is left alone, its job.json cannot be read: %r", folder, problem)
                continue
            self.sweep(status.id)
            now = self._after_restart(status)
            if now != status:
                with contextlib.suppress(OSError):
                    self.save(now)
            found.append(now)
        named = {str(name) for s in found for name in (*s.request.get("portraits", ()), s.request.get("mesh"))}
        self._purge_uploads(named)
        return sorted(found, key=lambda status: status.created)

    def _after_restart(self, status: JobStatus) -> JobStatus:
        if status.state is JobState.DONE and not self.is_whole(status.id):
            error = failure(ErrorCode.NOT_FOUND, "The avatar's files are gone: generate it again.")
            return dataclasses.replace(
                status, state=JobState.FAILED, error=error, files=(), folder=None, revision=status.revision + 1
            )
        if status.state.final:
            return status
        status = dataclasses.replace(
            status, revision=status.revision + _AFTER_RESTART, queue_position=None, seconds_left=None, preview=None
        )
        if self.is_whole(status.id):  # the server was killed between the last rename and its note
            return self.finished(status)
        error = failure(ErrorCode.INTERRUPTED, "The backend ended before this job was finished.")
        return dataclasses.replace(status, state=JobState.FAILED, error=error)

    def finished(self, status: JobStatus) -> JobStatus:
        """`status` as that of a finished job whose avatar is there."""
        return dataclasses.replace(
            status,
            state=JobState.DONE,
            fraction=1.0,
            seconds_left=None,
            error=None,
            preview="preview.png",
            files=self.avatar_files(status.id),
            folder=str(self.avatar(status.id)),
        )

    def sweep(self, job: str) -> None:
        """Remove what a killed worker left half written."""
        with contextlib.suppress(OSError):
            for path in self.folder(job).iterdir():
                if path.name.startswith(".avatar."):
                    shutil.rmtree(path, ignore_errors=True)
                elif path.suffix == ".part":
                    path.unlink(missing_ok=True)

    def remove(self, job: str) -> None:
        """Delete the job's folder. Raises `OSError` when a file of it is in use (Windows), and deletes nothing then."""
        gone = self._jobs / f".deleted-{job}"
        self.folder(job).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def file(self, job: str, name: str) -> Path | None:
        """A file of the job that may be sent: of its avatar, its portrait, or the picture shown meanwhile."""
        if name in self.avatar_files(job):
            return self.avatar(job) / name
        if name == PREVIEW_WHILE_RUNNING:
            path = self.folder(job) / name
            return path if path.is_file() else None
        if name == "portrait":
            return next(iter(sorted(self.folder(job).glob("input-0-*"))), None)
        return None

    def costs(self, job: str) -> Costs | None:
        """What the finished job took, out of its report."""
        try:
            report = json.loads((self.avatar(job) / "report.json").read_text(encoding="utf-8"))
            stages = {str(stage["name"]): float(stage["seconds"]) for stage in report["stages"]}
            return Costs(stages, round(max(float(stage["peak_memory_mb"]) for stage in report["stages"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def take_upload(self, name: str, chunks: AsyncIterator[bytes], limit: int) -> str:
        """Keep a file; the same bytes under the same name have the same id.

        Raises `UploadTooLargeError`, `OSError`; nothing is left then.
        """
        name = re.sub(r"[^\w. -]", "_", name)[-_NAME_LENGTH:].strip() or "file"
        aside = self._uploads / f"{secrets.token_hex(8)}.part"
        digest, size = hashlib.sha256(name.encode()), 0
        try:
            with aside.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise UploadTooLargeError
                    digest.update(chunk)
                    file.write(chunk)
            upload = f"u-{digest.hexdigest()[:32]}"
            aside.replace(self._uploads / f"{upload}-{name}")
            return upload
        finally:
            aside.unlink(missing_ok=True)

    def upload(self, upload: str) -> Path | None:
        """The file of an upload; None when there is none of that id."""
        if not re.fullmatch(r"u-[0-9a-f]{32}", upload):
            return None
        return next(iter(self._uploads.glob(f"{upload}-*")), None)

    def _purge_uploads(self, named: set[str]) -> None:
        for path in self._uploads.iterdir():
            with contextlib.suppress(OSError):
                old = time.time() - path.stat().st_mtime > _UPLOAD_AGE
                if path.suffix == ".part" or (old and path.name[:_ID_LENGTH] not in named):
                    path.unlink()


def upload_name(path: Path) -> str:
    """The name that the user's file had, out of that of an upload or of a job's input."""
    return path.name.split("-", 2)[2]


def _link_or_copy(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, copy)
