"""Settings: credentials of git remotes, and their hosts' ssh keys."""

from itertools import groupby
from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import GarageError, invalid_from
from webapp.projects import credentials, host_keys
from webapp.projects.credential_schemas import NewCredential
from webapp.projects.rules import HOST_LONGEST

blueprint = Blueprint("credentials", __name__, url_prefix="/settings")

# What a form may hold again after an error: never the secret.
SHOWN = ("name", "kind", "host", "username", "project_id")
SECRETS = ("token", "private_key")
# How a key comes: the form knows one kind more than the service does.
MADE_HERE = "made"


@blueprint.get("/credentials")
@signed_in("viewer")
def page() -> tuple[str, int]:
    return _page(made=request.args.get("made", "")[:36])


@blueprint.post("/credentials")
@signed_in("operator")
def create() -> Response | tuple[str, int]:
    try:
        wish = _wish()
        credentials.check_project(me(), wish.project_id)
        made = credentials.create(me(), wish)
    except GarageError as error:
        return _page(error.status, errors=_by_field(error), form=_typed())
    return redirect(url_for("credentials.page", made=made.id))


@blueprint.post("/credentials/<id:credential_id>/delete")
@signed_in("operator")
def delete(credential_id: str) -> Response:
    losing = credentials.delete(me(), credential_id)
    without = f" {', '.join(losing[:5])} {'has' if len(losing) == 1 else 'have'} none now." if losing else ""
    flash(f"The credential is deleted.{without}")
    return redirect(url_for("credentials.page"))


@blueprint.post("/host-keys/forget")
@signed_in("admin")
def forget() -> Response:
    host = request.form.get("host", "")
    host_keys.forget(me(), host)
    flash(f"The key of {host} is forgotten. The next worker that speaks to it finds it anew.")
    return redirect(url_for("credentials.page", _anchor="host-keys"))


def _typed() -> dict[str, str]:
    return {name: request.form.get(name, "").strip()[:HOST_LONGEST] for name in SHOWN}


def _wish() -> NewCredential:
    """Raises Invalid."""
    typed = _typed()
    kind = typed["kind"]
    secrets = {"token": "token", "ssh": "private_key"}
    said: dict[str, Any] = {**typed, "kind": "ssh" if kind == MADE_HERE else kind}
    said["project_id"] = typed["project_id"] or None
    if field := secrets.get(kind):
        said[field] = request.form.get(field, "")
    try:
        return NewCredential.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from None


def _by_field(error: GarageError) -> dict[str, str]:
    """Each problem beside its field; what belongs to none of them under an empty name."""
    rows = error.extra.get("errors") or [{"field": "", "message": error.detail}]
    known = {*SHOWN, *SECRETS}
    return {row["field"] if row["field"] in known else "": str(row["message"]) for row in rows}


def _page(status: int = 200, made: str = "", **values: Any) -> tuple[str, int]:
    organisation_id = me().organisation_id
    found = credentials.listed(organisation_id)
    keys = groupby(host_keys.listed(organisation_id), key=lambda row: row.host)
    shown = {"errors": {}, "form": {"kind": "token"}, **values}
    return templating.page(
        "settings/credentials.html",
        "settings",
        "Credentials",
        status,
        credentials=found,
        using=credentials.projects_with(organisation_id, [row.id for row in found]),
        paths=credentials.project_paths(organisation_id),
        made=next((row for row in found if row.id == made), None),
        hosts=[(host, list(rows)) for host, rows in keys],
        **shown,
    )
