"""The backend as the add-on sees it: installed or not, running or not, here or elsewhere. No bpy.

`Backend.state` is one of eight explicit states; the panel draws each as one sentence and one button. All methods that
may take time are called from worker threads; `state`, `sentence` and `poll` are cheap and for Blender's main thread.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import queue
import secrets
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import installation, stillness
from . import platform_support as system
from .backend_state import Mode, State, ended_at_start, not_ready, sentence
from .client import BackendError, Client
from .install_plan import InstallError, Plan
from .installation import Installed

if TYPE_CHECKING:
    import subprocess

    from .api import Hello

START_TIMEOUT = 90.0  # seconds until the backend must have said where it listens; slow disks and virus scanners
_LARGEST_LOG = 1 << 20


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user decided. `root` holds environment, jobs and logs; `package` is the add-on's own folder."""

    root: Path
    package: Path
    mode: Mode = Mode.MANAGED
    python: str = ""  # ENVIRONMENT: its interpreter; MANAGED: the Python to make the environment with
    url: str = ""
    token: str = ""
    device: str = "auto"

    @property
    def local(self) -> bool:
        return self.mode is not Mode.REMOTE

    @property
    def interpreter(self) -> Path:
        """The Python that runs the backend."""
        chosen = self.mode is Mode.ENVIRONMENT and self.python
        return Path(self.python) if chosen else system.environment_python(self.root / "environment")


class Backend:
    """One backend and its life. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()  # guards the fields; never held while something slow happens
        self._starting = threading.Lock()  # held by the one thread that starts
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self._state = State.STOPPED
        self._cancel_install = threading.Event()
        self._log_begin = 0  # where the log of the last start begins
        self.hello: Hello | None = None
        self.problem: BackendError | None = None  # why the last start or installation failed
        self.progress: tuple[str, float] = ("", 0.0)  # of an installation
        self.jobs_running = 0
        atexit.register(self.stop)

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def log(self) -> Path:
        return self._settings.root / "logs" / "backend.log"

    @property
    def state(self) -> State:
        with self._lock:
            return State.BUSY if self._state is State.READY and self.jobs_running else self._state

    @property
    def sentence(self) -> str:
        """The state in words, without a full stop."""
        return sentence(self.state, self._settings.mode)

    def configure(self, settings: Settings) -> None:
        """Take over changed settings; a backend that no longer fits is stopped. May take seconds."""
        if settings != self._settings:
            self.stop()
            with self._lock:
                self._settings, self.problem, self.hello = settings, None, None
            self.inspect()

    def inspect(self) -> None:
        """Find out what is installed, unless something is running or under way. Reads files."""
        settings = self._settings
        found = State.STOPPED
        if settings.mode is Mode.MANAGED:
            found = {
                Installed.NOTHING: State.NOT_INSTALLED,
                Installed.HALF: State.BROKEN,
                Installed.OTHER_VERSION: State.UPDATE_NEEDED,
                Installed.COMPLETE: State.STOPPED,
            }[installation.inspect(settings.root, settings.package)]
        elif settings.mode is Mode.ENVIRONMENT and not settings.interpreter.exists():
            found = State.NOT_INSTALLED
        with self._lock:
            if self._state not in (State.INSTALLING, State.STARTING, State.READY):
                self._state = found

    def poll(self) -> bool:
        """Notice that the process has ended by itself; True when the state changed. Cheap."""
        with self._lock:
            if self._process is None or self._process.poll() is None or self._state is not State.READY:
                return False
            status = self._process.returncode
            self._process, self._client, self._state = None, None, State.STOPPED
            self.problem = BackendError("ended", f"The backend ended by itself (status {status}).", "Start it again.")
            return True

    def install(self, plan: Plan) -> None:
        """Install by `plan`; blocks. A failure is kept in `problem`."""
        self.stop()
        with self._lock:
            if self._state is State.INSTALLING:
                return
            self._state, self.problem, self.progress = State.INSTALLING, None, ("Preparing", 0.0)
        self._cancel_install.clear()
        try:
            installation.install(plan, self._set_progress, self._cancel_install, self.log.with_name("install.log"))
        except InstallError as error:
            with self._lock:
                self.problem = BackendError("install", error.message, error.hint)
        finally:
            with self._lock:
                self._state = State.STOPPED
            self.inspect()

    def cancel_install(self) -> None:
        self._cancel_install.set()

    def remove(self) -> None:
        """Stop and take the installation away; blocks."""
        self.stop()
        try:
            installation.remove(self._settings.root)
        except InstallError as error:
            with self._lock:
                self.problem = BackendError("remove", error.message, error.hint)
        self.inspect()

    def client(self) -> Client:
        """A client of the running backend; starts it when it is stopped, blocks. Raises `BackendError`."""
        with self._starting:
            with self._lock:
                self.poll()
                if self._client is not None:
                    return self._client
                if self._state in (State.NOT_INSTALLED, State.INSTALLING, State.BROKEN, State.UPDATE_NEEDED):
                    raise self.problem or not_ready(self._state, self._settings.mode)
                self._state, self.problem = State.STARTING, None
            try:
                client, process = self._start()
                hello = client.hello()
            except BackendError as error:
                with self._lock:
                    process, self._process = self._process, None
                    self._state, self.problem = State.STOPPED, error
                    if self._settings.mode is Mode.MANAGED:
                        mends = {"protocol": State.UPDATE_NEEDED, "broken": State.BROKEN}
                        self._state = mends.get(error.code, State.STOPPED)
                if process is not None:
                    system.stop_process(process)
                raise
            with self._lock:
                self._client, self._process, self.hello, self._state = client, process, hello, State.READY
            return client

    def is_served_by(self, client: Client) -> bool:
        """Whether `client` still speaks to the running backend, and not to one that ended meanwhile."""
        with self._lock:
            return self._client is client

    def lose(self, client: Client, problem: BackendError) -> None:
        """Forget a backend elsewhere that does not answer any more."""
        with self._lock:
            if self._client is client and self._process is None:
                self._client, self._state, self.problem = None, State.STOPPED, problem

    def stop(self) -> None:
        """End the backend that we started, or forget the one that we did not; may take some seconds."""
        self._cancel_install.set()
        with self._lock:
            process, self._process, self._client = self._process, None, None
            if self._state in (State.READY, State.STARTING):
                self._state = State.STOPPED
        if process is not None:
            system.stop_process(process)

    def _start(self) -> tuple[Client, subprocess.Popen[bytes] | None]:
        settings = self._settings
        if settings.mode is Mode.REMOTE:
            return Client(settings.url, settings.token), None
        token = secrets.token_urlsafe(32)
        command = [str(settings.interpreter), "-I", "-m", "backend", "serve", "--port", "0", "--with-parent"]
        command += ["--data", str(settings.root)]
        try:
            settings.root.mkdir(parents=True, exist_ok=True)
            log = self._open_log()
        except OSError as problem:
            words = f"The data folder {settings.root} cannot be written ({problem.strerror or problem})."
            raise BackendError("cannot_start", words, "Choose another data folder in the preferences.") from problem
        try:
            with log:
                environment = system.child_environment({"MAQUETTE_TOKEN": token})
                process = system.start_process(command, environment, log.fileno(), folder=settings.root)
        except OSError as problem:
            words = f"The backend's Python cannot be started ({problem.strerror or problem})."
            raise BackendError("broken", words, "Repair the installation.") from problem
        with self._lock:
            self._process = process
        greeting = self._greeting(process)
        return Client(f"http://127.0.0.1:{greeting['port']}", token), process

    def _greeting(self, process: subprocess.Popen[bytes]) -> dict[str, int]:
        """The line in which the backend says where it listens. Its stdout is read on, so that it never blocks."""
        lines: queue.Queue[bytes] = queue.Queue()

        def read() -> None:
            with contextlib.suppress(ValueError, OSError):  # closed by `stop`
                for line in process.stdout or ():
                    lines.put(line)
            lines.put(b"")

        threading.Thread(target=read, name="maquette-stdout", daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                with stillness.resting():
                    line = lines.get(timeout=0.2)
                if not line:
                    break
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    greeting = json.loads(line)
                    return {"port": int(greeting["port"]), "protocol": int(greeting["protocol"])}
        else:
            raise BackendError("timeout", "The backend did not start in time.", "Start it again, or look at its log.")
        last = self.last_log_lines(1, self._log_begin)
        raise ended_at_start(last[0] if last else "")

    def last_log_lines(self, count: int, begin: int = 0) -> list[str]:
        """The end of the backend's log, as far as it was written behind `begin`; reads a file."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[begin:][-8000:].decode("utf-8", "replace")
            return [line for line in text.splitlines() if line.strip()][-count:]
        return []

    def _open_log(self) -> IO[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > _LARGEST_LOG:
                self.log.replace(self.log.with_suffix(".old.log"))
        log = self.log.open("ab")
        self._log_begin = log.tell()
        return log

    def _set_progress(self, text: str, fraction: float) -> None:
        self.progress = (text, fraction)
