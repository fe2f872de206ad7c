"""Named locks, for people's programs."""

from __future__ import annotations

from flask import Response, jsonify

from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import me, token_required
from webapp.tasks import lock_list
from webapp.tasks.answers import LockAnswer, LockList

blueprint = api_blueprint("locks_api", __name__)


@blueprint.get("/locks")
@token_required("viewer")
@documented("List named locks", answer=LockList)
def list_locks() -> Response:
    """Every lock that is held or waited for."""
    items = [lock.as_wire() for lock in lock_list.all_of(me().organisation_id)]
    return jsonify(LockList(items=items, next=None))


@blueprint.post("/locks/<path:name>/break")
@token_required("admin")
@documented("Break a named lock", answer=LockAnswer)
def break_lock(name: str) -> Response:
    lock_list.break_lock(me(), name)
    return jsonify(lock_list.named(me().organisation_id, name).as_wire())
