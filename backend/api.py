"""Everything that crosses the process boundary, as plain data.

Standard library only and free of imports from the rest of the package: the Blender add-on carries a copy of this file.
Works on Python 3.11 to 3.14.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

PROTOCOL_VERSION = 1

ENGINES = ("template", "rodin", "morphable")
QUALITIES = ("draft", "standard", "high")
MESHES = ("wrapped", "levelset")
DEVICES = ("auto", "cpu", "cuda", "mps")


class ErrorCode(enum.StrEnum):
    """Why a job failed; the value is the wire format, the position is the basis of the exit status."""

    BAD_REQUEST = "bad_request"
    BAD_IMAGE = "bad_image"
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    FACE_TURNED_AWAY = "face_turned_away"
    MODEL_MISSING = "model_missing"
    BAD_MESH = "bad_mesh"
    OUTPUT_NOT_WRITABLE = "output_not_writable"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclasses.dataclass(frozen=True)
class AvatarRequest:
    """Everything an avatar depends on: same request, same bytes.

    `portraits` are file paths (one to five pictures of the same person); `prompt` is free text; at least one of the
    two is needed. `seed` feeds every random generator of the job.
    """

    portraits: tuple[str, ...] = ()
    prompt: str = ""
    engine: str = "template"
    seed: int = 0
    quality: str = "standard"
    mesh: str = "wrapped"
    device: str = "auto"
    body_model: str = "anny"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"portraits": list(self.portraits)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AvatarRequest:
        """Build a request from decoded JSON. Raises `ValueError` with a sentence when a field is unknown or wrong."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"Unknown request fields: {', '.join(unknown)}.")
        values: dict[str, Any] = data | {"portraits": tuple(data.get("portraits", ()))}
        request = cls(**values)
        request.validate()
        return request

    def validate(self) -> None:
        """Raise `ValueError` with one sentence when a value is outside what the backend understands."""
        for name, value, allowed in (
            ("engine", self.engine, ENGINES),
            ("quality", self.quality, QUALITIES),
            ("mesh", self.mesh, MESHES),
            ("device", self.device, DEVICES),
        ):
            if value not in allowed:
                raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(allowed)}.")
        if not self.portraits and not self.prompt.strip():
            raise ValueError("Give a portrait, a prompt, or both.")
        if len(self.portraits) > 5:
            raise ValueError(f"Give at most five portraits of the same person, not {len(self.portraits)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError("The seed must be a whole number from 0 to 4294967295.")


@dataclasses.dataclass(frozen=True)
class StageReport:
    """Cost of one pipeline stage: wall seconds, and the peak resident memory of the process tree in megabytes."""

    name: str
    seconds: float
    peak_memory_mb: float


@dataclasses.dataclass(frozen=True)
class AvatarReport:
    """What `report.json` holds beside the avatar."""

    request: AvatarRequest
    versions: dict[str, str]
    total_seconds: float
    stages: tuple[StageReport, ...]
    quality: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"request": self.request.to_json()}
