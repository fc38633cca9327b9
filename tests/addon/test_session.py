"""From the press to the arrays, with a backend that is told what to say."""

from __future__ import annotations

import importlib
import threading
import time

import pytest

from backend.export.arrays import npz_bytes

from .stub_backend import StubBackend

HELLO = {"protocol": 1, "version": "9.9", "pid": 1, "device": "cpu", "cores": 2, "memory_mb": 4000, "engines": []}
STATUS = {"id": "j1", "kind": "generate", "state": "queued", "created": "2026-11-21T12:00:00Z", "request": {}}


@pytest.fixture(scope="module")
def modules(addon):
    names = ("session", "backend_process", "api")
    return {name: importlib.import_module(f"maquette.{name}") for name in names}


@pytest.fixture
def stub(toy_avatar):
    backend = StubBackend()
    done = STATUS | {"state": "done", "revision": 9, "fraction": 1.0, "files": ["avatar.npz"], "folder": "/not/here"}
    backend.routes = {
        "GET /v1/hello": (200, HELLO),
        "POST /v1/uploads": (200, {"upload": "u-1"}),
        "POST /v1/jobs": (202, STATUS),
        "GET /v1/jobs/j1": (200, done),
        "GET /v1/jobs/j1/files/avatar.npz": (200, npz_bytes(toy_avatar)),
        "GET /v1/jobs": (200, [done]),
        "POST /v1/jobs/j1/cancel": (200, STATUS | {"state": "cancelled"}),
    }
    yield backend
    backend.close()


@pytest.fixture
def session(modules, stub, addon, tmp_path):
    process = modules["backend_process"]
    settings = process.Settings(tmp_path / "data", addon, process.Mode.REMOTE, url=stub.url, token="t")
    made = modules["session"].Session(settings)
    yield made
    made.close()


@pytest.fixture
def request_(modules, tmp_path):
    (tmp_path / "face.png").write_bytes(b"picture")
    return modules["api"].AvatarRequest(portraits=(str(tmp_path / "face.png"),))


def finish(job, seconds=10.0):
    end = time.monotonic() + seconds
    while not job.finished:
        assert time.monotonic() < end
        time.sleep(0.01)
    return job


def test_a_press_sends_the_picture_and_brings_the_arrays(session, stub, request_, toy_avatar):
    job = finish(session.generate(request_, "Ada"))
    assert job.error is None and len(job.avatar.parts) == len(toy_avatar.parts)
    assert ("POST /v1/uploads", "Bearer t", b"picture") in stub.seen
    assert session.active == [job]  # until it stands in the scene
    assert job.request["portraits"] == list(request_.portraits)  # the user's paths, not ids of uploads


def test_the_first_press_is_served_first(session, stub, request_, modules):
    stub.routes["POST /v1/uploads"] = lambda body: (
        time.sleep(0.3 if body == b"picture" else 0),
        (200, {"upload": "u"}),
    )[1]
    slow = session.generate(request_, "Ada")
    fast = session.generate(modules["api"].AvatarRequest(prompt="somebody else"), "Bob")
    finish(slow), finish(fast)
    posted = [body for route, _, body in stub.seen if route == "POST /v1/jobs"]
    assert [b"somebody else" in body for body in posted] == [False, True]


def test_a_failure_carries_the_backends_sentence(session, stub, request_):
    error = {"code": "no_face", "message": "There is no face.", "hint": "Choose another."}
    stub.routes["GET /v1/jobs/j1"] = (200, STATUS | {"state": "failed", "revision": 2, "error": error})
    job = finish(session.generate(request_, "Ada"))
    assert (job.error.code, job.error.message, job.error.hint) == ("no_face", "There is no face.", "Choose another.")
    assert session.active == []


def test_cancelling_reaches_the_backend(session, stub, request_):
    cancelled = threading.Event()
    over = STATUS | {"state": "cancelled", "revision": 5}

    def status(body):
        cancelled.wait(5)
        return (200, over)

    def cancel(body):
        cancelled.set()
        return (200, over)

    stub.routes |= {"GET /v1/jobs/j1": status, "POST /v1/jobs/j1/cancel": cancel}
    job = session.generate(request_, "Ada")
    while job.status is None:
        time.sleep(0.01)
    session.cancel(job)
    assert finish(job).error.code == "cancelled" and cancelled.is_set() and job.text == "Cancelled"


def test_a_short_break_of_the_connection_is_survived(session, stub, request_, modules, monkeypatch):
    good, calls = stub.routes["GET /v1/jobs/j1"], []

    def status(body):
        calls.append(1)
        if len(calls) < 2:
            time.sleep(0.6)
        return good

    session.backend.client()._timeout = 0.3
    monkeypatch.setattr(modules["session"], "LONGEST_WAIT", 0.0)
    stub.routes["GET /v1/jobs/j1"] = status
    job = finish(session.generate(request_, "Ada"))
    assert job.error is None and len(calls) == 2


def test_a_broken_avatar_is_told(session, stub, request_):
    stub.routes["GET /v1/jobs/j1/files/avatar.npz"] = (200, b"no avatar")
    assert finish(session.generate(request_, "Ada")).error.code == "bad_avatar"


def test_a_lost_backend_is_told(session, stub, request_):
    stub.close()
    job = finish(session.generate(request_, "Ada"))
    assert job.error.code == "unreachable" and job.error.hint


def test_a_mistake_of_our_own_never_leaves_a_job_hanging(session, request_, monkeypatch):
    monkeypatch.setattr(type(session), "_follow", lambda *_: 1 / 0)
    job = finish(session.generate(request_, "Ada"))
    assert job.error.code == "internal" and "ZeroDivisionError" in job.error.message


def test_a_mistake_in_a_command_is_told_and_prints_no_traceback(session, capfd):
    session._background(lambda: 1 / 0)
    end = time.monotonic() + 5
    while session.problem is None and time.monotonic() < end:
        time.sleep(0.01)
    assert session.problem.code == "internal" and "Traceback" not in capfd.readouterr().err


def test_scripts_wait_and_get_the_error_as_an_exception(session, stub, request_, modules):
    said = []
    assert session.run_blocking(session.generate(request_, "Ada"), said.append).parts
    assert said and all(line.endswith("%") for line in said)
    stub.routes["POST /v1/jobs"] = (422, {"error": {"code": "bad_request", "message": "No.", "hint": ""}})
    with pytest.raises(modules["session"].BackendError, match="No"):
        session.run_blocking(session.generate(request_, "Ada"), said.append)


def test_no_public_call_waits(session, stub, request_):
    stub.routes["GET /v1/hello"] = lambda body: (time.sleep(1), (200, HELLO))[1]
    started = time.monotonic()
    job = session.generate(request_, "Ada")
    session.refresh_history()
    session.ask_estimate("template", "draft", "wrapped")
    session.start()
    session.cancel(job)
    assert time.monotonic() - started < 0.2
    finish(job)


def test_the_history_comes_newest_first_from_the_backend(session):
    session.refresh_history()
    end = time.monotonic() + 5
    while not session.history and time.monotonic() < end:
        time.sleep(0.01)
    assert [status.id for status in session.history] == ["j1"]
