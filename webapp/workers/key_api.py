"""Worker keys and join tokens on the API."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from flask import Response, g, jsonify

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_query
from webapp.api.documented import documented
from webapp.api.idempotency import answers_a_secret
from webapp.api.paging import cut
from webapp.auth.guards import me, token_required
from webapp.errors import Conflict
from webapp.workers import join_tokens, keys
from webapp.workers.access import worker_for
from webapp.workers.answers import JoinTokenAnswer, JoinTokenList, NewJoinTokenAnswer, RotationAnswer
from webapp.workers.guards import caller, person_or_worker
from webapp.workers.schemas import JoinTokenQuery, NewJoinToken

if TYPE_CHECKING:
    from webapp.workers.models import JoinToken

blueprint = api_blueprint("keys_api", __name__)


@blueprint.post("/workers/<id:worker_id>/rotate-key")
@person_or_worker("admin")
@answers_a_secret
@documented("Exchange a worker's key", answer=RotationAnswer, errors=(Conflict,))
def rotate_key(worker_id: str) -> Response:
    """An admin asks that the agent get itself a fresh key: nobody but the agent ever sees one. The agent itself is told its
    fresh key. With its first use the older one has 24 hours left; until then the older one may ask again, for another."""
    if g.get("worker") is None:
        keys.request_rotation(me(), worker_for(me(), worker_id))
        wished_at = worker_for(me(), worker_id).rotate_requested_at
        return jsonify(RotationAnswer(rotate_requested_at=clock.wire(wished_at)))
    made = keys.rotate(caller())
    return jsonify(
        RotationAnswer(
            rotate_requested_at=None,
            api_key=made.text,
            key_id=made.key_id,
            old_key_expires_at=clock.wire(made.old_expires_at),
        )
    )


@blueprint.get("/join-tokens")
@token_required("admin")
@documented("List join tokens", query=JoinTokenQuery, answer=JoinTokenList, group="Workers")
def list_join_tokens() -> Response:
    """With the workers that came with each. The tokens themselves are known to nobody any more."""
    asked = parse_query(JoinTokenQuery)
    page, after = cut(
        join_tokens.some(me().organisation_id, asked.after, asked.limit), asked.limit, attrgetter("key_id")
    )
    joined = join_tokens.joined_with(me().organisation_id)
    items = [_as_wire(token, [worker.id for worker in joined[token.key_id]]) for token in page]
    return jsonify(JoinTokenList(items=items, next=after))


@blueprint.post("/join-tokens")
@token_required("admin")
@answers_a_secret
@documented("Make a join token", body=NewJoinToken, answer=NewJoinTokenAnswer, status=201, group="Workers")
def make_join_token() -> tuple[Response, int]:
    """The token itself is shown only now."""
    wish = parse(NewJoinToken)
    text = join_tokens.create(
        me(),
        wish.name,
        wish.uses,
        wish.hours,
        wish.labels,
        admins_only=wish.admins_only,
        slots=wish.slots,
        approves=wish.approves,
    )
    return jsonify(NewJoinTokenAnswer(token=text, **_as_wire(join_tokens.known(text), []))), 201


@blueprint.delete("/join-tokens/<key_id>")
@token_required("admin")
@documented("Revoke a join token", status=204, group="Workers")
def revoke_join_token(key_id: str) -> tuple[str, int]:
    """No more machines join with it. Those that have joined stay."""
    join_tokens.revoke(me(), key_id)
    return "", 204


def _as_wire(token: JoinToken, workers: list[str]) -> JoinTokenAnswer:
    return {
        "id": token.key_id,
        "name": token.name,
        "labels": token.labels,
        "admins_only": token.admins_only,
        "slots": token.slots,
        "approves": token.approves,
        "uses_left": token.uses_left,
        "created_at": clock.wire(token.created_at),
        "expires_at": clock.wire(token.expires_at),
        "workers": workers,
    }
