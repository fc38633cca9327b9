"""The server as the add-on starts it, with real portraits and the real pipeline."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from backend.api import AvatarRequest, JobState, JobStatus
from tests.server.driver import REAL, Server, children, gone_within, is_running

ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
FILES = ("avatar.glb", "avatar.npz", "preview.png", "report.json", "triplane.safetensors", "turntable.gif")


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("real") / "data", REAL) as server:
        yield server


def _submit(server: Server, picture: bytes, name: str = "face.png") -> str:
    request = AvatarRequest(portraits=(server.upload(picture, name),), quality="draft").to_json()
    return server.ask("POST", "/v1/jobs", {"generate": request}, expect=202)["id"]


@pytest.mark.slow
def test_a_portrait_becomes_an_avatar_and_a_mesh_is_rigged_like_it(real_server: Server) -> None:
    job = _submit(real_server, ASTRONAUT.read_bytes())
    seen = real_server.follow(job, seconds=900)
    last = seen[-1]
    assert last.state is JobState.DONE, last.error
    assert last.files == FILES
    stages = list(dict.fromkeys(status.stage for status in seen if status.state is JobState.RUNNING))
    assert stages == ["starting", "portrait", "fit", "field", "mesh", "texture", "export"]
    fractions = [status.fraction for status in seen]
    assert fractions == sorted(fractions) and len(set(fractions)) > 20
    shown = [status for status in seen if status.preview == "progress.png"]
    assert shown and shown[0].fraction < 0.5, "the portrait is shown early"
    assert real_server.raw("GET", f"/v1/jobs/{job}/files/avatar.glb")[1].startswith(b"glTF")
    assert real_server.raw("GET", f"/v1/jobs/{job}/files/portrait") == (200, ASTRONAUT.read_bytes())
    report = real_server.ask("GET", f"/v1/jobs/{job}/files/report.json")
    assert report["total_seconds"] < last.seconds < report["total_seconds"] + 30
    picture = Image.open(io.BytesIO(real_server.raw("GET", f"/v1/jobs/{job}/files/progress.png")[1]))
    assert picture.size == (256, 256) and np.asarray(picture).std() > 20

    mesh = real_server.upload(real_server.raw("GET", f"/v1/jobs/{job}/files/avatar.glb")[1], "mine.glb")
    rigged = real_server.ask("POST", "/v1/jobs", {"rig": {"mesh": mesh, "like": job}}, expect=202)["id"]
    end = real_server.end_of(rigged, seconds=600)
    assert end.state is JobState.DONE, end.error
    assert "avatar.glb" in end.files


@pytest.mark.slow
def test_a_real_job_stops_when_it_is_told_and_gives_its_memory_back(real_server: Server) -> None:
    job = _submit(real_server, ASTRONAUT.read_bytes())
    assert real_server.in_stage(job, "field").state is JobState.RUNNING
    (worker,) = children(real_server.process.pid)
    begun = time.monotonic()
    real_server.ask("POST", f"/v1/jobs/{job}/cancel")
    assert real_server.end_of(job).state is JobState.CANCELLED
    assert time.monotonic() - begun < 4
    assert not is_running(worker)
    assert not list((real_server.data / "jobs" / job).glob("*avatar*"))


@pytest.mark.slow
def test_a_real_worker_ends_with_its_server_and_says_so_after_a_restart(tmp_path: Path) -> None:
    with Server(tmp_path / "data", REAL) as server:
        job = _submit(server, ASTRONAUT.read_bytes())
        server.in_stage(job, "portrait")
        (worker,) = children(server.process.pid)
        server.kill()
        assert gone_within(worker, 3)
    note = json.loads((tmp_path / "data" / "jobs" / job / "job.json").read_text())
    assert JobStatus.from_json(note).state is JobState.RUNNING
    with Server(tmp_path / "data", REAL) as server:
        error = server.get(job).error
        assert error is not None and error.code == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (b"", "bad_image"),
        (b"not a picture", "bad_image"),
        (ASTRONAUT.read_bytes()[:5000], "bad_image"),
        (b"noise", "no_face"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_in_a_sentence(real_server: Server, picture: bytes, code: str) -> None:
    if picture == b"noise":
        stream = io.BytesIO()
        Image.effect_noise((300, 300), 90).convert("RGB").save(stream, "PNG")
        picture = stream.getvalue()
    status = real_server.end_of(_submit(real_server, picture), seconds=120)
    assert status.state is JobState.FAILED
    assert status.error is not None
    assert status.error.code == code
    assert status.error.message.endswith(".") and status.error.hint
    assert "face.png" in status.error.message and str(real_server.data) not in status.error.message
