"""Renders the shards of a set with worker processes of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.archive import remove_abandoned
from synthetic_data.config import DatasetConfig
from synthetic_data.record import render_anny
from synthetic_data.schedule import Schedule, Task
from synthetic_data.shards import Progress, Renderer, render_shard

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_READY, _DONE = "ready", "done"


@dataclasses.dataclass(frozen=True)
class Workers:
    """`count` processes with `threads` each, at a lower priority `nice`.

    A process is replaced after the shard in which it has rendered `recycle` identities: Blender grows by some megabytes
    with each.
    """

    count: int = 1
    threads: int = 1
    nice: int = 10
    recycle: int = 100


def available_cores() -> int:
    """Cores that this process may use; a batch system often grants a few of a machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def render_locally(
    config: DatasetConfig,
    folder: Path,
    shards: Iterable[int],
    workers: Workers,
    *,
    renderer: Renderer = render_anny,
    watch: Callable[[Schedule], None] = lambda schedule: None,
) -> Schedule:
    """Render `shards` into `folder` (see `shards.open_folder`) and return the account.

    A worker that dies is replaced and its shard rendered again. `renderer` must be a function of a module.

    Raises:
        MaquetteError: the disk is full, Blender is missing, most identities fail...
    """
    schedule = Schedule(config, shards)
    crew: list[_Worker] = []
    try:
        while True:
            while len(crew) < workers.count and (task := schedule.next()) is not None:
                crew.append(_Worker(config, folder, renderer, workers, task))
            if not crew:
                return schedule
            ready = wait([worker.connection for worker in crew], timeout=1.0)
            for worker in [worker for worker in crew if worker.connection in ready]:
                _listen(worker, schedule, crew, workers)
            watch(schedule)
    finally:
        for worker in crew:
            worker.stop()
        remove_abandoned(folder)


def _listen(worker: _Worker, schedule: Schedule, crew: list[_Worker], workers: Workers) -> None:
    """Take one message of a worker."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        crew.remove(worker)
        killed = worker.was_killed()
        worker.stop()
        if worker.ready:
            schedule.died(worker.task, worker.reached, killed=killed)
        else:
            schedule.stillborn(worker.task, killed=killed)
        return
    if message == _READY:
        worker.ready = True
    elif isinstance(message, Progress):
        worker.reached = message
        worker.rendered += 1
        schedule.note(message)
    elif isinstance(message, Ended):
        crew.remove(worker)
        worker.stop()
        raise message.error()
    else:
        schedule.finish(worker.task)
        task = schedule.next() if worker.rendered < workers.recycle else None
        if task is None:
            crew.remove(worker)
            worker.stop()
        else:
            worker.begin(task)


@dataclasses.dataclass(frozen=True)
class Ended:
    """Why a worker gave up for good."""

    code: ErrorCode
    sentence: str

    def error(self) -> MaquetteError:
        return MaquetteError(self.code, self.sentence, stage="dataset")

    @classmethod
    def by(cls, problem: BaseException) -> Ended:
        if isinstance(problem, MaquetteError):
            return cls(problem.code, problem.message)
        if isinstance(problem, ImportError):
            sentence = f"Rendering needs the 'render' extra (pip install 'maquette[render]'): {problem}."
            return cls(ErrorCode.MODEL_MISSING, sentence)
        if isinstance(problem, MemoryError):
            return cls(ErrorCode.OUT_OF_MEMORY, "A worker ran out of memory: use fewer --workers.")
        if isinstance(problem, OSError):
            code = ErrorCode.DISK_FULL if problem.errno in (28, 122) else ErrorCode.OUTPUT_NOT_WRITABLE
            return cls(code, f"A shard could not be written: {problem}.")
        return cls(ErrorCode.INTERNAL, f"A worker gave up: {type(problem).__name__}: {problem}.")


class _Worker:
    """A process, the shard it renders, and how far it says it is."""

    def __init__(self, config: DatasetConfig, folder: Path, renderer: Renderer, workers: Workers, task: Task) -> None:
        self.task = task
        self.reached: Progress | None = None
        self.rendered = 0
        self.ready = False
        # Blender must never be forked.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, config, folder, renderer, workers)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        with _environment({name: str(workers.threads) for name in THREAD_VARIABLES}):
            self._process.start()
        theirs.close()  # or the end of the process would not be seen
        self.begin(task)

    def begin(self, task: Task) -> None:
        """Hand over the next shard."""
        self.task, self.reached = task, None
        with contextlib.suppress(OSError):  # it died: `recv` will tell
            self.connection.send(task)

    def was_killed(self) -> bool:
        """Whether the process, whose connection has ended, did not end by itself: somebody, or the system for want of
        memory, sent it a signal that programs do not send themselves."""
        self._process.join(5)
        return self._process.exitcode in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9))

    def stop(self) -> None:
        """End the process; what it has half-written is deleted by it or by the next run."""
        self.connection.close()
        self._process.terminate()
        self._process.join(10)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


def _work(connection: Connection, config: DatasetConfig, folder: Path, renderer: Renderer, workers: Workers) -> None:
    """What a worker process does: shards, until nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the farm, which ends its workers
    sys.path[:] = plain_path()
    _silence()
    if hasattr(os, "nice"):
        os.nice(workers.nice)
    _limit_torch(workers.threads)

    def report(progress: Progress) -> None:
        try:
            connection.send(progress)
        except OSError:  # the farm is gone, and nobody would take the shard
            raise SystemExit from None

    connection.send(_READY)
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            render_shard(
                config,
                task.shard,
                folder,
                renderer,
                threads=workers.threads,
                set_aside=task.set_aside,
                report=report,
            )
        except Exception as problem:
            connection.send(Ended.by(problem))
            return
        connection.send(_DONE)


def plain_path() -> list[str]:
    """`sys.path` without what a loaded Blender adds: it would hide the module ``bpy`` itself from a new process."""
    return [entry for entry in sys.path if not re.search(r"[\\/]bpy[\\/][\d.]+[\\/]", entry)]


def _silence() -> None:
    """Drop what Blender prints, unless `MAQUETTE_DEBUG` asks for it."""
    if os.environ.get("MAQUETTE_DEBUG") != "1":
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _limit_torch(threads: int) -> None:
    """Keep torch from taking all cores where a body model has loaded it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while: a spawned process takes them with it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def throttle(watch: Callable[[dict[str, Any]], None], seconds: float) -> Callable[[Schedule], None]:
    """Call `watch` with the summary at most every so many seconds."""
    last = [0.0]

    def called(schedule: Schedule) -> None:
        if time.monotonic() - last[0] >= seconds:
            last[0] = time.monotonic()
            watch(schedule.summary())

    return called
