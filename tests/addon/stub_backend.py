"""A backend that speaks the protocol and does what a test tells it, in milliseconds. For what a real one never says."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = tuple[int, Any]  # status and JSON or bytes


class StubBackend:
    """Answers by `routes`: {"GET /v1/hello": (200, {...})} or a function of the request's body that returns that."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer | Callable[[bytes], Answer]] = {}
        self.seen: list[tuple[str, str, bytes]] = []  # route, authorization, body
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                route = f"{self.command} {self.path.split('?')[0]}"
                stub.seen.append((route, self.headers.get("Authorization", ""), body))
                answer = stub.routes.get(route, (404, {"error": {"code": "not_found", "message": "?", "hint": ""}}))
                status, content = answer(body) if callable(answer) else answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                with contextlib.suppress(OSError):  # the client may have given up
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
