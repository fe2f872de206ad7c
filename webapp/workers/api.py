"""Workers on the API: for agents, and for people's programs."""

from __future__ import annotations

import socket
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from flask import Response, current_app, jsonify, request
from limits import RateLimitItemPerMinute

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_optional, parse_query
from webapp.api.documented import documented
from webapp.api.idempotency import answers_a_secret
from webapp.api.paging import cut
from webapp.auth.guards import address, me, token_required, uncounted
from webapp.errors import Conflict, NotSignedIn, TooMany
from webapp.extensions import limiter
from webapp.workers import draining, listing, presence, service, state
from webapp.workers import sync as long_poll
from webapp.workers.access import worker_for, workers_of
from webapp.workers.answers import (
    AnnouncedAnswer,
    FoundTool,
    MetricsAnswer,
    OwnersPolicy,
    RegisteredAnswer,
    SyncAnswer,
    WorkerAnswer,
    WorkerList,
)
from webapp.workers.caller import ProtocolRefused
from webapp.workers.guards import caller, worker_key
from webapp.workers.schemas import (
    Announcement,
    DrainWish,
    Registration,
    SyncRequest,
    WorkerChange,
    WorkerQuery,
)

if TYPE_CHECKING:
    from webapp.workers.models import Worker

blueprint = api_blueprint("workers_api", __name__)
# Whom nobody has approved yet may say who he is, and no more.
STRANGERS_BODY_LIMIT = 256 * 1024
SYNC_BODY_LIMIT = 4 * 1024 * 1024
ESTABLISHED = 1  # of TCP's states; the first byte that TCP_INFO gives


@blueprint.post("/workers/register")
@uncounted
@answers_a_secret
@documented(
    "Register a machine",
    body=Registration,
    answer=RegisteredAnswer,
    status=201,
    errors=(NotSignedIn, ProtocolRefused),
    group="Agents",
)
def register() -> tuple[Response, int]:
    """With a valid join token it may work at once; without one it waits for an admin."""
    _refuse_flood()
    made = service.register(parse(Registration, STRANGERS_BODY_LIMIT), address())
    answer = RegisteredAnswer(
        worker_id=made.worker_id, api_key=made.api_key, status=made.status, code=made.code
    )
    return jsonify(answer), 201


def _refuse_flood() -> None:
    limit = RateLimitItemPerMinute(current_app.config["SETTINGS"].registrations_per_minute)
    if not limiter.limiter.hit(limit, "register", address()):
        raise TooMany("Too many registrations from this address. Wait a minute.")


@blueprint.post("/workers/<id:worker_id>/sync")
@worker_key(pending_too=True)
@documented("Report, renew leases, and wait for work", body=SyncRequest, answer=SyncAnswer)
def sync(worker_id: str) -> Response:
    """The one call that an agent lives on. Held up to `wait_s`, answered at once when there is something to say."""
    limit = SYNC_BODY_LIMIT if caller().status == "approved" else STRANGERS_BODY_LIMIT
    return jsonify(long_poll.sync(caller(), parse(SyncRequest, limit), address(), _is_connected))


def _is_connected() -> bool:
    """Whether the agent still listens. The kernel is asked: what can be read may be TLS's own, and isn't ours to take."""
    sock = request.environ.get("gunicorn.socket")
    if sock is None or not hasattr(
        socket, "TCP_INFO"
    ):  # only Linux tells; elsewhere a task waits for its lease
        return True
    try:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED)
    except OSError:
        return False


@blueprint.get("/workers")
@token_required("viewer")
@documented("List workers", query=WorkerQuery, answer=WorkerList)
def list_workers() -> Response:
    """In the order in which they came."""
    asked = parse_query(WorkerQuery)
    page, after = cut(listing.some(me().organisation_id, asked), asked.limit, attrgetter("worker.id"))
    return jsonify(WorkerList(items=[as_wire(row.worker, row.held) for row in page], next=after))


@blueprint.get("/workers/<id:worker_id>")
@token_required("viewer")
@documented("Show a worker", answer=WorkerAnswer)
def show(worker_id: str) -> Response:
    return jsonify(as_wire(worker_for(me(), worker_id)))


@blueprint.patch("/workers/<id:worker_id>")
@token_required("admin")
@documented("Change a worker", body=WorkerChange, answer=WorkerAnswer)
def change(worker_id: str) -> Response:
    worker = worker_for(me(), worker_id)
    service.change(me(), worker, parse(WorkerChange))
    return jsonify(as_wire(worker))


@blueprint.delete("/workers/<id:worker_id>")
@token_required("admin")
@documented("Remove a worker", status=204, errors=(Conflict,))
def remove(worker_id: str) -> tuple[str, int]:
    service.remove(me(), worker_for(me(), worker_id))
    return "", 204


@blueprint.post("/workers/<id:worker_id>/approve")
@token_required("admin")
@documented("Approve a worker", answer=WorkerAnswer, errors=(Conflict,))
def approve(worker_id: str) -> Response:
    worker = worker_for(me(), worker_id)
    service.approve(me(), worker)
    return jsonify(as_wire(worker))


@blueprint.post("/workers/<id:worker_id>/revoke")
@token_required("admin")
@documented("Revoke a worker", answer=WorkerAnswer, errors=(Conflict,))
def revoke(worker_id: str) -> Response:
    worker = worker_for(me(), worker_id)
    service.revoke(me(), worker)
    return jsonify(as_wire(worker))


@blueprint.post("/workers/<id:worker_id>/drain")
@token_required("admin")
@documented(
    "Let a worker finish, and take no more",
    body=DrainWish,
    is_body_optional=True,
    answer=WorkerAnswer,
    errors=(Conflict,),
)
def drain(worker_id: str) -> Response:
    """For `for_s` seconds, or without that until it is resumed. What is said of one that drains already changes that."""
    worker = worker_for(me(), worker_id)
    draining.drain(me(), worker, parse_optional(DrainWish))
    return jsonify(as_wire(worker_for(me(), worker_id)))


@blueprint.post("/workers/<id:worker_id>/resume")
@token_required("admin")
@documented("Let a worker take work again", answer=WorkerAnswer, errors=(Conflict,))
def resume(worker_id: str) -> Response:
    worker = worker_for(me(), worker_id)
    draining.resume(me(), worker)
    return jsonify(as_wire(worker_for(me(), worker_id)))


@blueprint.post("/workers/<id:worker_id>/announce")
@token_required("admin")
@documented("Say something at a worker's terminal", body=Announcement, answer=WorkerAnswer)
def announce(worker_id: str) -> Response:
    worker = worker_for(me(), worker_id)
    service.announce_text(me(), [worker], parse(Announcement).text)
    return jsonify(as_wire(worker))


@blueprint.post("/workers/announce")
@token_required("admin")
@documented("Say something at every worker's terminal", body=Announcement, answer=AnnouncedAnswer)
def announce_to_all() -> Response:
    """To every approved worker of the organisation."""
    workers = workers_of(me().organisation_id, "approved")
    service.announce_text(me(), workers, parse(Announcement).text)
    return jsonify(AnnouncedAnswer(announced_to=len(workers)))


def as_wire(worker: Worker, held: int | None = None) -> WorkerAnswer:
    seen = presence.of(worker)
    return {
        "id": worker.id,
        "name": worker.name,
        "status": worker.status,
        "shown_status": state.status_of(worker, held),
        "code": worker.code if worker.status == "pending" else None,
        "hostname": worker.hostname,
        "platform": worker.platform,
        "agent_version": worker.agent_version,
        "labels": worker.all_labels,
        "tools": worker.tools,
        "tool_facts": [_found(fact) for fact in worker.tool_facts],
        "policy": cast(OwnersPolicy, worker.policy),
        "slots": worker.capacity,
        "plan_limit": worker.plan_limit,
        "admins_only": worker.admins_only,
        "drain_requested_at": clock.wire(worker.drain_requested_at) if worker.is_draining else None,
        "drain_until": clock.wire(worker.drain_until) if worker.is_draining else None,
        "drain_note": worker.drain_note if worker.is_draining else None,
        "quarantined_until": clock.wire(worker.quarantined_until),
        "rotate_requested_at": clock.wire(worker.rotate_requested_at),
        "twin_seen_at": clock.wire(worker.twin_seen_at),
        "announcement": worker.announcement,
        "metrics": cast(MetricsAnswer, seen.metrics.model_dump()) if seen else None,
        "created_at": clock.wire(worker.created_at),
        "last_seen_at": clock.wire(presence.seen_at(worker)),
    }


def _found(fact: dict[str, Any]) -> FoundTool:
    """As its agent said it, perhaps long ago and with less in it."""
    return {
        "name": str(fact["name"]),
        "works": bool(fact.get("works", True)),
        "version": str(fact.get("version", "")),
        "signed_in": fact.get("signed_in"),
        "problem": str(fact.get("problem", "")),
    }
