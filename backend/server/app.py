"""The routes under /v1: what a client may ask of the queue. FastAPI describes them at /openapi.json."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass as checked
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from backend import engines
from backend.api import (
    PROTOCOL_VERSION,
    AvatarRequest,
    ErrorCode,
    Estimate,
    Hello,
    JobError,
    JobState,
    JobStatus,
    RigRequest,
)
from backend.errors import MaquetteError
from backend.server import life
from backend.server.border import STATUS, UPLOAD_LIMIT, error_body
from backend.server.store import UploadTooLargeError

if TYPE_CHECKING:
    from backend.server.jobs import Jobs
    from backend.server.store import Store

LONGEST_WAIT = 25.0  # seconds
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# The boundary file's own classes, with what comes from outside checked against their types.
_strict = checked(frozen=True, config=ConfigDict(extra="forbid"))
_Generate, _Rig = _strict(AvatarRequest), _strict(RigRequest)


class Order(BaseModel):
    """Exactly one of the two."""

    model_config = ConfigDict(extra="forbid")
    generate: _Generate | None = None  # pyright: ignore[reportInvalidTypeForm]
    rig: _Rig | None = None  # pyright: ignore[reportInvalidTypeForm]


class Upload(BaseModel):
    """The name under which a request means the file."""

    upload: str


class Refusal(BaseModel):
    """What every answer that is no success says."""

    error: JobError


# Query parameters come as text; these types are what FastAPI checks and describes.
_Engine = Literal["template", "rodin", "morphable"]
_Quality = Literal["draft", "standard", "high"]
_Mesh = Literal["wrapped", "levelset"]
_Seconds = Annotated[float, Query(ge=0, allow_inf_nan=False)]


def build(jobs: Jobs, store: Store, version: str) -> FastAPI:
    """The application without its `border.Border`."""
    app = FastAPI(
        title="Maquette",
        version=version,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        responses={status: {"model": Refusal} for status in (400, 401, 403, 404, 409, 413, 422, 507)},
    )
    _explain_refusals(app)

    @app.get("/v1/hello")
    async def hello() -> Hello:
        return greeting(version)

    @app.get("/v1/estimate")
    async def estimate(engine: _Engine = "rodin", quality: _Quality = "standard", mesh: _Mesh = "wrapped") -> Estimate:
        engines.require_engine(engine)
        return jobs.estimate(AvatarRequest(engine=engine, quality=quality, mesh=mesh))

    @app.post("/v1/uploads", openapi_extra=_RAW_BODY)
    async def upload(request: Request, name: Annotated[str, Query(max_length=1000)] = "") -> Upload:
        return Upload(upload=await store.take_upload(name, request.stream(), UPLOAD_LIMIT))

    @app.post("/v1/jobs", status_code=202)
    async def submit(order: Order) -> JobStatus:
        asked: list[AvatarRequest | RigRequest] = [part for part in (order.generate, order.rig) if part is not None]
        if len(asked) != 1:
            raise _bad("Ask for exactly one of 'generate' and 'rig'.")
        request = asked[0]
        if isinstance(request, RigRequest):
            return jobs.submit(request)
        try:
            request.validate()
        except ValueError as problem:
            raise _bad(str(problem)) from None
        engines.require(request)
        return jobs.submit(request)

    @app.get("/v1/jobs")
    async def all_jobs() -> list[JobStatus]:
        return jobs.list()

    @app.get("/v1/jobs/{job}")
    async def status(job: str, after: int = 0, wait: _Seconds = 0.0) -> JobStatus:
        return await jobs.wait(job, after, min(wait, LONGEST_WAIT))

    @app.post("/v1/jobs/{job}/cancel")
    async def cancel(job: str) -> JobStatus:
        return jobs.cancel(job)

    @app.delete("/v1/jobs/{job}", status_code=204)
    async def delete(job: str) -> None:
        jobs.delete(job)

    @app.get("/v1/jobs/{job}/files/{name}", response_class=FileResponse)
    async def file(job: str, name: str) -> FileResponse:
        gone = jobs.get(job).state is JobState.DONE and not store.is_whole(job)
        path = store.file(job, name)
        if path is None:
            sentence = "The avatar's files are gone: generate it again." if gone else "The job has no such file."
            raise MaquetteError(ErrorCode.NOT_FOUND, sentence, stage="server")
        return FileResponse(path)

    return app


_RAW_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def greeting(version: str) -> Hello:
    """Who answers, and on what machine."""
    cores, memory = life.job_cores(), life.memory_mb()
    return Hello(PROTOCOL_VERSION, version, os.getpid(), "cpu", cores, memory, engines.available())


def _bad(sentence: str) -> MaquetteError:
    return MaquetteError(ErrorCode.BAD_REQUEST, sentence, stage="request")


def _explain_refusals(app: FastAPI) -> None:
    """Every failure becomes `{"error": {"code", "message", "hint"}}`."""

    @app.exception_handler(MaquetteError)
    async def ours(_: Request, problem: MaquetteError) -> Response:
        return _answer(STATUS.get(problem.code, 422), problem.code, problem.message, problem.hint)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return _answer(422, ErrorCode.BAD_REQUEST, f"{place}: {first['msg']}.")

    @app.exception_handler(UploadTooLargeError)
    async def too_large(_: Request, problem: UploadTooLargeError) -> Response:
        return _answer(413, ErrorCode.TOO_LARGE, "The file is larger than 64 MB.")

    @app.exception_handler(HTTPException)
    async def http(_: Request, problem: HTTPException) -> Response:
        code = {404: ErrorCode.NOT_FOUND, 413: ErrorCode.TOO_LARGE}.get(problem.status_code, ErrorCode.BAD_REQUEST)
        return _answer(problem.status_code, code, f"{problem.detail}.", headers=problem.headers)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, problem: ClientDisconnect) -> Response:
        return _answer(400, ErrorCode.BAD_REQUEST, "The request broke off.")

    @app.exception_handler(OSError)
    async def system(_: Request, problem: OSError) -> Response:
        if problem.errno in _FULL:
            return _answer(507, ErrorCode.DISK_FULL, "The disk is full: free some space.")
        if problem.errno in _FORBIDDEN:
            return _answer(507, ErrorCode.OUTPUT_NOT_WRITABLE, "The data folder cannot be written to.")
        raise problem

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, problem: Exception) -> Response:
        return _answer(500, ErrorCode.INTERNAL, f"Something went wrong in the backend ({type(problem).__name__}).")


def _answer(status: int, code: ErrorCode, message: str, hint: str = "", headers: object = None) -> Response:
    more = dict(headers) if isinstance(headers, dict) else None
    return Response(error_body(code, message, hint), status, headers=more, media_type="application/json")
