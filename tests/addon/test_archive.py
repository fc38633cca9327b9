"""Avatars that were made before are listed, brought back and deleted while no backend runs."""

from __future__ import annotations

import importlib
import json
import time

import pytest

from backend.api import JobKind, JobState, JobStatus
from backend.export.arrays import write_npz
from backend.server.store import Store


@pytest.fixture
def data(tmp_path, toy_avatar):
    """A data folder as the backend leaves it: two finished avatars, a failed job, a damaged one."""
    store = Store(tmp_path / "data")
    for second, state in enumerate((JobState.DONE, JobState.FAILED, JobState.DONE)):
        job = f"20261121-12000{second}-0000000{second}"
        store.folder(job).mkdir()
        files = ()
        if state is JobState.DONE:
            store.avatar(job).mkdir()
            write_npz(toy_avatar, store.avatar(job) / "avatar.npz")
            (store.avatar(job) / "preview.png").write_bytes(b"picture")
            files = store.avatar_files(job)
        created = f"2026-11-21T12:00:0{second}Z"
        request = {"seed": second}
        store.save(JobStatus(job, JobKind.GENERATE, state, created, request, files=files, folder="/moved/away"))
    damaged = tmp_path / "data/jobs/20261121-120009-00000009"
    damaged.mkdir()
    (damaged / "job.json").write_text('{"id": ')
    return tmp_path / "data"


@pytest.fixture
def session(addon, data, tmp_path):
    """An add-on whose environment is there and whose backend must not be started: it would fail."""
    process = importlib.import_module("maquette.backend_process")
    python = tmp_path / "python"
    python.touch()
    settings = process.Settings(data, addon, process.Mode.ENVIRONMENT, str(python))
    made = importlib.import_module("maquette.session").Session(settings)
    made.configure(settings)
    wait(lambda: made.history and len(made.thumbnails) == 2)
    yield made
    assert made.backend.problem is None, "somebody tried to start the backend"
    made.close()


def wait(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_finished_is_listed_newest_first_with_its_picture(session, data):
    assert [status.request["seed"] for status in session.history] == [2, 0]
    newest = session.history[0]
    assert session.thumbnails[newest.id] == data / "jobs" / newest.id / "avatar/preview.png"


def test_an_avatar_comes_back_without_a_backend(session, toy_avatar):
    job = session.bring_back(session.history[1], "Ada")
    wait(lambda: job.finished)
    assert job.error is None and len(job.avatar.parts) == len(toy_avatar.parts)
    assert job.request == {"seed": 0} and job.status.id == session.history[1].id


def test_a_deleted_avatar_is_gone(session, data):
    kept, deleted = session.history
    session.delete(deleted.id)
    wait(lambda: len(session.history) == 1)
    assert session.history == [kept] and deleted.id not in session.thumbnails
    assert not list((data / "jobs").glob(f"*{deleted.id}*"))


def test_nothing_outside_the_folder_is_deleted(addon, data):
    archive = importlib.import_module("maquette.archive")
    for name in ("..", "../jobs", "", "."):
        archive.delete(data, name)
    assert len(list((data / "jobs").iterdir())) == 4


def test_a_folder_without_jobs_has_no_avatars(addon, tmp_path):
    archive = importlib.import_module("maquette.archive")
    assert archive.finished(tmp_path) == []
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x").mkdir()
    (tmp_path / "jobs" / "x" / "job.json").write_text(json.dumps([1]))
    assert archive.finished(tmp_path) == []
