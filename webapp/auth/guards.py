"""Who may call a route. Every route carries exactly one of these marks; a test walks the URL map for it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Response, g, redirect, request, session, url_for
from flask_login import UserMixin, current_user

from webapp.auth import sessions, throttle, tokens
from webapp.auth.actor import Actor
from webapp.auth.rules import Role
from webapp.errors import Forbidden, NotSignedIn
from webapp.extensions import login

View = TypeVar("View", bound=Callable[..., Any])


class SignedIn(UserMixin):
    """What Flask-Login hands around: the actor behind the cookie."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def get_id(self) -> str:
        return str(self.actor.id)


@login.request_loader
def load_from_cookie(_: Any) -> SignedIn | None:
    secret = session.get("sid")
    actor = sessions.actor_of(secret, address()) if isinstance(secret, str) else None
    return SignedIn(actor) if actor else None


def address() -> str:
    return request.remote_addr or ""


def me() -> Actor:
    """The actor of this request, after a guard has let it in."""
    actor: Actor = g.actor
    return actor


def public(view: View) -> View:
    """Nobody in particular may call this, but no address too often."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        throttle.count_stranger(address())
        return view(*args, **kwargs)

    return uncounted(cast(View, guarded))


def uncounted(view: View) -> View:
    """The same for a route that always has to answer, or that counts by itself."""
    view.guard = "public"  # type: ignore[attr-defined]
    return view


def count_once(actor: Actor) -> None:
    """Count this request of theirs, unless it is already: a socket's must be refused before its upgrade."""
    if "is_counted" not in g:
        g.is_counted = True
        throttle.count_request(actor.credential)


def signed_in(role: Role) -> Callable[[View], View]:
    """People with at least this role, by session cookie. Others are sent to sign in."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not current_user.is_authenticated:
                return _to_login()
            g.actor = current_user.actor
            count_once(g.actor)
            if not g.actor.may(role):
                raise Forbidden(f"This needs the role {role}; yours is {g.actor.role}. Ask an admin.")
            return view(*args, **kwargs)

        guarded.guard = f"user:{role}"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def token_required(role: Role) -> Callable[[View], View]:
    """Programs with a person's API token, `Authorization: Bearer gst_…`. Cookies mean nothing here."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            g.actor = _token_actor()
            count_once(g.actor)
            if not g.actor.may(role):
                raise Forbidden(f"This needs the role {role}; this token's is {g.actor.role}.")
            return view(*args, **kwargs)

        guarded.guard = f"token:{role}"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def _token_actor() -> Actor:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    actor = tokens.actor_of(text.strip(), address()) if scheme.lower() == "bearer" else None
    if actor is None:
        if text:
            throttle.wrong_key(address())
        throttle.count_stranger(address())
        raise NotSignedIn("Send an API token: Authorization: Bearer gst_…")
    return actor


def _to_login() -> Response | tuple[str, int]:
    """A page goes to the sign-in and back; a fragment that a script asked for gets a plain 401."""
    throttle.count_stranger(address())
    if request.method != "GET" or request.headers.get("HX-Request"):
        raise NotSignedIn("Your session has ended. Sign in again.")
    return cast(Response, redirect(url_for("auth.sign_in", next=request.full_path.rstrip("?"))))
