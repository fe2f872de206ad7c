"""Named locks, for people's programs."""

from __future__ import annotations

from operator import attrgetter

from flask import Response, jsonify

from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse_query
from webapp.api.documented import documented
from webapp.api.paging import ByNameQuery, cut
from webapp.auth.guards import me, token_required
from webapp.tasks import lock_list
from webapp.tasks.answers import LockAnswer, LockList

blueprint = api_blueprint("locks_api", __name__)


@blueprint.get("/locks")
@token_required("viewer")
@documented("List named locks", query=ByNameQuery, answer=LockList)
def list_locks() -> Response:
    """Every lock that is held or waited for, by name."""
    asked = parse_query(ByNameQuery)
    known = [lock for lock in lock_list.all_of(me().organisation_id) if lock.name > asked.after]
    page, after = cut(known, asked.limit, attrgetter("name"))
    return jsonify(LockList(items=[lock.as_wire() for lock in page], next=after))


@blueprint.post("/locks/<path:name>/break")
@token_required("admin")
@documented("Break a named lock", answer=LockAnswer)
def break_lock(name: str) -> Response:
    lock_list.break_lock(me(), name)
    return jsonify(lock_list.named(me().organisation_id, name).as_wire())
