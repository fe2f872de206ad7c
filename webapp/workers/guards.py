"""Who may call an agent's route: a worker, by its key."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from flask import g, request

from webapp.auth import throttle
from webapp.auth.guards import address, token_required
from webapp.auth.rules import Role
from webapp.errors import Forbidden
from webapp.workers import identify, keys, presence
from webapp.workers.caller import Caller, UnknownKey, refuse_status

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
            presence.used(g.worker.worker_id, g.worker.key_id, address())
            if g.worker.key_is_fresh:
                keys.take_over(g.worker)
                g.worker = identify.again(g.worker)
            return view(*args, **kwargs)

        guarded.guard = "worker"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def person_or_worker(role: Role) -> Callable[[View], View]:
    """A worker by its key (then `g.worker` is set), or else a person's program with at least this role."""

    def decorate(view: View) -> View:
        as_worker, as_person = worker_key()(view), token_required(role)(view)

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            is_worker = "X-Worker-API-Key" in request.headers
            return (as_worker if is_worker else as_person)(*args, **kwargs)

        guarded.guard = f"either:{role}"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def _authenticate() -> Caller:
    text = request.headers.get("X-Worker-API-Key", "")
    found = identify.by_key(text)
    if found is None:
        if text:
            throttle.wrong_key(address())
        raise UnknownKey
    return replace(found, address=address())
