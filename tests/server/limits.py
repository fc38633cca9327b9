"""Little memory and small disks, for tests; Linux, and only with the right to make them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def little_memory(megabytes: int = 400) -> Iterator[Path | None]:
    """A control group; a process whose number is written into the file is in it. None where none can be made."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (old if old.is_dir() else new) / f"maquette-test-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
    try:
        group.mkdir()
        limit.write_text(f"{megabytes}M")
    except OSError:
        if group.is_dir():
            group.rmdir()
        yield None
        return
    yield group / "cgroup.procs"
    group.rmdir()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 1) -> Iterator[Path | None]:
    """A file system of its own at `folder`, which is made. None where none can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
