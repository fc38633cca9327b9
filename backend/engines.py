"""Which engines this installation can run; light enough for the server to ask at every start."""

from __future__ import annotations

from backend.api import ENGINES, AvatarRequest, EngineInfo, ErrorCode
from backend.errors import MaquetteError
from backend.weights.bundle import find

_BUILT = ("template", "rodin")


def available() -> tuple[EngineInfo, ...]:
    """All of `ENGINES`, each with the reason when it cannot run here."""
    return tuple(
        EngineInfo(name, _runs(name), "" if _runs(name) else "It has no trained weights yet.") for name in ENGINES
    )


def require_engine(name: str) -> None:
    """Refuse an engine that cannot run here: `MaquetteError` with MODEL_MISSING."""
    if not _runs(name):
        sentence = f"The engine {name!r} has no trained weights yet: choose the engine 'template'."
        raise MaquetteError(ErrorCode.MODEL_MISSING, sentence, stage="request")


def require(request: AvatarRequest) -> None:
    """Refuse what no engine here can do: `MaquetteError` with MODEL_MISSING or BAD_REQUEST."""
    if request.edits and request.engine != "rodin":
        sentence = f"The engine {request.engine!r} does not edit people by words: make the avatar with 'rodin' first."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
    require_engine(request.engine)
    if request.engine != "rodin" and not request.portraits:
        sentence = f"The engine {request.engine!r} needs a portrait: give a picture of a face."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")


def _runs(name: str) -> bool:
    return name == "template" or (name in _BUILT and find(name) is not None)
