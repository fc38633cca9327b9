"""What the add-on says and understands, against the real backend and against answers that it never gives."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .stub_backend import StubBackend

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test"
HELLO = {"protocol": 1, "version": "9.9", "pid": 1, "device": "cpu", "cores": 2, "memory_mb": 4000, "engines": []}


@pytest.fixture(scope="module")
def client(addon):
    return importlib.import_module("maquette.client")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a real backend."""
    command = [sys.executable, "-m", "backend", "serve", "--with-parent", "--data", tmp_path_factory.mktemp("data")]
    environment = os.environ | {"MAQUETTE_TOKEN": TOKEN}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)
    assert process.stdin and process.stdout
    yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()


@pytest.fixture
def stub():
    backend = StubBackend()
    yield backend
    backend.close()


def test_hello_tells_the_machine_and_the_engines(client, server):
    hello = client.Client(server, TOKEN).hello()
    assert hello.cores >= 1 and hello.memory_mb > 100
    assert {engine.name: engine.available for engine in hello.engines}["template"]


def test_an_estimate_grows_with_quality(client, server):
    seconds = [client.Client(server, TOKEN).estimate("template", q, "wrapped").seconds for q in ("draft", "high")]
    assert 0 < seconds[0] < seconds[1]


def test_a_picture_without_a_face_fails_with_a_sentence_and_is_deleted(client, server, tmp_path):
    from PIL import Image

    grey = tmp_path / "gräu & grün.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(grey)
    ours = client.Client(server, TOKEN)
    request = client.AvatarRequest(portraits=(ours.upload(grey),), quality="draft")
    status = ours.generate(request)
    for _ in range(20):
        status = ours.job(status.id, status.revision, 10)
        if status.state.final:
            break
    assert status.state.value == "failed" and status.error is not None
    assert status.error.message.endswith((".", "!"))
    assert [job.id for job in ours.jobs()] == [status.id]
    ours.delete(status.id)
    assert ours.jobs() == []


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_told(client, server, token):
    with pytest.raises(client.BackendError) as caught:
        client.Client(server, token).hello()
    assert caught.value.code == "unauthorized" and caught.value.hint


def test_an_unknown_job_is_told(client, server):
    with pytest.raises(client.BackendError) as caught:
        client.Client(server, TOKEN).cancel("j-../../x")
    assert caught.value.code == "not_found"


def test_a_missing_picture_is_told_before_anything_is_sent(client, server, tmp_path):
    with pytest.raises(client.BackendError) as caught:
        client.Client(server, TOKEN).upload(tmp_path / "gone.jpg")
    assert caught.value.code == "no_file"


def test_a_bad_request_is_told(client, server):
    with pytest.raises(client.BackendError) as caught:
        client.Client(server, TOKEN).generate(client.AvatarRequest(portraits=("u-0",)))
    assert caught.value.message


def test_nobody_there(client, stub):
    stub.close()
    with pytest.raises(client.BackendError) as caught:
        client.Client(stub.url, TOKEN).hello()
    assert caught.value.code == "unreachable"


def test_a_backend_that_never_answers(client, stub):
    import time

    stub.routes["GET /v1/hello"] = lambda body: (time.sleep(0.5), (204, b""))[1]
    with pytest.raises(client.BackendError) as caught:
        client.Client(stub.url, TOKEN, timeout=0.1).hello()
    assert caught.value.code == "timeout"


@pytest.mark.parametrize("answer", [(200, b"<html>"), (500, b"oops"), (404, {"detail": "Not Found"}), (200, b"[1]")])
def test_another_program_at_this_address(client, stub, answer):
    stub.routes["GET /v1/hello"] = answer
    with pytest.raises(client.BackendError) as caught:
        client.Client(stub.url, TOKEN).hello()
    assert caught.value.code == "not_ours"


@pytest.mark.parametrize(("protocol", "older"), [(0, "backend"), (2, "add-on")])
def test_another_protocol_says_which_side_to_update(client, stub, protocol, older):
    stub.routes["GET /v1/hello"] = (200, HELLO | {"protocol": protocol})
    with pytest.raises(client.BackendError) as caught:
        client.Client(stub.url, TOKEN).hello()
    assert caught.value.code == "protocol" and older in caught.value.hint


@pytest.mark.parametrize("url", ["", "http://", "ftp://x", "http://[::1", "http://x:99999"])
def test_an_address_that_is_none(client, url):
    with pytest.raises(client.BackendError) as caught:
        client.Client(url, TOKEN)
    assert caught.value.code == "bad_url"


def test_a_token_cannot_smuggle_headers(client):
    with pytest.raises(client.BackendError):
        client.Client("http://127.0.0.1:1", "a\r\nX-Evil: 1")


def test_a_file_arrives_whole_or_not_at_all(client, stub, tmp_path):
    stub.routes["GET /v1/jobs/j/files/avatar.npz"] = (200, b"all of it")
    stub.routes["GET /v1/jobs/j/files/gone"] = (404, {"error": {"code": "not_found", "message": "Gone."}})
    ours = client.Client(stub.url, TOKEN)
    assert ours.fetch("j", "avatar.npz", tmp_path / "a" / "b").read_bytes() == b"all of it"
    with pytest.raises(client.BackendError):
        ours.fetch("j", "gone", tmp_path / "a" / "c")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_a_disk_that_takes_no_more_is_told(client, stub, tmp_path):
    stub.routes["GET /v1/jobs/j/files/avatar.npz"] = (200, b"all of it")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(client.BackendError) as caught:
        client.Client(stub.url, TOKEN).fetch("j", "avatar.npz", tmp_path / "file" / "avatar.npz")
    assert caught.value.code == "disk_full" and "data folder" in caught.value.hint


def test_proxies_of_the_system_are_left_alone(client, stub, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    stub.routes["GET /v1/hello"] = (200, HELLO)
    assert client.Client(stub.url, TOKEN).hello().version == "9.9"
    assert stub.seen == [("GET /v1/hello", f"Bearer {TOKEN}", b"")]
