"""One avatar on its way, as plain data. No bpy."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import BackendError

if TYPE_CHECKING:
    from .api import JobStatus
    from .avatar_data import AvatarData


@dataclasses.dataclass
class Job:
    """Written by the thread that follows the job, read by the panel."""

    number: int
    title: str
    request: dict[str, Any]  # as the user gave it, with paths instead of upload ids
    file_generation: int  # which .blend file was open: an avatar never appears in another one
    text: str = "Sending the pictures"
    started: float = dataclasses.field(default_factory=time.monotonic)
    status: JobStatus | None = None
    error: BackendError | None = None
    avatar: AvatarData | None = None  # set when it can be brought into the scene
    preview: Path | None = None
    imported: str = ""  # the name of the armature
    finished: bool = False  # nothing more will happen in the thread
    cancelled: threading.Event = dataclasses.field(default_factory=threading.Event)
    submitted: threading.Event = dataclasses.field(default_factory=threading.Event)  # or given up before

    @property
    def fraction(self) -> float:
        return self.status.fraction if self.status else 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def stop_if_cancelled(self) -> None:
        """Raise `BackendError` when the user has given the job up."""
        if self.cancelled.is_set():
            raise BackendError("cancelled", "Cancelled.")
