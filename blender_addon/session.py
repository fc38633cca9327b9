"""What happens between the button and the avatar: jobs, history, estimates. No bpy.

Threads wait, Blender's main thread acts. Every public method returns at once and hands slow work to a thread; threads
write plain data into the objects here and count up `revision`, which is all that a timer has to look at. The one
exception is `run_blocking`, for scripts.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import archive, stillness
from .api import STAGES, AvatarRequest, Estimate, JobState, JobStatus, RigRequest
from .avatar_data import AvatarFileError, read_avatar
from .backend_process import Backend, Settings, State
from .client import LONGEST_WAIT, BackendError, Client
from .install_plan import InstallError, Plan, make_plan
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from .avatar_data import AvatarData

    Submit = Callable[[Client, Job], JobStatus]

_TRIES = 3  # a status request that gets no answer is repeated


class Session:
    """All that the add-on knows while Blender runs."""

    def __init__(self, settings: Settings) -> None:
        self.backend = Backend(settings)
        self.wanted = settings
        self.jobs: list[Job] = []
        self.history: list[JobStatus] = []
        self.thumbnails: dict[str, Path] = {}
        self.estimate: Estimate | None = None
        self.plan: Plan | None = None
        self.plan_error: BackendError | None = None
        self.file_generation = 0
        self.revision = 0
        self.problem: BackendError | None = None  # of the last command that was no job
        self._numbers = itertools.count(1)
        self._closed = False
        self._asked_estimate: tuple[str, str, str] | None = None

    @property
    def active(self) -> list[Job]:
        """Jobs that are under way or wait to be imported, oldest first."""
        return [job for job in self.jobs if not job.finished or job.avatar is not None]

    def changed(self) -> None:
        self.backend.jobs_running = sum(not job.finished for job in self.jobs)
        self.revision += 1

    # Jobs

    def generate(self, request: AvatarRequest, title: str) -> Job:
        """Start a job in a thread; `request.portraits` are files on this computer."""

        def submit(client: Client, job: Job) -> JobStatus:
            uploads = []
            for portrait in request.portraits:
                job.stop_if_cancelled()
                uploads.append(client.upload(Path(portrait)))
            return client.generate(dataclasses.replace(request, portraits=tuple(uploads)))

        return self._begin(title, request.to_json(), submit)

    def rig(self, mesh: Path, like: str, title: str) -> Job:
        """The same for the head in the file `mesh`, rigged like the avatar of the job `like`."""

        def submit(client: Client, job: Job) -> JobStatus:
            return client.rig(RigRequest(client.upload(mesh), like))

        return self._begin(title, {"mesh": title, "like": like}, submit)

    def bring_back(self, status: JobStatus, title: str) -> Job:
        """Import a finished avatar of the history once more; from this computer's disk without a backend."""
        if self.backend.settings.local and archive.folder_here(status):
            return self._begin(title, status.request, None, status)
        return self._begin(title, status.request, lambda client, job: client.job(status.id))

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits or runs; it ends by itself in its thread."""
        job.cancelled.set()
        job.text = "Cancelling"
        if job.status is not None and self.backend.state in (State.READY, State.BUSY):  # else nothing runs any more
            job_id = job.status.id
            self._background(lambda: self.backend.client().cancel(job_id))
        self.changed()

    def run_blocking(self, job: Job, say: Callable[[str], None]) -> AvatarData:
        """Wait for a job, for scripts. Raises `BackendError`; Ctrl-C cancels the job."""
        said = ""
        try:
            while not job.finished:
                line = f"{job.text} {round(100 * job.fraction)} %"
                if line != said:
                    say(line)
                    said = line
                time.sleep(0.05)
        except KeyboardInterrupt:
            self.cancel(job)
            raise
        if job.error is not None or job.avatar is None:
            raise job.error or BackendError("internal", "The job ended without an avatar.")
        return job.avatar

    def _begin(
        self, title: str, request: dict[str, Any], submit: Submit | None, status: JobStatus | None = None
    ) -> Job:
        job = Job(next(self._numbers), title, request, self.file_generation, status=status)
        before = self.jobs[-1] if self.jobs else None
        self.jobs = [*self.jobs[-20:], job]
        self.changed()
        thread = threading.Thread(
            target=self._run, args=(job, before, submit), name=f"maquette-job-{job.number}", daemon=True
        )
        thread.start()
        return job

    @stillness.working()
    def _run(self, job: Job, before: Job | None, submit: Submit | None) -> None:
        """The life of a job, in its thread."""
        try:
            client = self._make(job, before, submit) if submit else None
            job.text = "Fetching the avatar"
            assert job.status is not None
            avatar = read_avatar(archive.avatar_folder(self.backend.settings, client, job.status) / "avatar.npz")
            job.text, job.avatar = "Importing", avatar
        except BackendError as error:
            job.error = error
        except AvatarFileError as error:
            job.error = BackendError("bad_avatar", str(error), "Make it again.")
        except Exception as problem:  # a thread that dies in silence would leave the panel waiting for ever
            job.error = BackendError("internal", f"The add-on failed ({problem!r}).", "Copy the diagnostics.")
        finally:
            if job.error is not None:
                job.text = "Cancelled" if job.error.code == "cancelled" else "Failed"
            job.submitted.set()
            job.finished = True
            self.changed()
        if not self._closed and self.backend.state in (State.READY, State.BUSY):
            self.refresh_history()

    def _make(self, job: Job, before: Job | None, submit: Submit) -> Client:
        """Let the backend do the job; returns who did it. Raises `BackendError`."""
        if self.backend.state is not State.READY:
            job.text = "Starting the backend"
        client = self.backend.client()
        if before is not None:  # first pressed, first served
            with stillness.resting():
                before.submitted.wait()
        job.stop_if_cancelled()
        job.status = submit(client, job)
        job.submitted.set()
        if job.cancelled.is_set():
            client.cancel(job.status.id)
        self._follow(client, job)
        return client

    def _follow(self, client: Client, job: Job) -> None:
        """Wait until the job is over. Raises `BackendError` unless it is done."""
        tries = 0
        while job.status is not None and not job.status.state.final:
            self._describe(job)
            stillness.pause()
            try:
                job.status = client.job(job.status.id, job.status.revision, LONGEST_WAIT)
                tries = 0
            except BackendError as error:
                tries += 1
                self.backend.poll()
                ended = self.backend.settings.local and not self.backend.is_served_by(client)
                if ended or tries >= _TRIES or error.code not in ("timeout", "unreachable"):
                    self.backend.lose(client, error)
                    raise self._ended() if ended else error from None
                stillness.pause(0.5 * tries)
                continue
            if job.status.preview and job.preview is None:
                job.preview = archive.picture(self.backend.settings, client, job.status, job.status.preview)
        if job.status is None or job.status.state is JobState.DONE:
            return
        error = job.status.error
        if job.status.state is JobState.CANCELLED or error is None:
            raise BackendError("cancelled", "Cancelled.")
        raise BackendError(error.code, error.message, error.hint)

    def _describe(self, job: Job) -> None:
        status = job.status
        if status is not None and not job.cancelled.is_set():
            waiting = status.state is JobState.QUEUED
            job.text = f"Waiting, number {status.queue_position}" if waiting else STAGES.get(status.stage, status.stage)
        self.changed()

    def _ended(self) -> BackendError:
        hint = "Press Generate Avatar: it starts anew."
        return BackendError("interrupted", "The backend ended during the job.", hint)

    # History, estimate, installation

    def refresh_history(self) -> None:
        """Ask the running backend for its jobs and their pictures; without one, look at the disk."""
        self._background(self._read_history)

    def _read_history(self) -> None:
        settings = self.backend.settings
        if settings.local and self.backend.state not in (State.READY, State.BUSY):
            client, self.history = None, archive.finished(settings.root)
        else:
            client = self.backend.client()
            self.history = client.jobs()
        self.changed()
        for status in self.history[:12]:
            stillness.pause()
            if status.state is not JobState.DONE or status.id in self.thumbnails or "preview.png" not in status.files:
                continue
            if (path := archive.picture(settings, client, status, "preview.png")) is not None:
                self.thumbnails[status.id] = path
                self.changed()

    def delete(self, job_id: str) -> None:
        """Delete a finished job and its files."""

        def work() -> None:
            if self.backend.settings.local and self.backend.state not in (State.READY, State.BUSY):
                archive.delete(self.backend.settings.root, job_id)
            else:
                self.backend.client().delete(job_id)
            self.thumbnails.pop(job_id, None)
            self._read_history()

        self._background(work)

    def ask_estimate(self, engine: str, quality: str, mesh: str) -> None:
        """Ask a running backend once for these settings; without one the panel shows none."""
        if (engine, quality, mesh) == self._asked_estimate or self.backend.state not in (State.READY, State.BUSY):
            return
        self._asked_estimate = (engine, quality, mesh)

        def work() -> None:
            self.estimate = None
            self.estimate = self.backend.client().estimate(engine, quality, mesh)

        self._background(work)

    def start(self) -> None:
        def work() -> None:
            self.backend.client()
            self._asked_estimate = None
            self._read_history()

        self._background(work)

    def stop(self) -> None:
        self._background(self.backend.stop)

    def configure(self, settings: Settings) -> None:
        """Take over changed preferences, or look around for the first time."""
        self.wanted, self.plan, self._asked_estimate = settings, None, None

        def work() -> None:
            self.backend.configure(settings)
            self.backend.inspect()
            if settings.local:
                self._read_history()

        self._background(work)

    def make_plan(self) -> None:
        """Look at the machine, so that the panel can say what an installation would do."""

        def work() -> None:
            settings = self.backend.settings
            self.plan, self.plan_error = None, None
            try:
                self.plan = make_plan(settings.root, settings.package, settings.python, settings.device)
            except InstallError as error:
                self.plan_error = BackendError("install", error.message, error.hint)

        self._background(work)

    def install(self) -> None:
        if (plan := self.plan) is not None:
            self._background(lambda: self.backend.install(plan))

    def remove(self) -> None:
        self._background(self.backend.remove)

    def close(self) -> None:
        """Give up all work and end the backend; blocks for some seconds at most."""
        self._closed = True
        for job in self.jobs:
            job.cancelled.set()
            job.avatar = None
        self.backend.stop()

    def _background(self, work: Callable[[], object]) -> None:
        @stillness.working()
        def run() -> None:
            try:
                work()
                self.problem = None
            except BackendError as error:
                self.problem = error
            except Exception as problem:  # no traceback in Blender's log, and no silence either
                self.problem = BackendError("internal", f"The add-on failed ({problem!r}).", "Copy the diagnostics.")
            finally:
                self.changed()

        threading.Thread(target=run, name="maquette-command", daemon=True).start()
