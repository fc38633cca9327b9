"""No thread runs while it is held still, and nobody waits for ever."""

from __future__ import annotations

import importlib
import threading
import time

import pytest


@pytest.fixture
def stillness(addon, monkeypatch):
    module = importlib.import_module("maquette.stillness")
    monkeypatch.setattr(module, "_LONGEST_HOLD", 0.3)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.3)
    yield module
    assert module._working == 0 and module._asked == 0


@pytest.fixture
def count(stillness):
    """How often a thread that rests now and then has gone round."""
    rounds, end = [0], threading.Event()

    def work() -> None:
        with stillness.working():
            while not end.is_set():
                rounds[0] += 1
                with stillness.resting():
                    time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield rounds
    end.set()
    for thread in threads:
        thread.join()


def test_threads_stand_still_while_they_are_held(stillness, count):
    for _ in range(20):
        with stillness.hold():
            before = count[0]
            time.sleep(0.01)
            assert count[0] == before
        # On a busy machine the thread waits for its turn.
        deadline = time.monotonic() + 10
        while count[0] == before and time.monotonic() < deadline:
            time.sleep(0.001)
        assert count[0] > before


def test_asking_does_not_wait(stillness, count):
    begun = time.monotonic()
    while not stillness.ask():
        time.sleep(0.001)
    assert time.monotonic() - begun < 0.2
    before = count[0]
    time.sleep(0.02)
    assert count[0] == before
    with stillness.hold():
        pass


def test_a_thread_that_never_rests_is_not_waited_for(stillness):
    end = threading.Event()

    def work() -> None:
        with stillness.working():
            end.wait(5)

    thread = threading.Thread(target=work)
    thread.start()
    begun = time.monotonic()
    while stillness.ask():
        time.sleep(0.001)
    with stillness.hold():
        assert 0.2 < time.monotonic() - begun < 2
    end.set()
    thread.join()


def test_who_asks_and_forgets_stops_nobody_for_ever(stillness, count):
    stillness.ask()
    before = count[0]
    time.sleep(0.6)
    assert count[0] > before
    with stillness.hold():
        pass


def test_blenders_own_thread_never_waits_for_itself(stillness):
    with stillness.hold(), stillness.resting():
        pass
