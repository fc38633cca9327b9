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
EXPERIMENTAL = ("morphable",)  # come without weights, and are offered only where there are some
QUALITIES = ("draft", "standard", "high")
MESHES = ("wrapped", "levelset")
DEVICES = ("auto", "cpu", "cuda", "mps")
MOST_EDITS = 8


# The pipeline's stages in words for people; `JobStatus.stage` is a key of it, or empty while a job waits.
STAGES = {
    "starting": "Starting the job",
    "portrait": "Finding the face",
    "fit": "Fitting the head",
    "field": "Fitting the radiance field",
    "mesh": "Extracting the surface",
    "texture": "Painting the textures",
    "rig": "Rigging the mesh",
    "export": "Writing the avatar",
}


def _both(**weights: float) -> dict[str, float]:
    return {f"{name}{side}": weight for name, weight in weights.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.8, cheekSquint=0.5, eyeSquint=0.25, mouthDimple=0.2),
    "laugh": _both(mouthSmile=1.0, cheekSquint=0.7, eyeSquint=0.4, mouthUpperUp=0.3) | {"jawOpen": 0.35},
    "surprise": _both(eyeWide=0.9, browOuterUp=0.9) | {"browInnerUp": 0.9, "jawOpen": 0.45, "mouthFunnel": 0.15},
    "anger": _both(browDown=1.0, eyeSquint=0.5, noseSneer=0.6, mouthPress=0.6, mouthFrown=0.4) | {"jawForward": 0.2},
    "sadness": _both(mouthFrown=0.8, eyeSquint=0.2) | {"browInnerUp": 0.9, "mouthShrugLower": 0.5},
    "disgust": _both(noseSneer=0.9, mouthUpperUp=0.6, browDown=0.5, eyeSquint=0.4) | {"mouthShrugUpper": 0.3},
    "fear": _both(eyeWide=0.9, mouthStretch=0.6) | {"browInnerUp": 1.0, "jawOpen": 0.2},
    "kiss": {"mouthPucker": 1.0, "mouthFunnel": 0.2},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.6},
    "sleep": _both(eyeBlink=1.0),
}
"""Weights of ARKit's shapes by the name of the expression, all others 0: presets of the add-on, words of a request."""


class ErrorCode(enum.StrEnum):
    """Why a job failed or a request was refused.

    The value is the wire format, the position is the basis of the exit status: new codes go to the end.
    """

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
    INTERRUPTED = "interrupted"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    BUSY = "busy"
    TOO_LARGE = "too_large"


# What to do about it, for the codes whose sentence alone may leave a user at a loss.
HINTS = {
    ErrorCode.BAD_REQUEST: "The add-on and the backend may be of different versions: update both.",
    ErrorCode.BAD_IMAGE: "Open the picture in an image editor and save it as PNG or JPEG.",
    ErrorCode.NO_FACE: "Choose a picture in which one face is seen from the front, lit and in focus.",
    ErrorCode.FACE_TOO_SMALL: "Choose a larger picture, or crop it around the head and shoulders.",
    ErrorCode.FACE_TURNED_AWAY: "Choose a picture in which both eyes look towards the camera.",
    ErrorCode.MODEL_MISSING: "Choose the template engine, which needs no trained weights.",
    ErrorCode.BAD_MESH: "Export the head once more as GLB: one connected surface, with ears and neck.",
    ErrorCode.OUTPUT_NOT_WRITABLE: "Choose another data folder in the preferences.",
    ErrorCode.DISK_FULL: "Delete old avatars from the history, or choose a data folder on another disk.",
    ErrorCode.OUT_OF_MEMORY: "Close other programs, or choose draft quality.",
    ErrorCode.INTERNAL: "Copy the diagnostics and report what happened.",
    ErrorCode.INTERRUPTED: "Generate it again: Settings, in the history, brings back what it was made with.",
    ErrorCode.UNAUTHORIZED: "Enter the token that the backend was started with in the preferences.",
    ErrorCode.NOT_FOUND: "It may have been deleted: refresh the list.",
    ErrorCode.BUSY: "Cancel the job first, then delete it.",
    ErrorCode.TOO_LARGE: "Choose a smaller file.",
}


BODY_MODEL = "anny"
"""The body model in the box, and the one that the weights in the box know."""


def default_engine(body_model: str = BODY_MODEL) -> str:
    """The engine for those who name none: the one preferred in blind pairs, where it knows the body model."""
    return "rodin" if body_model == BODY_MODEL else "template"


@dataclasses.dataclass(frozen=True)
class AvatarRequest:
    """Everything an avatar depends on: same request, same bytes.

    `portraits` are file paths (one to five pictures of the same person); `prompt` is free text; at least one of the
    two is needed, or `anyone`: a person whom nobody describes. `edits` are words that change the person afterwards, in
    this order. `expression` is the one that the engine 'morphable' draws the person in, such as "smile" or
    "jawOpen=0.6"; empty for the portrait's own. `seed` feeds every random generator of the job.
    """

    portraits: tuple[str, ...] = ()
    prompt: str = ""
    engine: str = default_engine()
    seed: int = 0
    quality: str = "standard"
    mesh: str = "wrapped"
    device: str = "auto"
    body_model: str = BODY_MODEL
    edits: tuple[str, ...] = ()
    anyone: bool = False
    expression: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"portraits": list(self.portraits), "edits": list(self.edits)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AvatarRequest:
        """Build a request from decoded JSON. Raises `ValueError` with a sentence when a field is unknown or wrong."""
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - set(defaults)):
            raise ValueError(f"Unknown request fields: {', '.join(unknown)}.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        for name, value in values.items():
            texts = value if isinstance(value, tuple) else ()
            if type(value) is not type(defaults[name]) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"The request field {name!r} holds something of the wrong kind.")
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
        described = bool(self.portraits or self.prompt.strip())
        if self.anyone and described:
            raise ValueError("Anyone is a person whom nobody describes: give no portrait and no prompt.")
        if not self.anyone and not described:
            raise ValueError("Give a portrait, a prompt, or both.")
        if len(self.portraits) > 5:
            raise ValueError(f"Give at most five portraits of the same person, not {len(self.portraits)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError("The seed must be a whole number from 0 to 4294967295.")
        if len(self.edits) > MOST_EDITS:
            raise ValueError(f"A person can be edited at most {MOST_EDITS} times, not {len(self.edits)}.")
        if not all(words.strip() for words in self.edits):
            raise ValueError("An edit is empty: say what is to change.")
        named = (("prompt", self.prompt), ("body model", self.body_model), ("expression", self.expression))
        texts = (*named, *(("edit", words) for words in self.edits))
        for name, text in texts:
            if "\0" in text or not _is_text(text):
                raise ValueError(f"The {name} holds characters that are no text.")


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


@dataclasses.dataclass(frozen=True)
class RigRequest:
    """Bones, weights and keys for the head in the file `mesh`, taken over from the avatar of the finished job `like`.

    Over the wire `mesh` is the id of an upload, as `AvatarRequest.portraits` are.
    """

    mesh: str
    like: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RigRequest:
        """Build a request from decoded JSON. Raises `ValueError` with a sentence when a field is unknown or missing."""
        if set(data) != {"mesh", "like"}:
            raise ValueError("A rig request has exactly the fields 'mesh' and 'like'.")
        return cls(str(data["mesh"]), str(data["like"]))


class JobKind(enum.StrEnum):
    """What a job makes."""

    GENERATE = "generate"
    RIG = "rig"


class JobState(enum.StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclasses.dataclass(frozen=True)
class JobError:
    """A failure in words: `code` is a value of `ErrorCode`, or of a newer backend's; `message` is one sentence."""

    code: str
    message: str
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """All that is known of a job.

    `revision` grows with every change. `fraction` is that of the whole job, 0 to 1, and never falls. `seconds` is the
    time it has run. `queue_position` is 0 for the running job and counts from 1 for those that wait; null when it is
    over. `request` is the `AvatarRequest` or `RigRequest` as it was sent. `preview` names a file to ask for as soon
    as there is one. `files` and `folder` are those of a finished avatar.
    """

    id: str
    kind: JobKind
    state: JobState
    created: str
    request: dict[str, Any]
    revision: int = 0
    stage: str = ""
    fraction: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    queue_position: int | None = None
    preview: str | None = None
    error: JobError | None = None
    files: tuple[str, ...] = ()
    folder: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {
            "kind": self.kind.value,
            "state": self.state.value,
            "files": list(self.files),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JobStatus:
        """Build a status from decoded JSON; fields of a newer backend are left out. Raises `ValueError`, `KeyError`."""
        values = _known(cls, data)
        error = values.get("error")
        return cls(
            **values
            | {
                "kind": JobKind(values["kind"]),
                "state": JobState(values["state"]),
                "error": None if error is None else JobError(**_known(JobError, error)),
                "files": tuple(values.get("files", ())),
            }
        )


@dataclasses.dataclass(frozen=True)
class EngineInfo:
    """One of `ENGINES` on this backend; `reason` is a sentence when it is not available."""

    name: str
    available: bool
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Hello:
    """Who answers, and on what machine. `memory_mb` is all its main memory; `cores` are those a job may use."""

    protocol: int
    version: str
    pid: int
    device: str
    cores: int
    memory_mb: int
    engines: tuple[EngineInfo, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"engines": [dataclasses.asdict(engine) for engine in self.engines]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Hello:
        values = _known(cls, data)
        values["engines"] = tuple(EngineInfo(**_known(EngineInfo, engine)) for engine in values.get("engines", ()))
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a job will take on the backend's machine: wall seconds, and megabytes of main memory at its peak."""

    seconds: float
    memory_mb: int

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        return cls(**_known(cls, data))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, as JSON can carry
        return False
    return True


def _known(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """The fields of the dataclass `cls` in `data`: what a newer version added is left out."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in data.items() if name in names}
