"""Sign in and out."""

from urllib.parse import urlsplit

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from webapp.auth import sessions, throttle
from webapp.auth.guards import address, me, public, signed_in
from webapp.errors import NotSignedIn

blueprint = Blueprint("auth", __name__)

NAME_LONGEST = 64


@blueprint.get("/login")
@public
def sign_in() -> Response | str:
    if current_user.is_authenticated:
        return redirect(_next())
    return _form()


@blueprint.post("/login")
@public
def begin() -> Response | tuple[str, int]:
    name = request.form.get("name", "").strip()[:NAME_LONGEST]
    days = current_app.config["SETTINGS"].session_days
    with throttle.checking_passwords:
        throttle.refuse_login_flood(address(), name)
        try:
            secret = sessions.sign_in(name, request.form.get("password", ""), address(), days)
        except NotSignedIn as error:
            left = throttle.count_failed_login(address(), name)
            return _form(name, error.detail, left), 401
    session.clear()  # nothing that was here before the sign-in is worth anything after it
    session["sid"] = secret
    session.permanent = True
    return redirect(_next())


@blueprint.post("/logout")
@signed_in("viewer")
def sign_out() -> Response:
    sessions.sign_out(me())
    session.clear()
    return redirect(url_for("auth.sign_in"))


def _form(name: str = "", problem: str = "", left: int = 0) -> str:
    host = urlsplit(request.host_url).hostname
    return render_template(
        "auth/sign_in.html", host=host, name=name, problem=problem, left=left, next=_next()
    )


def _next() -> str:
    """Where to go afterwards: a path of ours. Browsers read `//host` and `/\\host` as another site."""
    wanted = request.values.get("next", "")
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_ours and not wanted.startswith("/login") else url_for("tasks.dashboard")
