"""Errors as problem details (RFC 9457), and the mapping from exceptions to them."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bkt_core.errors import BadInputError, BktError, InvalidInputError
from datasets.store.errors import (
    DatabaseError,
    ErasedUserError,
    IdempotencyConflictError,
    LockedError,
)
from serving.launcher import LaunchRefusedError, TooManyLaunchesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

log = logging.getLogger("serving")

MEDIA_TYPE = "application/problem+json"
#: Most validation errors in a response; a client may have sent thousands.
MAX_ERRORS = 20
#: Seconds after which a client may retry when the database was unavailable.
RETRY_AFTER_SECONDS = 2

#: Exception class -> HTTP status; the first matching class counts.
_STATUS: tuple[tuple[type[BktError], int], ...] = (
    (ErasedUserError, 410),
    (IdempotencyConflictError, 409),
    (LockedError, 409),
    (TooManyLaunchesError, 429),
    (LaunchRefusedError, 502),
    (DatabaseError, 503),
    (BadInputError, 422),
    (InvalidInputError, 422),
)


class FieldError(BaseModel):
    """One error in a request."""

    where: str
    message: str


class Problem(BaseModel):
    """A problem detail (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None


class RefusedError(HTTPException):
    """An error raised by the service itself, with a name for programs."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.kind = kind


class UnknownIdError(BktError):
    """An id was never seen, and the settings refuse such ids."""

    def __init__(self, *, what: str, came: str) -> None:
        super().__init__(
            f"The {what} {came!r} is not known, and this service does not create one; "
            f"see serving.unknown_{what}s in the settings."
        )


def problem(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldError] | None = None,
) -> Response:
    """Return a problem as a response; `kind` names it for programs."""
    title = HTTPStatus(status).phrase
    body = Problem(
        type=f"urn:bkt:problem:{kind or title.lower().replace(' ', '-')}",
        title=title,
        status=status,
        detail=detail,
        instance=uuid4().urn,
        errors=errors,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status,
        dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def register(app: FastAPI) -> None:
    """Register handlers that turn every exception of the application into a problem."""
    app.add_exception_handler(HTTPException, _from_http)
    app.add_exception_handler(RequestValidationError, _from_validation)
    app.add_exception_handler(UnknownIdError, _from_unknown_id)
    app.add_exception_handler(BktError, _from_refusal)
    app.add_exception_handler(Exception, _from_defect)


async def _from_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's handlers are typed wider
    if error.status_code == HTTPStatus.BAD_REQUEST:  # raised by FastAPI for undecodable bytes
        return _not_json("it cannot be read")
    kind = error.kind if isinstance(error, RefusedError) else None
    return problem(error.status_code, str(error.detail), kind=kind, headers=error.headers)


async def _from_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    found = error.errors()
    if any(_is_long_batch(one) for one in found):
        return problem(
            413,
            "The batch has more attempts than this service takes at once; send several.",
            kind="batch-too-large",
        )
    if isinstance(error.body, bytes) and error.body:
        return problem(
            415,
            "The body must be JSON and say so: Content-Type: application/json.",
            kind="not-called-json",
        )
    if found[0]["type"] == "json_invalid":
        return _not_json(f"{found[0]['ctx']['error']}, at character {found[0]['loc'][1]}")
    errors = [_field_error(one) for one in found[:MAX_ERRORS]]
    return problem(
        422,
        f"The request has {len(found)} error(s): {errors[0].where} {errors[0].message}.",
        kind="bad-request-content",
        errors=errors,
    )


def _not_json(why: str) -> Response:
    return problem(400, f"The body must be JSON: {printable(why)}.", kind="not-json")


def _is_long_batch(found: Mapping[str, Any]) -> bool:
    return found["type"] == "too_long" and tuple(found["loc"]) == ("body", "attempts")


def _field_error(found: Mapping[str, Any]) -> FieldError:
    message = str(found["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in found["loc"])
    return FieldError(where=printable(where), message=printable(message))


async def _from_unknown_id(_request: Request, error: Exception) -> Response:
    return problem(404, printable(str(error)), kind="unknown-id")


async def _from_refusal(_request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    name = type(error).__name__.removesuffix("Error")
    kind = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
    return problem(status, printable(str(error)), kind=kind, headers=headers)


async def _from_defect(_request: Request, _error: Exception) -> Response:
    answer = problem(500, "The service failed; its log has the details under this instance.")
    log.error("unexpected failure %s", bytes(answer.body).decode())
    return answer


def printable(text: str) -> str:
    """Return the text without characters that UTF-8 cannot encode, such as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
