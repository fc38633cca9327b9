"""The one exception that Maquette raises on purpose.

Every failure that a user can cause or mend is a `MaquetteError`: a code from `backend.api.ErrorCode`, one sentence
that says what to do, and the stage it happened in. Callers at the border (command line, server) print the sentence
and never a stack trace.
"""

from __future__ import annotations

from backend.api import ErrorCode


class MaquetteError(Exception):
    """A failure with a code, one clear sentence and the stage it happened in.

    Args:
        code: machine-readable reason; also decides the exit status and the HTTP status.
        message: one sentence for the user, ending in a full stop, that says what to do.
        stage: pipeline stage, e.g. ``"portrait"``, ``"fit"``, ``"export"``.
        hint: an optional second sentence with more detail.
    """

    def __init__(self, code: ErrorCode, message: str, *, stage: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.stage = stage
        self.hint = hint
