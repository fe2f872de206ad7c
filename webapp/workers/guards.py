"""Who may call an agent's route: a worker, by its key."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g, request

from webapp.auth import throttle
from webapp.auth.guards import address
from webapp.errors import Forbidden, NotSignedIn
from webapp.workers import identify, presence
from webapp.workers.caller import Caller, refuse_status

View = TypeVar("View", bound=Callable[..., Any])


def caller() -> Caller:
    """The worker of this request, after the guard has let it in."""
    found: Caller = g.worker
    return found


def worker_key(pending_too: bool = False) -> Callable[[View], View]:
    """An approved worker with its key; a path's `worker_id` must be its own."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            g.worker = _authenticate()
            if kwargs.get("worker_id", g.worker.worker_id) != g.worker.worker_id:
                raise Forbidden("This key belongs to another worker.")
            refuse_status(g.worker.status, pending_too)
            presence.seen(g.worker.worker_id, address())
            return view(*args, **kwargs)

        guarded.guard = "worker"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def _authenticate() -> Caller:
    text = request.headers.get("X-Worker-API-Key", "")
    found = identify.by_key(text)
    if found is None:
        if text:
            throttle.wrong_key(address())
        raise NotSignedIn("Send a worker key in X-Worker-API-Key.")
    return replace(found, address=address())
