"""A server process and what a client does with it, as the add-on does: plain HTTP of the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from backend.api import JobState, JobStatus

TOKEN = "a-token-of-24-characters"
REAL = [sys.executable, "-m", "backend", "serve", "--with-parent", "--data"]
STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in_server.py"))]


class Server:
    """Started from `command` with the data folder appended; ends with the block."""

    def __init__(self, data: Path, command: list[str] = STAND_IN) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        environment = os.environ | {"MAQUETTE_TOKEN": TOKEN}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(data)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.line: dict[str, Any] = json.loads(line)
        self.port: int = self.line["port"]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        assert self.process.stdout is not None
        assert self.process.stdout.read() == b"", "only one line belongs on standard output"
        self.process.stdout.close()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def stop(self) -> int:
        """Close the pipe, as a parent does that ends in whatever way."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(15)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of one request; `headers` replace the usual ones of the same name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """The decoded answer to `body` as JSON; asserts its status."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.raw(method, path, data, {"Content-Type": "application/json"} if data else {})
        assert status == expect, answer
        return json.loads(answer) if answer else None

    def refusal(self, method: str, path: str, body: Any = None, *, expect: int) -> str:
        """The code of a refused request, which has the promised form."""
        error = self.ask(method, path, body, expect=expect)["error"]
        assert error.keys() == {"code", "message", "hint"}
        assert error["message"].endswith(".")
        return error["code"]

    def upload(self, data: bytes = b"a face", name: str = "face.jpg") -> str:
        return self.ask("POST", f"/v1/uploads?name={name}", data)["upload"]

    def submit(self, prompt: str) -> JobStatus:
        """A job whose stand-in does what `prompt` says."""
        request = {"portraits": [self.upload()], "prompt": prompt, "quality": "draft"}
        return JobStatus.from_json(self.ask("POST", "/v1/jobs", {"generate": request}, expect=202))

    def get(self, job: str) -> JobStatus:
        return JobStatus.from_json(self.ask("GET", f"/v1/jobs/{job}"))

    def follow(self, job: str, until: Any = lambda status: status.state.final, seconds: float = 30) -> list[JobStatus]:
        """All that a client sees of a job until a status fits; the last one is it."""
        seen: list[JobStatus] = []
        deadline = time.monotonic() + seconds
        while not seen or not until(seen[-1]):
            assert time.monotonic() < deadline, seen[-1:]
            after = seen[-1].revision if seen else 0
            status = JobStatus.from_json(self.ask("GET", f"/v1/jobs/{job}?after={after}&wait=5"))
            if not seen or status.revision > after:
                seen.append(status)
        return seen

    def end_of(self, job: str, seconds: float = 30) -> JobStatus:
        return self.follow(job, seconds=seconds)[-1]

    def in_stage(self, job: str, stage: str) -> JobStatus:
        return self.follow(job, lambda status: status.stage == stage or status.state.final)[-1]

    def worker(self, job: str) -> int:
        """Number of the stand-in's process."""
        return int((self.data / "jobs" / job / "pid").read_text())


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than as an entry that nobody has asked for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    """Numbers of the processes that `pid` has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def finished(status: JobStatus) -> bool:
    return status.state is JobState.DONE


def marked(name: str, value: str) -> list[int]:
    """Numbers of the processes with this environment variable: all that somebody started, and what those did."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{name}={value}".encode() in path.read_bytes() and is_running(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


def gone(name: str, value: str, seconds: float) -> bool:
    """Whether none of them is left, after `seconds` at most."""
    end = time.monotonic() + seconds
    while marked(name, value):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
