"""One job in a process of its own, seen from the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import IO, TYPE_CHECKING, Any

from backend.server import life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

GRACE = 2.0  # seconds between being told to stop and being ended
_LINE_LIMIT = 2**20


class Child:
    """A running worker: it gets its order in one line, and answers with one line of JSON per event."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, kills: int | None) -> None:
        self._process = process
        self._log = log
        self._kills = kills
        self._stopping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: Sequence[str], order: dict[str, Any], log: Path) -> Child:
        """Start `command`; what it says besides events goes to the file `log`. Raises `OSError`."""
        environment = {name: value for name, value in os.environ.items() if name != "MAQUETTE_TOKEN"}
        with log.open("wb") as stderr:
            process = await _spawn(command, environment, stderr)
        child = cls(process, log, life.kernel_kills())
        child._say(json.dumps(order))
        return child

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Its events until it has ended; lines that are none are left out."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than any event
                continue
            if not line:
                break
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
        await self._process.wait()

    def stop(self) -> None:
        """Tell it to stop; end it when it has not after `GRACE` seconds. Returns at once."""
        if self._stopping is None:
            self._say("cancel")
            self._stopping = asyncio.create_task(self._end_after_grace())

    def kill(self) -> None:
        """End it now, with whatever it started, which may outlive it; on Windows what it started goes on."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: the latter for what is ending
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            elif self._process.returncode is None:
                self._process.kill()

    @property
    def status(self) -> int:
        """How it ended: negative is the number of a signal."""
        return -1 if self._process.returncode is None else self._process.returncode

    def how_it_ended(self) -> str:
        """What a process that said nothing did, for a sentence."""
        if self.status >= 0:
            return f"ended without a word (status {self.status})"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        return f"was ended from outside ({name})" if name in ("SIGKILL", "SIGTERM") else f"crashed ({name})"

    def lacked_memory(self) -> bool:
        """Whether it ended for want of memory, without being able to say so itself."""
        if life.was_killed_for_memory(self.status, self._kills):
            return True
        return any(word in self._last_words() for word in ("std::bad_alloc", "MemoryError", "allocate memory"))

    def _last_words(self) -> str:
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 4000, 0))
            return file.read().decode("utf-8", "replace")
        return ""

    async def _end_after_grace(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), GRACE)
        self.kill()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{line}\n".encode())


async def _spawn(command: Sequence[str], environment: dict[str, str], stderr: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=environment,
        limit=_LINE_LIMIT,
        start_new_session=True,  # Ctrl-C in a terminal is for the server alone; nothing on Windows
    )
