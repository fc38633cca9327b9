"""Who may speak to the server: programs of this computer that know the token, and no page in a browser."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.api import PROTOCOL_VERSION, Hello
from tests.server.driver import REAL, TOKEN, Server

ROUTES = [
    ("GET", "/v1/hello"),
    ("GET", "/v1/estimate"),
    ("POST", "/v1/uploads?name=a.jpg"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/x"),
    ("POST", "/v1/jobs/x/cancel"),
    ("DELETE", "/v1/jobs/x"),
    ("GET", "/v1/jobs/x/files/y"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
]


def _code(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["error"]["code"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_nothing_is_told_without_the_token(shared_server: Server, method: str, path: str, header: str) -> None:
    body = b"x" if method == "POST" else None
    assert _code(shared_server.raw(method, path, body, {"Authorization": header})) == (401, "unauthorized")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.0.1"])
def test_a_name_that_was_bent_to_loopback_is_refused(shared_server: Server, host: str) -> None:
    """DNS rebinding: the page's own host name suddenly means 127.0.0.1, and the browser says so in `Host`."""
    assert _code(shared_server.raw("GET", "/v1/hello", headers={"Host": host})) == (403, "unauthorized")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_loopback_are_its_own(shared_server: Server, name: str) -> None:
    assert shared_server.raw("GET", "/v1/hello", headers={"Host": f"{name}:{shared_server.port}"})[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8080", ""])
def test_what_a_page_sends_is_refused_even_with_the_token(shared_server: Server, origin: str) -> None:
    for method, path in ROUTES:
        assert _code(shared_server.raw(method, path, headers={"Origin": origin})) == (403, "unauthorized")
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert shared_server.raw("OPTIONS", "/v1/jobs", headers=preflight)[0] == 403


def test_it_listens_on_loopback_alone(shared_server: Server) -> None:
    addresses = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    port = f"{shared_server.port:04X}"
    listening = [line.split()[1] for line in addresses.splitlines() if line.split()[3] == "0A"]
    assert [address for address in listening if address.endswith(f":{port}")] == [f"0100007F:{port}"]


def test_the_first_line_is_the_handshake(shared_server: Server) -> None:
    assert shared_server.line.keys() == {"port", "protocol", "version", "pid"}
    assert shared_server.line["protocol"] == PROTOCOL_VERSION
    assert shared_server.line["pid"] == shared_server.process.pid
    hello = Hello.from_json(shared_server.ask("GET", "/v1/hello"))
    assert (hello.protocol, hello.pid) == (PROTOCOL_VERSION, shared_server.process.pid)
    assert hello.cores >= 1 and hello.memory_mb > 500
    assert [engine.name for engine in hello.engines if engine.available] == ["template", "rodin"]
    assert all(engine.reason.endswith(".") for engine in hello.engines if not engine.available)


def test_without_a_token_one_is_made_and_printed(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MAQUETTE_TOKEN"}
    process = subprocess.Popen(
        [*REAL, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None and process.stdin is not None
    line = json.loads(process.stdout.readline())
    connection = http.client.HTTPConnection("127.0.0.1", line["port"])
    connection.request("GET", "/v1/hello", headers={"Authorization": f"Bearer {line['token']}"})
    assert connection.getresponse().status == 200
    connection.close()
    process.stdin.close()
    assert process.wait(10) == 0
    assert len(line["token"]) >= 24


def test_too_large_an_upload_is_refused_and_leaves_nothing(shared_server: Server) -> None:
    before = sorted((shared_server.data / "uploads").iterdir())
    large = bytes(64 * 2**20 + 1)
    assert _code(shared_server.raw("POST", "/v1/uploads?name=a.jpg", large)) == (413, "too_large")
    parts = iter([large[: 2**20]] * 65)  # its length is not said beforehand
    connection = http.client.HTTPConnection("127.0.0.1", shared_server.port)
    headers = {"Authorization": f"Bearer {TOKEN}", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/v1/uploads?name=a.jpg", parts, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert sorted((shared_server.data / "uploads").iterdir()) == before


def test_an_upload_that_breaks_off_leaves_nothing(shared_server: Server) -> None:
    before = sorted((shared_server.data / "uploads").iterdir())
    connection = http.client.HTTPConnection("127.0.0.1", shared_server.port)
    connection.putrequest("POST", "/v1/uploads?name=a.jpg")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"only this")
    connection.close()
    deadline = time.monotonic() + 5
    while sorted((shared_server.data / "uploads").iterdir()) != before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_largest_upload_is_kept_whole(shared_server: Server) -> None:
    large = os.urandom(2**20) * 64
    assert shared_server.upload(large, "large.png")
    assert max(path.stat().st_size for path in (shared_server.data / "uploads").iterdir()) == len(large)


def test_the_same_bytes_are_kept_once(shared_server: Server) -> None:
    first, second = shared_server.upload(b"one face"), shared_server.upload(b"one face")
    assert first == second != shared_server.upload(b"another face")
    assert first.startswith("u-")
    assert len(list((shared_server.data / "uploads").glob(f"{first}*"))) == 1


def test_another_computer_may_use_any_name_but_needs_the_token(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "serve", "--with-parent", "--host", "0.0.0.0", "--data"]
    with Server(tmp_path / "data", command) as server:
        assert server.raw("GET", "/v1/hello", headers={"Host": "studio.lan:8080"})[0] == 200
        assert server.raw("GET", "/v1/hello", headers={"Authorization": "Bearer no"})[0] == 401
        assert server.raw("GET", "/v1/hello", headers={"Origin": "http://studio.lan"})[0] == 403
