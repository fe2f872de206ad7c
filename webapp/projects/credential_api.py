"""Credentials of git remotes, and their hosts' ssh keys, for programs."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from flask import Response, jsonify

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_query
from webapp.api.documented import documented
from webapp.api.idempotency import repeatable
from webapp.api.paging import ByIdQuery, cut
from webapp.auth.guards import me, token_required
from webapp.errors import Conflict, NotFound
from webapp.projects import credentials, host_keys
from webapp.projects.credential_schemas import (
    CredentialAnswer,
    CredentialGone,
    CredentialList,
    ForgottenHost,
    HostKeyAnswer,
    HostKeyList,
    HostKeyQuery,
    NewCredential,
    place_of,
)

if TYPE_CHECKING:
    from webapp.projects.models import Credential, HostKey, Project

blueprint = api_blueprint("credentials_api", __name__)


@blueprint.get("/credentials")
@token_required("viewer")
@documented("List credentials", query=ByIdQuery, answer=CredentialList, group="Projects")
def list_credentials() -> Response:
    """The organisation's and its projects', oldest first. Their secrets can be read by nobody."""
    asked = parse_query(ByIdQuery)
    found = credentials.listed(me().organisation_id, asked.after, asked.limit)
    page, after = cut(found, asked.limit, attrgetter("id"))
    using = credentials.projects_with(me().organisation_id, [row.id for row in page])
    return jsonify(CredentialList(items=[_as_wire(row, using[row.id]) for row in page], next=after))


@blueprint.post("/credentials")
@token_required("operator")
@repeatable
@documented(
    "Make a credential",
    body=NewCredential,
    answer=CredentialAnswer,
    status=201,
    group="Projects",
    errors=(Conflict,),
)
def make_credential() -> tuple[Response, int]:
    """A token for https, or an ssh key: pasted, or made here where none is sent; then `public_key` is what the remote has
    to know. The organisation's need the role admin, a project's own the role operator."""
    wish = parse(NewCredential)
    credentials.check_project(me(), wish.project_id)
    return jsonify(_as_wire(credentials.create(me(), wish), [])), 201


@blueprint.delete("/credentials/<id:credential_id>")
@token_required("operator")
@documented("Delete a credential", answer=CredentialGone, group="Projects")
def delete_credential(credential_id: str) -> Response:
    """`projects` have none from now on, and are pulled without. What a remote knows of it, only the remote can delete."""
    return jsonify(CredentialGone(projects=credentials.delete(me(), credential_id)))


@blueprint.get("/host-keys")
@token_required("viewer")
@documented("List ssh hosts’ keys", query=HostKeyQuery, answer=HostKeyList, group="Projects")
def list_host_keys() -> Response:
    """As the first worker that spoke to each host found them. `other_fingerprint`: a later worker found another one, which
    nobody accepts."""
    asked = parse_query(HostKeyQuery)
    found = host_keys.listed(me().organisation_id, place_of(asked.after), asked.limit)
    page, after = cut(found, asked.limit, lambda row: f"{row.host} {row.key_type}")
    return jsonify(HostKeyList(items=[_host_key(row) for row in page], next=after))


@blueprint.delete("/host-keys")
@token_required("admin")
@documented("Forget a host’s keys", query=ForgottenHost, status=204, group="Projects", errors=(NotFound,))
def forget_host_keys() -> tuple[str, int]:
    """When the server behind the name has got a new key. The next worker that speaks to it finds it anew."""
    host_keys.forget(me(), parse_query(ForgottenHost).host)
    return "", 204


def _as_wire(credential: Credential, using: list[Project]) -> CredentialAnswer:
    return {
        "id": credential.id,
        "name": credential.name,
        "kind": credential.kind,
        "host": credential.host,
        "username": credential.username,
        "project_id": credential.project_id,
        "public_key": credential.public_key,
        "projects": [project.path for project in using],
        "created_by": credential.created_by,
        "created_at": clock.wire(credential.created_at),
        "used_at": clock.wire(credential.used_at),
    }


def _host_key(row: HostKey) -> HostKeyAnswer:
    return {
        "host": row.host,
        "key_type": row.key_type,
        "key": row.key,
        "fingerprint": row.fingerprint,
        "worker_id": row.worker_id,
        "worker": row.worker_name,
        "first_seen_at": clock.wire(row.first_seen_at),
        "other_fingerprint": row.other_fingerprint,
        "other_seen_at": clock.wire(row.other_seen_at),
        "other_seen_by": row.other_seen_by,
    }
