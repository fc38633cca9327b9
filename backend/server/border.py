"""What stands before the routes: only who knows the token, speaks to this very server and sends little gets through."""

from __future__ import annotations

import hmac
import json
import logging
from typing import TYPE_CHECKING

from fastapi import HTTPException

from backend.api import ErrorCode
from backend.server.store import failure

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("maquette.server")
BODY_LIMIT = 2**20
UPLOAD_LIMIT = 64 * 2**20
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

STATUS = {
    ErrorCode.BAD_REQUEST: 422,
    ErrorCode.MODEL_MISSING: 422,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.BUSY: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.DISK_FULL: 507,
    ErrorCode.OUTPUT_NOT_WRITABLE: 507,
}


class Border:
    """ASGI middleware. A page in a browser never gets through: it has no token, says its `Origin`, and after DNS
    rebinding names a `Host` that is not loopback."""

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str]) -> None:
        """`hosts` are the names that this server goes by, without port; empty means any."""
        self._app = app
        self._expected = b"Bearer " + token.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])  # of a repeated one the last counts, and one wrong is enough
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        if b"origin" in headers or (self._hosts and name not in self._hosts):
            return await _refuse(receive, send, 403, ErrorCode.UNAUTHORIZED, "This server is not for web pages.")
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            return await _refuse(receive, send, 401, ErrorCode.UNAUTHORIZED, "The token is missing or wrong.")
        limit = UPLOAD_LIMIT if scope["path"] == "/v1/uploads" else BODY_LIMIT
        if int(headers.get(b"content-length", b"0") or 0) > limit:  # uvicorn lets only digits through
            return await _refuse(receive, send, 413, ErrorCode.TOO_LARGE, "What was sent is too large.")
        await self._app(scope, _limited(receive, limit), _tolerant(send))


def _limited(receive: Receive, limit: int) -> Receive:
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise HTTPException(413, "What was sent is too large")
        return message

    return limited


def _tolerant(send: Send) -> Send:
    """A client that has left, or breaks the rules in the middle of its request, is no failure of ours."""

    async def tolerant(message: Message) -> None:
        try:
            await send(message)
        except Exception as problem:
            _LOG.info("an answer could not be sent: %r", problem)

    return tolerant


async def _drop_body(receive: Receive) -> None:
    """Read on for a while: a client that still sends when the connection is closed never sees the answer."""
    total = 0
    while total < 4 * UPLOAD_LIMIT:
        message = await receive()
        total += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break


async def _refuse(receive: Receive, send: Send, status: int, code: ErrorCode, message: str) -> None:
    await _drop_body(receive)
    body = error_body(code, message)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(code: ErrorCode, message: str, hint: str = "") -> bytes:
    """`{"error": {"code", "message", "hint"}}`, pure ASCII."""
    error = failure(code, message, hint)
    return json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}).encode()
