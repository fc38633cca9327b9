"""The queue: one job at a time, each in a process of its own; everybody sees each change.

All methods belong to the server's one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import errno
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backend.api import AvatarRequest, ErrorCode, Estimate, JobError, JobKind, JobState, JobStatus, RigRequest
from backend.errors import MaquetteError
from backend.server import forecast, life
from backend.server.child import Child
from backend.server.store import PREVIEW_WHILE_RUNNING, failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from backend.server.store import Store

_TICK = 0.5  # seconds between two looks at the clock while a job runs
_RUNS_REMEMBERED = 5
_LOG = logging.getLogger("maquette.server")


@dataclasses.dataclass
class _Running:
    """The job at hand."""

    id: str
    begun: float
    forecast: forecast.Forecast
    child: Child | None = None
    cancelled: bool = False
    error: JobError | None = None


class Jobs:
    """All jobs of one store, and the one that runs."""

    def __init__(self, store: Store, worker: Sequence[str]) -> None:
        self._store = store
        self._worker = list(worker)
        self._statuses = {status.id: status for status in store.load()}
        self._waiting: list[str] = []
        self._running: _Running | None = None
        self._closing = False
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()

    # What is asked for

    def list(self) -> list[JobStatus]:
        """Newest first."""
        return list(reversed(self._statuses.values()))

    def get(self, job: str) -> JobStatus:
        """Raises `MaquetteError` with NOT_FOUND."""
        if job not in self._statuses:
            raise MaquetteError(ErrorCode.NOT_FOUND, "There is no such job.", stage="queue")
        return self._statuses[job]

    async def wait(self, job: str, after: int, seconds: float) -> JobStatus:
        """The status once its revision is greater than `after` or the job is over, or after `seconds`.

        Raises NOT_FOUND.
        """
        deadline = time.monotonic() + seconds
        while (status := self.get(job)).revision <= after and not status.state.final and not self._closing:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(deadline - time.monotonic(), 0))
                continue
            break
        return status

    def estimate(self, request: AvatarRequest) -> Estimate:
        """What `request` will take on this machine."""
        return forecast.estimate(self._expected(JobKind.GENERATE, request))

    # What is done

    def submit(self, request: AvatarRequest | RigRequest) -> JobStatus:
        """Put a job into the queue. Raises `MaquetteError`, NOT_FOUND for an unknown upload or avatar; `OSError`."""
        if isinstance(request, RigRequest):
            kind, inputs = JobKind.RIG, [self._upload(request.mesh)]
            if self.get(request.like).state is not JobState.DONE:
                raise MaquetteError(ErrorCode.NOT_FOUND, "The avatar to rig like is not finished.", stage="queue")
        else:
            kind, inputs = JobKind.GENERATE, [self._upload(name) for name in request.portraits]
        job, _ = self._store.new_folder(inputs)
        created = datetime.datetime.now(datetime.UTC).isoformat()
        status = JobStatus(job, kind, JobState.QUEUED, created, request.to_json(), revision=1)
        try:
            self._store.save(status)
        except OSError:
            self._store.remove(job)
            raise
        self._statuses[job] = status
        self._waiting.append(job)
        self._renumber()
        self._wanted.set()
        return self._statuses[job]

    def cancel(self, job: str) -> JobStatus:
        """End a job that waits or runs; one that is over stays as it is. Raises NOT_FOUND."""
        self.get(job)
        if job in self._waiting:
            self._waiting.remove(job)
            self._publish(job, state=JobState.CANCELLED, queue_position=None, save=True)
            self._renumber()
        elif self._running is not None and self._running.id == job:
            self._running.cancelled = True
            if self._running.child is not None:
                self._running.child.stop()
            self._publish(job)
        return self._statuses[job]

    def delete(self, job: str) -> None:
        """Remove a job with its files. Raises NOT_FOUND, or BUSY while it runs or one of its files is in use."""
        self.get(job)
        if self._running is not None and self._running.id == job:
            raise MaquetteError(ErrorCode.BUSY, "The job is running.", stage="queue")
        if job in self._waiting:
            self._waiting.remove(job)
        try:
            self._store.remove(job)
        except FileNotFoundError:
            pass  # somebody has deleted the folder by hand
        except OSError:
            raise MaquetteError(ErrorCode.BUSY, "A file of this job is in use.", stage="queue") from None
        del self._statuses[job]
        self._renumber()
        self._tell_all()

    async def run(self) -> None:
        """Work through the queue for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting and not self._closing:
                await self._run_one(self._waiting.pop(0))

    async def close(self) -> None:
        """Interrupt what runs and wait for its end; what waits becomes an interrupted job too."""
        self._closing = True
        self._tell_all()
        error = failure(ErrorCode.INTERRUPTED, "The backend ended before this job was finished.")
        for job in self._waiting:
            self._publish(job, state=JobState.FAILED, error=error, queue_position=None, save=True)
        self._waiting.clear()
        if self._running is not None and self._running.child is not None:
            self._running.child.stop()
        while self._running is not None:
            await asyncio.sleep(0.02)

    # One job

    async def _run_one(self, job: str) -> None:
        now = time.monotonic()
        status = self._statuses[job]
        expected = self._expected(status.kind, status.request)
        self._running = running = _Running(job, now, forecast.Forecast(expected.stages, now))
        self._publish(job, state=JobState.RUNNING, stage="starting", queue_position=0, save=True)
        self._renumber()
        ticker = asyncio.create_task(self._tick(running))
        try:
            await self._let_work(running)
        except OSError as problem:
            running.error = _cannot_start(problem)
        except Exception:
            _LOG.exception("job %s", job)
            running.error = failure(ErrorCode.INTERNAL, "Something went wrong inside the backend.")
        finally:
            ticker.cancel()
            if running.child is not None:
                running.child.kill()
            self._store.sweep(job)
            self._conclude(running)
            self._running = None

    async def _let_work(self, running: _Running) -> None:
        status, folder = self._statuses[running.id], self._store.folder(running.id)
        order: dict[str, Any] = {
            "kind": status.kind.value,
            "request": status.request,
            "inputs": [str(path) for path in sorted(folder.glob("input-*"))],
            "out": str(self._store.avatar(running.id)),
            "picture": str(folder / PREVIEW_WHILE_RUNNING),
        }
        if status.kind is JobKind.RIG:
            order["like"] = str(self._store.avatar(str(status.request["like"])))
        running.child = await Child.start(self._worker, order, folder / "worker.log")
        if running.cancelled or self._closing:
            running.child.stop()
        async for event in running.child.events():
            self._hear(running, event)

    def _hear(self, running: _Running, event: dict[str, Any]) -> None:
        match event:
            case {"event": "progress", "stage": str(stage), "fraction": float() | int() as fraction}:
                running.forecast.tell(stage, fraction, time.monotonic())
                if stage != self._statuses[running.id].stage:
                    self._show(running, stage=stage)
            case {"event": "preview", "file": str(name)}:
                self._publish(running.id, preview=name)
            case {"event": "error", "code": str(code), "message": str(message), "hint": str(hint)}:
                running.error = JobError(code, message, hint)

    async def _tick(self, running: _Running) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._show(running)

    def _show(self, running: _Running, **changes: Any) -> None:
        now = time.monotonic()
        fraction, left = running.forecast.state(now)
        self._publish(
            running.id,
            fraction=round(fraction, 4),
            seconds=round(now - running.begun, 1),
            seconds_left=round(left, 1),
            **changes,
        )

    def _conclude(self, running: _Running) -> None:
        seconds = round(time.monotonic() - running.begun, 1)
        status = replace(self._statuses[running.id], seconds=seconds, seconds_left=None, queue_position=None)
        if self._store.is_whole(running.id):  # also when it was cancelled a moment too late: nothing finished is lost
            status = self._store.finished(status)
        elif running.cancelled:
            status = replace(status, state=JobState.CANCELLED)
        else:
            status = replace(status, state=JobState.FAILED, error=self._reason(running))
        self._statuses[running.id] = status
        self._publish(running.id, save=True)
        _LOG.info("job %s is %s after %.1f s: %s", status.id, status.state, seconds, status.error or "well")

    def _reason(self, running: _Running) -> JobError:
        """Why a job without an avatar ended: what it said itself, else how its process ended."""
        if self._closing:
            return failure(ErrorCode.INTERRUPTED, "The backend ended before this job was finished.")
        if running.error is not None:
            return running.error
        if running.child is not None and running.child.lacked_memory():
            return failure(ErrorCode.OUT_OF_MEMORY, "There is not enough memory for this job.")
        how = "could not be started" if running.child is None else running.child.how_it_ended()
        return failure(ErrorCode.INTERNAL, f"The job's process {how}.")

    # Small things

    def _publish(self, job: str, *, save: bool = False, **changes: Any) -> JobStatus:
        """Change a status, and tell those who wait; `save` what must outlive this process."""
        before = self._statuses[job]
        self._statuses[job] = status = replace(before, revision=before.revision + 1, **changes)
        if save:
            try:
                self._store.save(status)
            except OSError as problem:  # the avatar tells by itself that it is finished
                _LOG.warning("job %s cannot be noted: %s", job, problem)
        self._tell_all()
        return status

    def _tell_all(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def _renumber(self) -> None:
        for position, job in enumerate(self._waiting, start=1):
            if self._statuses[job].queue_position != position:
                self._publish(job, queue_position=position)

    def _upload(self, upload: str) -> Path:
        path = self._store.upload(upload)
        if path is None:
            raise MaquetteError(ErrorCode.NOT_FOUND, "There is no such upload: send the file first.", stage="queue")
        return path

    def _expected(self, kind: JobKind, request: AvatarRequest | dict[str, Any]) -> forecast.Costs:
        """Costs of such a job on this machine: those of the last ones like it, else measured elsewhere."""
        key = _likeness(request) if kind is JobKind.GENERATE else None
        table = forecast.RIG if key is None else forecast.GENERATE[key[1:]]
        runs: list[forecast.Costs] = []
        for status in self.list():
            if status.state is JobState.DONE and status.kind is kind and len(runs) < _RUNS_REMEMBERED:
                like = key is None or _likeness(status.request) == key
                if like and (costs := self._store.costs(status.id)) is not None:
                    runs.append(costs)
        return forecast.learned(forecast.on_cores(table, life.job_cores()), runs)


def _likeness(request: AvatarRequest | dict[str, Any]) -> tuple[str, str, str]:
    """Engine, quality and mesh: jobs that agree in them take the same time."""
    values = request.to_json() if isinstance(request, AvatarRequest) else AvatarRequest().to_json() | request
    return values["engine"], values["quality"], values["mesh"]


def _cannot_start(problem: OSError) -> JobError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return failure(ErrorCode.DISK_FULL, "The disk is full; nothing was written.")
    if problem.errno in (errno.ENOMEM, errno.EAGAIN):
        return failure(ErrorCode.OUT_OF_MEMORY, "There is not enough memory to start the job.")
    return failure(ErrorCode.INTERNAL, f"The job's process could not be started ({problem.strerror}).")
