"""`maquette serve`: takes the data folder and a port, says so in one line of JSON, and listens until it is told to end.

The token comes from the environment (`MAQUETTE_TOKEN`); without it one is made and printed in that line.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from backend.api import PROTOCOL_VERSION, ErrorCode
from backend.errors import MaquetteError
from backend.server import life
from backend.server.app import build
from backend.server.border import LOOPBACK, Border
from backend.server.jobs import Jobs
from backend.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

_PATIENCE = 8.0  # seconds for an orderly end once the parent is gone
_LOG = logging.getLogger("maquette.server")


def worker_command() -> list[str]:
    """How this installation starts the process of a job."""
    isolated = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *isolated, "-m", "backend.server.worker"]


def serve(
    host: str,
    port: int,
    data: Path | None,
    *,
    with_parent: bool,
    log: TextIO,
    worker: Sequence[str] | None = None,
) -> None:
    """Serve until SIGTERM, Ctrl-C or, `with_parent`, the end of standard input.

    Raises `MaquetteError` when the folder or the port cannot be had.
    """
    logging.basicConfig(stream=log, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        faulthandler.enable(log)
    data = (data or life.data_folder()).expanduser().resolve()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_taken(data))
        listener = stack.enter_context(contextlib.closing(_listen(host, port)))
        pipe = life.take_stdin() if with_parent else None
        life.be_polite()
        token = os.environ.get("MAQUETTE_TOKEN", "")
        made = {} if token else {"token": (token := secrets.token_urlsafe(24))}
        version = _version()
        store = Store(data)
        jobs = Jobs(store, worker_command() if worker is None else worker)
        hosts = LOOPBACK if host in ("127.0.0.1", "localhost", "::1") else ()
        app = Border(build(jobs, store, version), token, hosts)
        server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                ws="none",
                timeout_keep_alive=60,
                timeout_graceful_shutdown=3,
            )
        )
        if pipe is not None:
            life.when_parent_is_gone(pipe, lambda: _end(server))
        line = {"port": listener.getsockname()[1], "protocol": PROTOCOL_VERSION, "version": version, "pid": os.getpid()}
        print(json.dumps(line | made), flush=True)
        with _signals(server):
            asyncio.run(_both(server, jobs, listener))


class _Server(uvicorn.Server):
    """Leaves the signals to `_signals`: uvicorn would end before the job at hand has."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _both(server: uvicorn.Server, jobs: Jobs, listener: socket.socket) -> None:
    """Answer and work; once the server is to end, the job at hand is ended and those who wait get their answer."""
    working = asyncio.create_task(jobs.run())
    answering = asyncio.create_task(server.serve([listener]))
    while not server.should_exit and not answering.done():
        await asyncio.sleep(0.1)
    await jobs.close()
    await answering
    working.cancel()


def _end(server: uvicorn.Server) -> None:
    """End in order, or at any price after `_PATIENCE`."""
    server.should_exit = True
    timer = threading.Timer(_PATIENCE, os._exit, (1,))
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def _signals(server: uvicorn.Server) -> Iterator[None]:
    """Ctrl-C and a polite kill end the server in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda *_: _end(server))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _taken(data: Path) -> Iterator[None]:
    """The data folder, for this process alone."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = life.lock_folder(data)
    except OSError as problem:
        sentence = f"The data folder {data} cannot be used ({problem.strerror}): choose another."
        raise MaquetteError(ErrorCode.OUTPUT_NOT_WRITABLE, sentence, stage="server") from None
    if lock is None:
        sentence = f"Another backend uses the data folder {data}: stop it, or choose another folder."
        raise MaquetteError(ErrorCode.BUSY, sentence, stage="server")
    with lock:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if os.name == "posix":  # on Windows it would let a second server take the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as problem:
        sentence = f"Port {port} of {host} cannot be had: choose another, or 0 for a free one."
        raise MaquetteError(ErrorCode.BUSY, sentence, stage="server", hint=str(problem)) from None
    return listener


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("maquette")
    except metadata.PackageNotFoundError:
        return "0.0.0"
