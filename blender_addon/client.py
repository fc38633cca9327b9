"""Speaks HTTP to the backend: one method per request of the protocol, plain data in and out. No bpy.

Every call opens its own connection, so one client may be used by several threads. Proxies of the system are left
alone: the backend is on this computer or on one that the user named.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import shutil
import urllib.parse
from typing import TYPE_CHECKING, Any, TypeVar

from .api import PROTOCOL_VERSION, AvatarRequest, Estimate, Hello, JobStatus, RigRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT = 15.0  # seconds for an answer
LONGEST_WAIT = 1.0  # seconds a status request waits at the backend: how long an import waits for `stillness`, at most
_CHUNK = 1 << 18

_Answer = TypeVar("_Answer")


class BackendError(Exception):
    """The backend refused, failed or was not there: a code, one sentence, and what to do about it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Client:
    """The backend at `url` (http or https), which knows us by `token`."""

    def __init__(self, url: str, token: str, timeout: float = TIMEOUT) -> None:
        try:
            parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 0) > 65535:
                raise ValueError
        except ValueError:
            hint = "Write it as http://computer:port."
            raise BackendError("bad_url", f"{url or 'Nothing'} is no address of a backend.", hint) from None
        if not token.isascii() or any(character.isspace() for character in token):
            raise BackendError("unauthorized", "The token holds characters that no token has.", "Copy it once more.")
        self.url = url
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._token, self._timeout = token, timeout

    def hello(self) -> Hello:
        """Who answers. Raises `BackendError` with the code ``protocol`` when it speaks another version."""
        hello = self._decoded(Hello.from_json, self._json("GET", "/v1/hello"))
        if hello.protocol != PROTOCOL_VERSION:
            older = "backend" if hello.protocol < PROTOCOL_VERSION else "add-on"
            raise BackendError(
                "protocol",
                f"The backend {hello.version} speaks protocol {hello.protocol}, this add-on {PROTOCOL_VERSION}.",
                f"Update the {older}.",
            )
        return hello

    def estimate(self, engine: str, quality: str, mesh: str) -> Estimate:
        query = urllib.parse.urlencode({"engine": engine, "quality": quality, "mesh": mesh})
        return self._decoded(Estimate.from_json, self._json("GET", f"/v1/estimate?{query}"))

    def upload(self, path: Path) -> str:
        """Send a file; returns its id."""
        query = urllib.parse.urlencode({"name": path.name})
        try:
            size = path.stat().st_size
            with path.open("rb") as stream:
                headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
                answer = self._json("POST", f"/v1/uploads?{query}", stream, headers)
                return str(self._decoded(lambda data: data["upload"], answer))
        except FileNotFoundError:
            raise BackendError("no_file", f"There is no file {path}.", "Choose the picture once more.") from None
        except PermissionError:
            raise BackendError("no_file", f"{path} may not be read.", "Change its permissions or copy it.") from None

    def generate(self, request: AvatarRequest) -> JobStatus:
        """Queue an avatar; `request.portraits` are ids of uploads."""
        return self._submit({"generate": request.to_json()})

    def rig(self, request: RigRequest) -> JobStatus:
        """Queue the rigging of an uploaded mesh."""
        return self._submit({"rig": request.to_json()})

    def jobs(self) -> list[JobStatus]:
        """All jobs, newest first."""
        answer = self._json("GET", "/v1/jobs")
        return self._decoded(lambda data: [JobStatus.from_json(job) for job in data], answer)

    def job(self, job_id: str, after: int | None = None, wait: float = 0.0) -> JobStatus:
        """One job; with `after`, the answer may take up to `wait` seconds, until its revision is greater than that."""
        query = "" if after is None else f"?after={after}&wait={min(wait, LONGEST_WAIT):g}"
        path = f"/v1/jobs/{urllib.parse.quote(job_id, safe='')}{query}"
        return self._decoded(JobStatus.from_json, self._json("GET", path, timeout=self._timeout + wait))

    def cancel(self, job_id: str) -> JobStatus:
        answer = self._json("POST", f"/v1/jobs/{urllib.parse.quote(job_id, safe='')}/cancel")
        return self._decoded(JobStatus.from_json, answer)

    def delete(self, job_id: str) -> None:
        self._json("DELETE", f"/v1/jobs/{urllib.parse.quote(job_id, safe='')}")

    def fetch(self, job_id: str, name: str, target: Path) -> Path:
        """Copy a file of a job to `target`, which appears whole or not at all."""
        path = f"/v1/jobs/{urllib.parse.quote(job_id, safe='')}/files/{urllib.parse.quote(name, safe='')}"
        aside = target.with_name(target.name + ".part")
        connection, response = self._open("GET", path, None, {}, self._timeout)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as stream:
                shutil.copyfileobj(response, stream, _CHUNK)
            if response.length:  # http.client says nothing when a body ends too early
                raise BackendError("cut_off", "The connection broke in the middle of a file.", "Try it again.")
            aside.replace(target)
        except OSError as problem:
            if problem.filename is not None or problem.errno in (errno.ENOSPC, errno.EROFS):
                sentence = f"{target.parent} cannot be written ({problem.strerror})."
                raise BackendError("disk_full", sentence, "Make room, or choose another data folder.") from problem
            raise _unreachable(self.url, problem) from problem
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            connection.close()
        return target

    def _submit(self, body: dict[str, Any]) -> JobStatus:
        text = json.dumps(body).encode()
        answer = self._json("POST", "/v1/jobs", text, {"Content-Type": "application/json"})
        return self._decoded(JobStatus.from_json, answer)

    def _decoded(self, decode: Callable[[Any], _Answer], answer: Any) -> _Answer:
        """An answer as what it should be; whoever answers something else is no backend of ours."""
        try:
            return decode(answer)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _not_ours(self.url) from None

    def _json(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 0.0
    ) -> Any:
        connection, response = self._open(method, path, body, headers or {}, timeout or self._timeout)
        try:
            data = response.read()
            return json.loads(data) if data else None
        except ValueError:
            raise _not_ours(self.url) from None
        except (OSError, http.client.HTTPException) as problem:
            raise _unreachable(self.url, problem) from problem
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: Any, headers: dict[str, str], timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request; returns the open answer. Every status but 2xx is a `BackendError`."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout)
        try:
            authorised = headers | {"Authorization": f"Bearer {self._token}"}
            # A server that refuses a large body answers before it has read it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._base + path, body=body, headers=authorised)
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise _refusal(self.url, response)
        except BackendError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            raise _unreachable(self.url, problem) from problem
        return connection, response


def _refusal(url: str, response: http.client.HTTPResponse) -> BackendError:
    try:
        error = json.loads(response.read())["error"]
        return BackendError(str(error["code"]), str(error["message"]), str(error.get("hint") or ""))
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return _not_ours(url)


def _not_ours(url: str) -> BackendError:
    return BackendError("not_ours", f"What answers at {url} is no backend of Maquette.", "Check the address.")


def _unreachable(url: str, problem: Exception) -> BackendError:
    if isinstance(problem, TimeoutError):
        return BackendError("timeout", f"The backend at {url} does not answer.", "Restart it, or look at its log.")
    return BackendError("unreachable", f"There is no backend at {url}.", "Start it, or check address and network.")
