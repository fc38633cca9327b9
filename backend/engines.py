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


def require(request: AvatarRequest) -> None:
    """Refuse what no engine here can do: `MaquetteError` with MODEL_MISSING or BAD_REQUEST."""
    if request.engine != "template":
        raise MaquetteError(
            ErrorCode.MODEL_MISSING,
            f"The engine {request.engine!r} has no trained weights yet: choose --engine template.",
            stage="request",
        )
    if not request.portraits:
        raise MaquetteError(
            ErrorCode.BAD_REQUEST,
            "The template engine needs a portrait: give a picture of a face.",
            stage="request",
        )
