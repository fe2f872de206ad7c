"""One tree of errors with status codes, translated once: to problem+json for programs, to a page for people."""

import logging
import secrets
from typing import Any

from flask import Flask, Response, current_app, render_template, request
from flask_wtf.csrf import CSRFError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import ObjectDeletedError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod
from werkzeug.routing import WebsocketMismatch
from werkzeug.sansio.response import Response as BaseResponse

log = logging.getLogger(__name__)


class GarageError(Exception):
    """Something that the caller should know. The first line of the docstring is the default message.

    `detail` says what to do next. `extra` becomes members of the problem document.
    """

    status = 500
    slug = "error"
    retry_after_s: int | None = None

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.extra = extra
        self.headers: dict[str, str] = {}
        super().__init__(self.detail)


class Broken(GarageError):
    """Something broke here."""

    slug = "broken"


class BadRequest(GarageError):
    """That makes no sense now."""

    status, slug = 400, "bad-request"


class NotSignedIn(GarageError):
    """No valid credential. Send one of the kind that this route takes."""

    status, slug = 401, "unauthorized"


class Forbidden(GarageError):
    """Your role doesn't allow this."""

    status, slug = 403, "forbidden"


class NotFound(GarageError):
    """There is nothing here, or it isn't yours."""

    status, slug = 404, "not-found"


class Conflict(GarageError):
    """That conflicts with what is stored."""

    status, slug = 409, "conflict"


class LeaseLost(Conflict):
    """This attempt isn't yours any more: stop its process."""

    slug = "lease-lost"


class LogIncomplete(GarageError):
    """The log is not all here. Send the rest from next_offset, then report again."""

    status, slug = 412, "log-incomplete"


class MethodNotAllowed(GarageError):
    """This can't be done here in this way."""

    status, slug = 405, "method-not-allowed"


class TooLarge(GarageError):
    """The body is larger than this route takes."""

    status, slug = 413, "too-large"


class WrongType(GarageError):
    """The body isn't of a type that this route takes."""

    status, slug = 415, "wrong-type"


class LogGap(GarageError):
    """Bytes before this offset are missing. Continue from next_offset."""

    status, slug = 416, "log-gap"


class Invalid(GarageError):
    """The body doesn't validate."""

    status, slug = 422, "invalid"

    def __init__(self, detail: str | None = None, field: str | None = None, **extra: Any) -> None:
        if field is not None:
            extra["errors"] = [{"field": field, "message": detail}]
        super().__init__(detail, **extra)


class TooMany(GarageError):
    """Too many requests. Wait and try again."""

    status, slug, retry_after_s = 429, "too-many", 60


class UpgradeRequired(GarageError):
    """Only a WebSocket is spoken here: send Upgrade: websocket. If you did, a proxy in between took it away."""

    status, slug = 426, "upgrade-required"

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.headers["Upgrade"] = "websocket"


class Unavailable(GarageError):
    """The server can't take this now. Try again."""

    status, slug, retry_after_s = 503, "unavailable", 2


class DatabaseBusy(Unavailable):
    """The database was locked for 5 seconds. Nothing was stored: try again."""

    slug = "database-busy"


def invalid_from(error: ValidationError) -> Invalid:
    """A pydantic error as ours: each field by its path, with what is wrong."""
    rows = [
        {
            "field": ".".join(str(part) for part in row["loc"]) or "body",
            "message": row["msg"].removeprefix("Value error, "),
        }
        for row in error.errors(include_url=False, include_input=False, include_context=False)[:20]
    ]
    first = rows[0]
    return Invalid(f"{first['field']}: {first['message']}", errors=rows)


def register(app: Flask) -> None:
    """All error handlers of the app."""
    app.register_error_handler(GarageError, _respond)
    app.register_error_handler(ValidationError, lambda error: _respond(invalid_from(error)))
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(DBAPIError, _from_database)
    # Loaded, and removed by somebody else before it was used.
    app.register_error_handler(ObjectDeletedError, lambda _: _respond(NotFound()))
    app.register_error_handler(
        PoolTimeout, lambda error: _respond(Unavailable("All database connections are in use. Try again."))
    )
    app.register_error_handler(Exception, _unexpected)


def _from_http(error: HTTPException) -> BaseResponse:
    code = error.code or 500
    if isinstance(error, CSRFError):
        return _respond(
            BadRequest("The page was too old, or cookies are off. Load it again and repeat what you did.")
        )
    if code < 400:  # a redirect raised as an exception (trailing slash) is an answer, not an error
        return current_app.make_response(error.get_response())
    if isinstance(error, NoSuchMethod):
        return _respond(_wrong_method(error))
    if isinstance(error, WebsocketMismatch) and "Upgrade" not in request.headers:
        return _respond(UpgradeRequired())
    if code == 404 and is_for_programs(request.path):
        return _respond(
            NotFound("There is nothing at this path. GET /api/v1/openapi.json says what there is.")
        )
    known = {400: BadRequest, 404: NotFound, 413: TooLarge, 429: TooMany}.get(code)
    ours = known() if known else GarageError(error.description)
    if known is None:
        ours.status, ours.slug = code, (error.name or "error").lower().replace(" ", "-")
    return _respond(ours)


def _wrong_method(error: NoSuchMethod) -> MethodNotAllowed:
    allowed = ", ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
    ours = MethodNotAllowed(f"{request.method[:20]} can't be done here. Use {allowed or 'another path'}.")
    ours.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return ours


def _from_database(error: DBAPIError) -> Response:
    """A lost or restarted database is a 503 that the caller repeats; anything else is our bug."""
    if not isinstance(error, OperationalError) and not error.connection_invalidated:
        return _unexpected(error)
    log.warning("database unavailable", extra={"error": str(error.orig)})
    return _respond(Unavailable("The database doesn't answer. Nothing was stored: try again."))


def _unexpected(error: Exception) -> Response:
    """A bug of ours: the caller gets an id, the log gets the trace with the same id."""
    error_id = _new_id()
    log.error("unexpected error", exc_info=error, extra={"error_id": error_id, "path": request.path})
    if current_app.testing and current_app.config.get("RAISE_UNEXPECTED"):
        raise error
    return _respond(
        Broken(f"Something broke here. Look for {error_id} in the server's log.", error_id=error_id)
    )


def _new_id() -> str:
    return secrets.token_hex(6)


def is_for_programs(path: str) -> bool:
    """Whether who asks for it wants JSON. `/api/docs` is a page about the API, not a part of it."""
    return path.startswith(("/api/", "/health/", "/ws/worker/")) and path != "/api/docs"


def _note(error: GarageError) -> None:
    """One line in the log for the id in the answer: who asks about it later needs to say no more. No query and no
    detail, because these hold what people typed."""
    error.extra["error_id"] = error_id = _new_id()
    said = {"error_id": error_id, "status": error.status, "error": error.slug}
    said |= {"method": request.method, "path": request.path, "address": request.remote_addr}
    log.log(logging.WARNING if error.status >= 500 else logging.INFO, "request refused", extra=said)


def _respond(error: GarageError) -> Response:
    if "error_id" not in error.extra:
        _note(error)
    if is_for_programs(request.path):
        response = _problem(error)
    else:
        response = current_app.make_response((render_template("error.html", error=error), error.status))
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    response.headers.extend(error.headers)
    return response


def _problem(error: GarageError) -> Response:
    """RFC 9457."""
    body = {
        "type": f"urn:garageswarm:error:{error.slug}",
        "title": (type(error).__doc__ or error.slug).strip().splitlines()[0],
        "status": error.status,
        "detail": error.detail,
        **error.extra,
    }
    response: Response = current_app.json.response(body)  # type: ignore[assignment]
    response.status_code = error.status
    response.content_type = "application/problem+json"
    return response
