"""Renders the shards of a set on a Ray cluster; the same shards, byte for byte, as the farm of one machine.

Shard numbers go out and short messages come back; pictures go straight to the folder, which all machines share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from backend.api import ErrorCode
from backend.errors import MaquetteError
from synthetic_data.archive import remove_abandoned
from synthetic_data.config import DatasetConfig
from synthetic_data.farm import THREAD_VARIABLES, Ended, Workers, plain_path
from synthetic_data.record import render_anny
from synthetic_data.schedule import Schedule, Task
from synthetic_data.shards import Progress, Renderer, shard_progress


class Renderers:
    """The actor: a process that renders one shard after the other."""

    def pid(self) -> int:
        """Its process, for those who want to end it."""
        return os.getpid()

    def render(
        self, config: DatasetConfig, folder: str, renderer: Renderer, threads: int, task: Task
    ) -> Generator[Progress | Ended, None, None]:
        """Render a shard and tell of each identity when it is done.

        In the actor's own thread: in any other, Blender takes twice as long for a head.
        """
        try:
            yield from shard_progress(
                config, task.shard, Path(folder), renderer, threads=threads, set_aside=task.set_aside
            )
        except Exception as problem:
            yield Ended.by(problem)


def render_on_ray(
    config: DatasetConfig,
    folder: Path,
    shards: Iterable[int],
    workers: Workers,
    address: str,
    *,
    renderer: Renderer = render_anny,
    watch: Callable[[Schedule], None] = lambda schedule: None,
    hired: Callable[[int], None] = lambda pid: None,
) -> Schedule:
    """As `farm.render_locally`, with one actor per worker.

    Args:
        config, folder, shards, workers, renderer, watch: as there; the folder must be the same on all machines.
        address: of the cluster, or ``"local"`` for one that is started here and ended afterwards.
        hired: told the process of each actor that begins.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports] (an extra of its own)
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError:
        sentence = "Ray is not installed: pip install 'maquette[cluster]'."
        raise MaquetteError(ErrorCode.MODEL_MISSING, sentence, stage="dataset") from None
    _connect(ray, address, workers)
    actor_class: Any = ray.remote(num_cpus=workers.threads, max_restarts=0)(Renderers)
    schedule = Schedule(config, shards)
    crew: dict[Any, _Hand] = {}
    idle: list[_Hand] = []
    try:
        while True:
            while len(crew) < workers.count and (task := schedule.next()) is not None:
                if not idle:
                    actor = actor_class.remote()
                    try:
                        hired(ray.get(actor.pid.remote()))
                    except ray.exceptions.RayError:
                        schedule.stillborn(task)
                        continue
                    idle.append(_Hand(actor))
                hand = idle.pop()
                hand.task, hand.reached = task, None
                stream = hand.actor.render.options(num_returns="streaming").remote(
                    config, str(folder), renderer, workers.threads, task
                )
                crew[stream] = hand
            if not crew:
                return schedule
            ready, _ = ray.wait(list(crew), num_returns=1, timeout=1.0, fetch_local=False)
            for stream in ready:
                _listen(ray, stream, crew, idle, schedule, workers)
            watch(schedule)
    finally:
        for hand in [*crew.values(), *idle]:
            ray.kill(hand.actor)
        ray.shutdown()
        remove_abandoned(folder)


class _Hand:
    """An actor, its shard, and how far it says it is."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.task = Task(-1)
        self.reached: Progress | None = None
        self.rendered = 0


def _connect(ray: Any, address: str, workers: Workers) -> None:
    """Join the cluster; the actors see the modules that this process sees, and keep to their threads."""
    path = os.pathsep.join(entry for entry in plain_path() if entry)
    environment = {"PYTHONPATH": path, **{name: str(workers.threads) for name in THREAD_VARIABLES}}
    options: dict[str, Any] = {"log_to_driver": False, "runtime_env": {"env_vars": environment}}
    if address == "local":
        options |= {"num_cpus": workers.count * workers.threads, "include_dashboard": False}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as problem:
        sentence = f"There is no Ray cluster at {address}: {str(problem).splitlines()[0].rstrip('.')}."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="dataset") from None


def _listen(
    ray: Any, stream: Any, crew: dict[Any, _Hand], idle: list[_Hand], schedule: Schedule, workers: Workers
) -> None:
    """Take one message of an actor."""
    hand = crew[stream]
    try:
        message = ray.get(next(stream))
    except StopIteration:
        del crew[stream]
        schedule.finish(hand.task)
        if hand.rendered < workers.recycle:
            idle.append(hand)
        else:
            ray.kill(hand.actor)
    except ray.exceptions.RayError:
        del crew[stream]
        schedule.died(hand.task, hand.reached)
    else:
        if isinstance(message, Ended):
            raise message.error()
        hand.reached = message
        hand.rendered += 1
        schedule.note(message)
