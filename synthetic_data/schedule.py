"""Which shards are to be rendered, by whom, and what to do when a worker dies; knows nothing of processes."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.config import DatasetConfig
from synthetic_data.shards import Progress

LIMIT, PATIENCE = 3, 12
"""Deaths of a worker at the same identity until that identity is set aside, and at none until the run ends; and as many
when somebody else killed it, which says little of the identity: a worker's first one takes longest, and is hit most."""


@dataclasses.dataclass
class Task:
    """A shard to render, without the identities that killed their workers."""

    shard: int
    set_aside: dict[int, str] = dataclasses.field(default_factory=dict)


class Schedule:
    """The shards still to do, and the account of the run."""

    def __init__(self, config: DatasetConfig, shards: Iterable[int]) -> None:
        self.config = config
        self._waiting = collections.deque(Task(shard) for shard in shards)
        self.identities = sum(len(config.indices(task.shard)) for task in self._waiting)
        self.done: dict[int, Progress] = {}
        self.failures: dict[int, str] = {}
        self.finished: list[int] = []
        self.started = time.monotonic()
        self._stillborn: collections.Counter[bool] = collections.Counter()
        self._deaths: collections.Counter[tuple[int, int | None, bool]] = collections.Counter()

    def next(self) -> Task | None:
        """The next shard, or None when nothing waits."""
        return self._waiting.popleft() if self._waiting else None

    def note(self, progress: Progress) -> None:
        """An identity is done. Raises MaquetteError when more than half of them fail."""
        self.done[progress.index] = progress
        if progress.failure:
            self.failures[progress.index] = progress.failure
        if len(self.failures) >= 8 and 2 * len(self.failures) > len(self.done):
            sentence = f"Most identities fail, the last one because {progress.failure}; nothing more was rendered."
            raise MaquetteError(ErrorCode.INTERNAL, sentence.replace("\n", " "), stage="dataset")

    def finish(self, task: Task) -> None:
        """A shard is in its place."""
        self.finished.append(task.shard)

    def died(self, task: Task, reached: Progress | None, *, killed: bool = False) -> None:
        """The worker of a task died, or was `killed`, after it had `reached` an identity; the shard is rendered again.

        Raises:
            MaquetteError: it died several times before it came to any identity.
        """
        indices = self.config.indices(task.shard)
        follows = indices[0] if reached is None else reached.index + 1
        culprit = follows if follows in indices else None
        self._deaths[task.shard, culprit, killed] += 1
        own, others = (self._deaths[task.shard, culprit, kind] for kind in (False, True))
        if own >= LIMIT or own + others >= PATIENCE:
            if culprit is None:
                sentence = f"The worker of shard {task.shard} died {own + others} times while it wrote it."
                raise MaquetteError(ErrorCode.INTERNAL, sentence, stage="dataset")
            task.set_aside[culprit] = f"its process died {own + others} times"
        for index in indices:
            self.done.pop(index, None)
            self.failures.pop(index, None)
        self._waiting.appendleft(task)

    def stillborn(self, task: Task, *, killed: bool = False) -> None:
        """A worker died, or was `killed`, before it could take its task.

        Raises MaquetteError when that happens again and again.
        """
        self._stillborn[killed] += 1
        if self._stillborn[False] >= LIMIT or self._stillborn.total() >= PATIENCE:
            sentence = "The workers die as soon as they start: run one shard with --workers 1 and MAQUETTE_DEBUG=1."
            raise MaquetteError(ErrorCode.INTERNAL, sentence, stage="dataset")
        self._waiting.appendleft(task)

    def summary(self) -> dict[str, Any]:
        """Figures so far: identities done and to do, per hour, core-seconds per view, seconds left, failures, bytes."""
        done, elapsed = len(self.done), time.monotonic() - self.started
        cpu = sum(p.cpu for p in self.done.values())
        views = max(1, (done - len(self.failures)) * self.config.views_per_identity)
        return {
            "done": done,
            "identities": self.identities,
            "failed": len(self.failures),
            "per_hour": 3600 * done / elapsed if elapsed > 0 else 0.0,
            "core_seconds_per_view": cpu / views,
            "seconds_left": (self.identities - done) * elapsed / done if done else None,
            "bytes": sum(p.bytes for p in self.done.values()),
            "seconds": elapsed,
        }


def progress_line(summary: dict[str, Any]) -> str:
    """One line for a terminal or a log."""
    left = summary["seconds_left"]
    parts = [
        f"{summary['done']}/{summary['identities']} identities",
        f"{summary['per_hour']:.0f}/h",
        f"{summary['core_seconds_per_view']:.2f} core-s per view",
        f"{human_time(left)} left" if left is not None else "time left unknown",
        f"{summary['failed']} failed",
    ]
    return ", ".join(parts)


def human_time(seconds: float) -> str:
    """``"45 s"``, ``"12 min"``, ``"3.4 h"`` or ``"2.1 days"``."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{seconds:.0f} s"
