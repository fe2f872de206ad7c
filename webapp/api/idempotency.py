"""`Idempotency-Key`: a request that is sent again because its answer got lost is done once, and answered as the first time.

The first answer is stored in one transaction with what the request made: a crash leaves both or neither, and of two that
come at once the second waits for the first. Only an answer that made something is kept. After any error nothing was
made, so the same key may come again, corrected.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Response, current_app, jsonify, request
from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from webapp import clock
from webapp.api.body import read_bytes
from webapp.api.models import RepeatedRequest
from webapp.auth.guards import me
from webapp.database import run, table_of, transaction
from webapp.errors import Invalid
from webapp.extensions import db

View = TypeVar("View", bound=Callable[..., Any])
HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT = timedelta(hours=24)
BATCH = 500
_KEY = re.compile(r"[\x20-\x7e]{1,255}")

_requests = table_of(RepeatedRequest)
_MINE = (_requests.c.credential == bindparam("whose"), _requests.c.key == bindparam("which"))
_FORGET = delete(_requests).where(*_MINE, _requests.c.created_at < bindparam("kept_since"))
_TAKE = insert(_requests)
_FIND = select(_requests.c.request_digest, _requests.c.status, _requests.c.body).where(*_MINE)
_ANSWER = update(_requests).where(*_MINE)


class KeyReused(Invalid):
    """This Idempotency-Key was used for another request."""

    slug = "idempotency-key-reused"


def repeatable(view: View) -> View:
    """For a view that creates: with an `Idempotency-Key` it creates once. Under the guard, because keys are a person's."""

    @wraps(view)
    def once(*args: Any, **kwargs: Any) -> Any:
        key = _key()
        if key is None:
            return view(*args, **kwargs)
        digest = _digest()  # reads the body: nobody waits for the network inside a transaction
        return _once(key, digest, lambda: current_app.make_response(view(*args, **kwargs)))

    once.repeats = "once"  # type: ignore[attr-defined]
    return cast(View, once)


def answers_a_secret(view: View) -> View:
    """For a view whose answer is shown only once: it can't be kept, so a key would promise what doesn't hold."""

    @wraps(view)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if HEADER in request.headers:
            raise Invalid(
                f"This answer carries a secret, which is never kept. Send the request without {HEADER}.",
                HEADER,
            )
        return view(*args, **kwargs)

    refusing.repeats = "never"  # type: ignore[attr-defined]
    return cast(View, refusing)


def _key() -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid(
            "must be 1 to 255 printable ASCII characters: a new UUID for each thing to make", HEADER
        )
    return key


def _digest() -> str:
    """Of method, path and body. With the server's key, because a body may hold secrets that could be guessed."""
    secret = str(current_app.secret_key).encode()
    said = b"\0".join((request.method.encode(), request.full_path.encode(), read_bytes()))
    return hmac.new(secret, said, hashlib.sha256).hexdigest()


def _once(key: str, digest: str, act: Callable[[], Response]) -> Response:
    mine = {"whose": me().credential, "which": key}
    with transaction():
        run(_FORGET, **mine, kept_since=clock.now() - KEPT)
        if not _take(mine, digest):
            return _replayed(run(_FIND, **mine).one(), digest)
        answer = act()
        run(_ANSWER.values(status=answer.status_code, body=answer.get_json()), **mine)
    return answer


def _take(mine: dict[str, str], digest: str) -> bool:
    """Whether this is the first. On PostgreSQL it waits here for one that is at work, and goes on if that one fails."""
    row = {"credential": mine["whose"], "key": mine["which"], "request_digest": digest}
    try:
        with db.session.begin_nested():
            run(_TAKE, **row, created_at=clock.now())
    except IntegrityError:
        return False
    return True


def _replayed(first: Row[Any], digest: str) -> Response:
    if first.request_digest != digest:
        raise KeyReused(
            f"This {HEADER} belongs to another request of the last 24 hours. Take a new key for each thing to make, "
            "and the same one only to send the same request again."
        )
    answer = jsonify(first.body)
    answer.status_code = first.status
    answer.headers[REPLAYED] = "true"
    return answer


def forget_old() -> bool:
    """Housekeeping: a batch of what is older. Returns whether there may be more."""
    is_old = _requests.c.created_at < clock.now() - KEPT
    oldest = select(_requests.c.created_at).where(is_old).order_by(_requests.c.created_at).limit(BATCH)
    with transaction():
        until = max(run(oldest).scalars(), default=None)
        gone = run(delete(_requests).where(_requests.c.created_at <= until)) if until else None
    return gone is not None and gone.rowcount >= BATCH
