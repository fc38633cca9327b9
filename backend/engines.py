"""Which engines this installation can run; light enough for the server to ask at every start."""

from __future__ import annotations

from backend.api import ENGINES, AvatarRequest, EngineInfo, ErrorCode
from backend.errors import MaquetteError
from backend.weights.bundle import find, missing


def available() -> tuple[EngineInfo, ...]:
    """All of `ENGINES`, each with the reason when it cannot run here."""
    return tuple(EngineInfo(name, _runs(name), "" if _runs(name) else missing(name)) for name in ENGINES)


def require_engine(name: str) -> None:
    """Refuse an engine that cannot run here: `MaquetteError` with MODEL_MISSING."""
    if not _runs(name):
        raise MaquetteError(ErrorCode.MODEL_MISSING, missing(name), stage="request")


def require(request: AvatarRequest) -> None:
    """Refuse what no engine here can do: `MaquetteError` with MODEL_MISSING or BAD_REQUEST."""
    if request.edits and request.engine != "rodin":
        sentence = f"The engine {request.engine!r} does not edit people by words: make the avatar with 'rodin' first."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
    if request.expression:
        _require_expression(request)
    require_engine(request.engine)
    if request.engine != "rodin" and not request.portraits:
        sentence = f"The engine {request.engine!r} needs a portrait: give a picture of a face."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")


def _require_expression(request: AvatarRequest) -> None:
    from backend.body_model.expression_words import parse_expression

    if request.engine != "morphable":
        sentence = f"The engine {request.engine!r} draws nobody in another expression: leave the expression out."
        raise MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")
    try:
        parse_expression(request.expression)
    except ValueError as problem:
        raise MaquetteError(ErrorCode.BAD_REQUEST, str(problem), stage="request") from None


def _runs(name: str) -> bool:
    return name == "template" or find(name) is not None
