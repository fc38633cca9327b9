"""Moments in which no thread of ours runs Python, for the one operator that could not bear it. No bpy.

Blender gives Python free while an operator runs, and reads the dictionary of `Context.temp_override` without taking it
back when any thread has it: both write at once, and Blender crashes, rarely, in every version tried (4.2 to 5.0). So
threads count as working unless they rest, and whoever calls an operator under an override holds them still meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_HOLD = 5.0  # seconds until threads go on all the same: whoever asked for stillness may have thought better
_LONGEST_WAIT = 3.0  # seconds until the operator runs all the same: a thread that waits for a dead backend does no harm

_condition = threading.Condition()
_working = 0
_asked = 0.0  # when stillness was asked for; 0 when nobody did
_mine = threading.local()


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Around all that a thread does."""
    _enter()
    try:
        yield
    finally:
        _leave()


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Around what a thread waits for; behind it the thread stops when it is asked to."""
    if not getattr(_mine, "works", False):  # Blender's own thread
        yield
        return
    _leave()
    try:
        yield
    finally:
        _enter()


def pause(seconds: float = 0.0) -> None:
    """Where a thread sleeps, and stops when it is asked to."""
    with resting():
        time.sleep(seconds)


def ask() -> bool:
    """Ask all threads to stop; True when they have. Returns at once: ask again, then `hold`."""
    global _asked
    with _condition:
        if not _asked:
            _asked = time.monotonic()
        return _working == 0 or time.monotonic() - _asked > _LONGEST_WAIT


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """All threads stand still, or `_LONGEST_WAIT` has passed since that was asked for."""
    global _asked
    try:
        while not ask():
            time.sleep(0.005)
        yield
    finally:
        with _condition:
            _asked = 0.0
            _condition.notify_all()


def _enter() -> None:
    global _working
    with _condition:
        _condition.wait_for(lambda: not _asked, _LONGEST_HOLD)
        _working += 1
    _mine.works = True


def _leave() -> None:
    global _working
    _mine.works = False
    with _condition:
        _working -= 1
