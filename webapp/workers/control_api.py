"""The control socket's routes, and who is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, g, jsonify, request

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse_query
from webapp.api.documented import documented
from webapp.api.paging import ByIdQuery, cut
from webapp.auth.guards import me
from webapp.errors import Forbidden, NotFound, Unavailable
from webapp.extensions import sock
from webapp.live.bus import bus
from webapp.live.socket import WebSocket
from webapp.workers import control
from webapp.workers.access import worker_for, workers_of
from webapp.workers.answers import ConnectionAnswer, ConnectionList
from webapp.workers.guards import caller, person_or_worker, worker_key

if TYPE_CHECKING:
    from webapp.workers.models import Worker

blueprint = api_blueprint("control_api", __name__)
plain_blueprint = Blueprint("control", __name__)
SOCKETS = ("/api/v1/agents/control", "/ws/worker/")


@plain_blueprint.before_request
@blueprint.before_request
def _admit() -> None:
    """Before the upgrade, because flask-sock upgrades before the view runs: the key, whose it is, and how many there are."""
    if not request.path.startswith(SOCKETS):
        return
    # permessage-deflate would cost 300 kB a connection and triple the work.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    _identify(**(request.view_args or {}))
    settings = current_app.config["SETTINGS"]
    is_new = control.connection_of(caller().worker_id) is None
    if bus.stopping.is_set() or (is_new and control.count() >= settings.agent_sockets):
        raise Unavailable("No socket is free. Work goes on by sync.")


@worker_key()
def _identify(worker_id: str = "") -> None:
    """The path or `agent_id` must be the key's own worker."""
    said = worker_id or request.args.get("agent_id", "")
    if said and said != caller().worker_id:
        raise Forbidden("This key belongs to another worker.")


@worker_key()
def agent_socket(ws: WebSocket, worker_id: str = "") -> None:
    control.serve(ws, caller())


sock.route("/agents/control", bp=blueprint)(agent_socket)
sock.route("/ws/worker/<id:worker_id>", bp=plain_blueprint)(agent_socket)


@blueprint.get("/agents/<id:agent_id>/cc-status")
@person_or_worker("viewer")
@documented("Whether a worker's control socket is open", answer=ConnectionAnswer)
def cc_status(agent_id: str) -> Response:
    """Whether this worker's control socket is open. For people, and for the worker itself."""
    if g.get("worker") is not None:
        if caller().worker_id != agent_id:
            raise NotFound("There is no such worker here.")
        return jsonify(_state(agent_id))
    return jsonify(_state(worker_for(me(), agent_id).id))


@blueprint.get("/agents/connected")
@person_or_worker("viewer")
@documented("List workers whose control socket is open", query=ByIdQuery, answer=ConnectionList)
def connected() -> Response:
    """Workers whose control socket is open: all of the organisation for people, itself for a worker."""
    is_worker = g.get("worker") is not None
    found = [caller().worker_id] if is_worker else [worker.id for worker in _approved()]
    asked = parse_query(ByIdQuery)
    known = sorted(each for each in found if each > (asked.after or "") and control.connection_of(each))
    page, after = cut(known, asked.limit, str)
    return jsonify(ConnectionList(items=[_state(worker_id) for worker_id in page], next=after))


def _approved() -> list[Worker]:
    return list(workers_of(me().organisation_id, "approved"))


def _state(worker_id: str) -> ConnectionAnswer:
    connection = control.connection_of(worker_id)
    return {
        "agent_id": worker_id,
        "connected": connection is not None,
        "connected_at": clock.wire(connection.connected_at) if connection else None,
        "last_heartbeat_at": clock.wire(connection.heartbeat_at) if connection else None,
    }
