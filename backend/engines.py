"""Which engines this installation can run; light enough for the server to ask at every start."""

from __future__ import annotations

from backend.api import ENGINES, AvatarRequest, EngineInfo, ErrorCode
from backend.errors import MaquetteError


def available() -> tuple[EngineInfo, ...]:
    """All of `ENGINES`, each with the reason when it cannot run here."""
    return tuple(
        EngineInfo(name, name == "template", "" if name == "template" else "It has no trained weights yet.")
        for name in ENGINES
    )


def require_engine(name: str) -> None:
    """Refuse an engine that cannot run here: `MaquetteError` with MODEL_MISSING."""
    if name != "template":
        sentence = f"The engine {name!r} has no trained weights yet: choose the engine 'template'."
        raise MaquetteError(ErrorCode.MODEL_MISSING, sentence, stage="request")


def require(request: AvatarRequest) -> None:
    """Refuse what no engine here can do: `MaquetteError` with MODEL_MISSING or BAD_REQUEST."""
    require_engine(request.engine)
    if not request.portraits:
        sentence = "The template engine needs a portrait: give a picture of a face."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
