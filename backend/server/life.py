"""All that differs from one operating system to the next: the life of processes, their priority, cores and memory.

A process that Blender started ends with Blender, however Blender ends. The rule that works everywhere: it holds the
reading end of a pipe, and the system closes the writing end when the parent is gone. Linux has a second one, for
workers, which may spend long in native code.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_NICENESS = 10
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def take_stdin() -> IO[bytes]:
    """The pipe on standard input, for us alone; what else in this process reads standard input finds it empty.

    Neither children nor libraries may touch it: on Windows any call on a pipe waits for the one that reads it.
    """
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0, inheritable=False)
    os.close(nothing)
    return os.fdopen(pipe, "rb")


def when_parent_is_gone(pipe: IO[bytes], act: Callable[[], None], said: Callable[[str], None] | None = None) -> None:
    """Call `act` from a thread once `pipe` is closed at its other end or, on Unix, this process has another parent.

    Whole lines that come through the pipe go to `said`. Not `PR_SET_PDEATHSIG`: it fires when the *thread* that started
    this process ends, and an add-on starts its backend from a thread.
    """
    parent, once = os.getppid(), threading.Lock()

    def gone() -> None:
        if once.acquire(blocking=False):
            act()

    def listen() -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in pipe:
                if said is not None:
                    said(line.decode("utf-8", "replace").strip())
        gone()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        gone()

    threading.Thread(target=listen, name="parent's pipe", daemon=True).start()
    if os.name == "posix":
        threading.Thread(target=look, name="parent's number", daemon=True).start()


def die_with_parent_thread() -> None:
    """Linux: let the kernel kill this process when the thread that started it ends; nothing elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def interrupt() -> None:
    """Let the main thread of this process unwind as after Ctrl-C, also out of a system call where that can be done."""
    main = threading.main_thread().ident
    if os.name == "posix" and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()


def be_polite() -> None:
    """Give way to other programs; children inherit it."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), subprocess.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        with contextlib.suppress(OSError):
            os.nice(max(_NICENESS - os.nice(0), 0))


def job_cores() -> int:
    """Cores that a job may use: all that this process has but one, which is for others."""
    return max(_cores() - 1, 1)


def leave_a_core() -> None:
    """Keep this process to `job_cores()`; call it before numerical libraries are loaded."""
    for name in _THREADS:
        os.environ[name] = str(job_cores())
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-job_cores() :])


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_mb() -> int:
    """Main memory that this process may use, megabytes; 0 when the system does not tell."""
    if sys.platform == "win32":
        return _windows_memory_mb()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is none
            total = min(total, int(Path(limit).read_text()))
    return total // 2**20


def _windows_memory_mb() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *(
                (name, ctypes.c_uint64)
                for name in ("total", "free", "page", "page_free", "virtual", "virtual_free", "extended")
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # pyright: ignore[reportAttributeAccessIssue]
    return status.total // 2**20


def kernel_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since it started; None where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def was_killed_for_memory(status: int, kills_before: int | None) -> bool:
    """Whether a process that ended with `status` was killed for want of memory; `kills_before` counted at its start.

    Where the kernel does not count, SIGKILL from nobody we know is taken for it.
    """
    if os.name != "posix" or status != -signal.SIGKILL:
        return False
    now = kernel_kills()
    return now is None or kills_before is None or now > kills_before


def lock_folder(folder: Path, patience: float = 3.0) -> IO[bytes] | None:
    """Take `folder` for this process, as long as the result is open; None when another has it for `patience` seconds.

    The system gives it free when this process ends, however it ends.
    """
    file = (folder / "server.lock").open("ab")
    deadline = time.monotonic() + patience
    while not _try_lock(file):
        if time.monotonic() > deadline:
            file.close()
            return None
        time.sleep(0.1)
    return file


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def data_folder() -> Path:
    """Where a user's data belong on this system; it may not exist yet."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Maquette"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "Maquette"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "maquette"
