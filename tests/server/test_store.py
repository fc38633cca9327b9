"""Jobs on disk: what is written is what is read, and what a crash or a person leaves never stops the server."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api import (
    AvatarRequest,
    EngineInfo,
    Estimate,
    Hello,
    JobError,
    JobKind,
    JobState,
    JobStatus,
    RigRequest,
)
from backend.server.store import Store

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
WORDS = TEXT.filter(lambda text: text.strip() and "\0" not in text)
NUMBER = st.floats(0, 1e9, allow_nan=False)
REQUESTS = st.one_of(
    st.builds(
        AvatarRequest,
        portraits=st.lists(TEXT, max_size=5).map(tuple),
        prompt=TEXT,
        seed=st.integers(0, 2**32 - 1),
        edits=st.lists(WORDS, max_size=8).map(tuple),
    ),
    st.builds(RigRequest, mesh=TEXT, like=TEXT),
)
STATUSES = st.builds(
    JobStatus,
    id=TEXT,
    kind=st.sampled_from(JobKind),
    state=st.sampled_from(JobState),
    created=TEXT,
    request=REQUESTS.map(lambda request: request.to_json()),
    revision=st.integers(0, 2**53),
    stage=TEXT,
    fraction=st.floats(0, 1),
    seconds=NUMBER,
    seconds_left=st.none() | NUMBER,
    queue_position=st.none() | st.integers(0, 1000),
    preview=st.none() | TEXT,
    error=st.none() | st.builds(JobError, code=TEXT, message=TEXT, hint=TEXT),
    files=st.lists(TEXT).map(tuple),
    folder=st.none() | TEXT,
)


@given(STATUSES)
def test_a_status_survives_its_file(tmp_path_factory: pytest.TempPathFactory, status: JobStatus) -> None:
    data = tmp_path_factory.getbasetemp() / "round_trip"
    store = Store(data)
    (data / "jobs" / "one").mkdir(exist_ok=True)
    store.save(JobStatus.from_json(status.to_json() | {"id": "one"}))
    found = json.loads((data / "jobs" / "one" / "job.json").read_text(encoding="utf-8"))
    assert JobStatus.from_json(found | {"id": status.id}) == status


@given(STATUSES.filter(lambda status: status.state.final and status.state is not JobState.DONE))
def test_what_is_over_is_loaded_as_it_was(tmp_path_factory: pytest.TempPathFactory, status: JobStatus) -> None:
    data = tmp_path_factory.getbasetemp() / "loaded"
    store = Store(data)
    (data / "jobs" / "one").mkdir(exist_ok=True)
    status = JobStatus.from_json(status.to_json() | {"id": "one"})
    store.save(status)
    assert store.load() == [status]


@given(REQUESTS)
def test_a_request_survives_json(request_: AvatarRequest | RigRequest) -> None:
    data = json.loads(json.dumps(request_.to_json()))
    if isinstance(request_, RigRequest):
        assert RigRequest.from_json(data) == request_
    elif (request_.portraits or request_.prompt.strip()) and "\0" not in request_.prompt:
        assert AvatarRequest.from_json(data) == request_


def test_what_a_newer_backend_adds_is_left_out() -> None:
    status = JobStatus("a", JobKind.RIG, JobState.DONE, "now", {}, error=JobError("new_code", "Words."))
    newer = status.to_json() | {"colour": "red", "error": {"code": "new_code", "message": "Words.", "button": "ok"}}
    assert JobStatus.from_json(json.loads(json.dumps(newer))) == status
    hello = Hello(1, "0.1.0", 7, "cpu", 3, 8000, (EngineInfo("template", True), EngineInfo("rodin", False, "No.")))
    newer = json.loads(
        json.dumps(hello.to_json() | {"more": 1, "engines": [e | {"x": 1} for e in hello.to_json()["engines"]]})
    )
    assert Hello.from_json(newer) == hello
    assert Estimate.from_json({"seconds": 1.5, "memory_mb": 3, "new": 0}) == Estimate(1.5, 3)


def _job(store: Store, state: JobState = JobState.FAILED, created: str = "2026") -> JobStatus:
    job, _ = store.new_folder([])
    status = JobStatus(job, JobKind.GENERATE, state, created, AvatarRequest().to_json(), revision=4)
    store.save(status)
    return status


@pytest.mark.parametrize("words", ["", "{", "[]", "{}", '{"id": 5}', "\0" * 100, '{"id": "other", "kind": "rig"}'])
def test_a_job_whose_note_is_broken_is_left_alone_and_hides_no_other(tmp_path: Path, words: str) -> None:
    store = Store(tmp_path)
    broken, whole = _job(store), _job(store)
    note = store.folder(broken.id) / "job.json"
    note.write_text(words)
    assert Store(tmp_path).load() == [whole]
    assert note.read_text() == words, "perhaps a person can mend it"


def test_leftovers_are_removed_at_the_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    job = _job(store)
    (store.folder(job.id) / ".avatar.123-0.part").mkdir()
    (store.folder(job.id) / ".avatar.123-0.part" / "avatar.npz").write_bytes(b"half")
    (store.folder(job.id) / "job.json.part").write_text("{")
    (tmp_path / "jobs" / "20260101-000000-00000000").mkdir()  # killed before its note
    (tmp_path / "jobs" / ".deleted-x").mkdir()
    (tmp_path / "uploads" / "abc.part").write_bytes(b"half")
    assert store.load() == [job]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [job.id]
    assert [path.name for path in store.folder(job.id).iterdir()] == ["job.json"]
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_avatar_that_a_person_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _job(store, JobState.DONE)
    (status,) = store.load()
    assert status.state is JobState.FAILED
    assert status.error is not None and status.error.code == "not_found"


def test_jobs_come_in_the_order_they_were_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [_job(store, created=f"2026-01-0{day}") for day in (3, 1, 2)]
    assert [status.created for status in store.load()] == sorted(status.created for status in made)


def test_old_uploads_go_unless_a_job_can_be_run_again_with_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept, named, old = (tmp_path / "uploads" / f"u-{letter * 32}-a.jpg" for letter in "abc")
    for path in (kept, named, old):
        path.write_bytes(b"x")
    yesterday = time.time() - 100_000
    for path in (named, old):
        os.utime(path, (yesterday, yesterday))
    job = _job(store)
    store.save(JobStatus.from_json(job.to_json() | {"request": {"portraits": [named.name[:34]]}}))
    store.load()
    assert sorted((tmp_path / "uploads").iterdir()) == [kept, named]


def test_only_files_of_the_job_can_be_had(tmp_path: Path) -> None:
    store = Store(tmp_path)
    job = _job(store).id
    store.avatar(job).mkdir()
    (store.avatar(job) / "avatar.glb").write_bytes(b"x")
    (store.folder(job) / "worker.log").write_text("secret")
    assert store.file(job, "avatar.glb") is not None
    for name in (
        "job.json",
        "worker.log",
        "../job.json",
        "..",
        "",
        "/etc/passwd",
        "avatar",
        "portrait",
        "progress.png",
    ):
        assert store.file(job, name) is None
