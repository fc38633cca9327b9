"""Whatever is sent, the answer is a sentence and a status below 500, and the server does not grow."""

from __future__ import annotations

import itertools
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

from backend.api import AvatarRequest
from tests.server.driver import TOKEN, Server, memory_mb

DEEP = b"[" * 50_000 + b"]" * 50_000
ODD_VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 2**32, 2**64, 10**400, "", "x", "\0", "\ud800", "é" * 1000, "../../etc/passwd",
    "u-" + "0" * 32, [], ["x"], [None], [[]], ["u-" + "0" * 32] * 6, {}, {"a": 1}, float("nan"), float("inf"),
]  # fmt: skip
NAMES = [
    "",
    "..",
    "../../x.jpg",
    "a" * 900,
    "\0",
    "nul",
    "x.%00",
    "é.jpg",
    "a/b\\c.png",
    ".jpg",
    "x.j\npg",
    "x." + "y" * 300,
]
IDS = ["x", "..", "%2e%2e", "..%2f..%2fetc", "%00", "a" * 3000, "é", "20260101-000000-00000000", "*", "job.json", "."]


def _orders() -> Iterator[bytes]:
    """Jobs that nobody can do."""
    for field in AvatarRequest().to_json():
        for value in ODD_VALUES:
            yield json.dumps({"generate": {"portraits": ["u-" + "1" * 32], field: value}}).encode()
    for value in ODD_VALUES:
        yield json.dumps({"rig": {"mesh": value, "like": "x"}}).encode()
        yield json.dumps({"rig": {"mesh": "u-" + "1" * 32, "like": value}}).encode()
        yield json.dumps({"rig": value}).encode()
        yield json.dumps({"generate": value}).encode()
        yield json.dumps(value).encode()
        yield json.dumps({"generate": {"portraits": ["x"], "prompt": "p"}, "rig": value, "more": value}).encode()
    yield from (
        b"",
        b"{",
        b"\xff\xfe",
        b"\x00",
        DEEP,
        b'{"generate":' * 3000,
        b"1" * 5000,
        b'"' + b"a" * 900_000 + b'"',
    )


def _noise(count: int) -> Iterator[bytes]:
    """Orders with some bytes changed."""
    generator = random.Random(7)
    whole = json.dumps({"generate": {"portraits": ["u-" + "2" * 32], "prompt": "old", "seed": 3}}).encode()
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        yield bytes(data[: generator.randrange(len(data) + 1)])


def _requests() -> Iterator[tuple[str, str, bytes | None]]:
    for order in itertools.chain(_orders(), _noise(150)):
        yield "POST", "/v1/jobs", order
    for name in NAMES:
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        yield "POST", f"/v1/uploads?name={quoted}", b"\x89PNG broken"
    yield "POST", "/v1/uploads", b""
    yield "POST", "/v1/uploads?name=" + "a" * 5000, b"x"
    for job in IDS:
        quoted = job if "%" in job else "".join(c if c.isascii() else "%c3%a9" for c in job)
        for method, tail in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", f"/files/{quoted}"),
            ("PUT", ""),
        ):
            yield method, f"/v1/jobs/{quoted}{tail}", None
    for query in ("after=x", "after=1e400", "wait=nan", "wait=-1", "wait=inf", "wait=x", "after=" + "9" * 5000):
        yield "GET", f"/v1/jobs/x?{query}", None
    for query in ("engine=x", "quality=", "mesh=%00", "engine=template&engine=y"):
        yield "GET", f"/v1/estimate?{query}", None


def test_hundreds_of_malformed_requests_give_no_5xx_and_no_growth(server: Server) -> None:
    requests = list(_requests())
    assert len(requests) > 500
    headers = {"Content-Type": "application/json"}
    for method, path, body in requests[::10]:  # what a server needs once is not growth
        server.raw(method, path, body, headers)
    before = memory_mb(server.process.pid)
    for method, path, body in requests:
        status, answer = server.raw(method, path, body, headers)
        assert status < 500, (method, path[:200], (body or b"")[:200], answer)
        if status >= 400:
            assert json.loads(answer)["error"]["message"], (method, path)
    assert memory_mb(server.process.pid) - before < 8
    assert server.ask("GET", "/v1/jobs") == []
    assert all(path.name.startswith("u-") for path in (server.data / "uploads").iterdir())
    assert list((server.data / "jobs").iterdir()) == []


def test_five_hundred_malformed_uploads_give_no_5xx_and_leave_nothing_half(server: Server) -> None:
    generator = random.Random(11)
    types = ["", "image/png", "multipart/form-data", "multipart/form-data; boundary=x", "application/json", "\xff"]
    size = 0.0
    for index in range(500):
        if index == 50:
            size = memory_mb(server.process.pid)
        name = generator.choice(NAMES) + generator.choice(["", ".png", ".glb", f".{index}"])
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        body = generator.randbytes(generator.choice([0, 1, 100, 100_000]))
        said = len(body) + generator.choice([0, 0, 0, 1, 1000, 10**9])
        head = (
            f"POST /v1/uploads?name={quoted} HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Bearer {TOKEN}"
            f"\r\nContent-Type: {generator.choice(types)}\r\nContent-Length: {said}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(head.encode("latin-1") + body)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        assert not answer or answer[9:10] in b"24", (head, answer)
    assert memory_mb(server.process.pid) - size < 8
    deadline = time.monotonic() + 5
    while any(path.suffix == ".part" for path in (server.data / "uploads").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_five_hundred_uploads_of_a_megabyte_do_not_stay_in_memory(server: Server) -> None:
    data = bytes(2**20)
    for index in range(20):
        server.upload(data + bytes([index]))
    before = memory_mb(server.process.pid)
    for index in range(500):
        server.upload(data + bytes([index % 20]))
    assert memory_mb(server.process.pid) - before < 8


def test_what_is_no_http_at_all_harms_nobody(server: Server) -> None:
    good = f"GET /v1/hello HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET\r\n\r\n",
        b"A" * 100_000,
        good.encode() + b"Content-Length: -1\r\n\r\n",
        good.encode() + b"Content-Length: 99999999999999999999999\r\n\r\n",
        good.encode() + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        good.encode() + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        good.encode() + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            try:
                answer = connection.recv(100)
            except ConnectionResetError:
                answer = b""
            assert not answer or answer.startswith(b"HTTP/1.1 4"), (data[:100], answer)
    assert server.ask("GET", "/v1/hello")["protocol"] == 1
