"""Named locks, for people's programs."""

from __future__ import annotations

from flask import Response, jsonify

from webapp.api import blueprint as api_blueprint
from webapp.auth.guards import me, token_required
from webapp.tasks import lock_list

blueprint = api_blueprint("locks_api", __name__)


@blueprint.get("/locks")
@token_required("viewer")
def list_locks() -> Response:
    """Every lock that is held or waited for."""
    return jsonify(items=[lock.as_wire() for lock in lock_list.all_of(me().organisation_id)], next=None)


@blueprint.post("/locks/<path:name>/break")
@token_required("admin")
def break_lock(name: str) -> Response:
    lock_list.break_lock(me(), name)
    return jsonify(lock_list.named(me().organisation_id, name).as_wire())
