"""Settings: one's own password and API tokens; for admins members and the audit log. Join tokens are with the workers."""

import secrets
from typing import cast

from flask import Blueprint, current_app, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth import audit, service, throttle, tokens
from webapp.auth.guards import address, me, signed_in
from webapp.auth.rules import Role
from webapp.errors import Conflict, Invalid

blueprint = Blueprint("settings", __name__, url_prefix="/settings")

AUDIT_PAGE = 50
TOKEN_DAYS = {"30": 30, "90": 90, "365": 365, "": None}


def _page(template: str, title: str, status: int = 200, **values: object) -> tuple[str, int]:
    return templating.page(f"settings/{template}", "settings", title, status, **values)


# ---- one's own account


@blueprint.get("")
@signed_in("viewer")
def account() -> tuple[str, int]:
    return _page("account.html", "Account", errors={})


@blueprint.post("/password")
@signed_in("viewer")
def change_password() -> Response | tuple[str, int]:
    try:
        with throttle.checking_passwords:
            throttle.refuse_login_flood(address(), me().name)
            service.change_own_password(me(), request.form.get("current", ""), request.form.get("new", ""))
    except Invalid as error:
        throttle.count_failed_login(address(), me().name)
        return _page("account.html", "Account", 422, errors=_by_field(error))
    flash("The password is changed. Your other sessions have ended.")
    return redirect(url_for("settings.account"))


# ---- API tokens


@blueprint.get("/tokens")
@signed_in("viewer")
def api_tokens() -> tuple[str, int]:
    return _tokens()


@blueprint.post("/tokens")
@signed_in("viewer")
def create_token() -> tuple[str, int]:
    try:
        made = tokens.create(
            me(), request.form.get("name", ""), TOKEN_DAYS.get(request.form.get("days", "90"), 90)
        )
    except Invalid as error:
        return _tokens(422, errors=_by_field(error))
    return _tokens(made=made)


@blueprint.post("/tokens/<key_id>/revoke")
@signed_in("viewer")
def revoke_token(key_id: str) -> Response:
    tokens.revoke(me(), key_id)
    flash("The token is revoked. Programs that use it get 401 from now on.")
    return redirect(url_for("settings.api_tokens"))


def _tokens(status: int = 200, made: str = "", errors: dict[str, str] | None = None) -> tuple[str, int]:
    found = tokens.listed(me())
    return _page("tokens.html", "API tokens", status, tokens=found, made=made, errors=errors or {})


# ---- members


@blueprint.get("/members")
@signed_in("admin")
def members() -> tuple[str, int]:
    return _members()


@blueprint.post("/members")
@signed_in("admin")
def add_member() -> tuple[str, int]:
    """The first password is made here and shown once: nobody has to think of one, and nobody mails it."""
    name, role = request.form.get("name", "").strip(), cast(Role, request.form.get("role", ""))
    password = secrets.token_urlsafe(15)
    try:
        service.add_member(me(), name, password, role)
    except (Invalid, Conflict) as error:
        problems = _by_field(error) or {"name": error.detail}
        return _members(error.status, name=name, role=role, errors=problems)
    return _members(made=password, made_for=name)


@blueprint.post("/members/<id:member_id>/role")
@signed_in("admin")
def change_role(member_id: str) -> Response:
    service.change_role(me(), member_id, cast(Role, request.form.get("role", "")))
    flash("The role is changed. It counts from the next click.")
    return redirect(url_for("settings.members"))


@blueprint.post("/members/<id:member_id>/remove")
@signed_in("admin")
def remove_member(member_id: str) -> Response:
    service.remove_member(me(), member_id)
    flash("Removed: sessions and API tokens here have ended.")
    return redirect(url_for("settings.members"))


def _members(status: int = 200, **values: object) -> tuple[str, int]:
    shown = {"made": "", "made_for": "", "name": "", "role": "operator", "errors": {}, **values}
    return _page("members.html", "Members", status, members=service.members(me().organisation_id), **shown)


# ---- audit


@blueprint.get("/audit")
@signed_in("admin")
def audit_log() -> tuple[str, int]:
    found = audit.entries(me().organisation_id, request.args.get("after"), AUDIT_PAGE + 1)
    older = found[AUDIT_PAGE - 1].id if len(found) > AUDIT_PAGE else None
    return _page(
        "audit.html", "Audit", entries=found[:AUDIT_PAGE], older=older, after=request.args.get("after")
    )


# ---- retention


@blueprint.get("/retention")
@signed_in("viewer")
def retention() -> tuple[str, int]:
    return _page("retention.html", "Retention", settings=current_app.config["SETTINGS"])


def _by_field(error: Invalid | Conflict) -> dict[str, str]:
    return {row["field"]: row["message"] for row in error.extra.get("errors", [])}
