"""Where a page finds its live view: the socket, and the poll for pages whose socket doesn't get through."""

import json
from collections import Counter

from flask import Blueprint, current_app, g, request, session
from flask_login import current_user

from webapp.auth import sessions
from webapp.auth.actor import Actor
from webapp.auth.guards import count_once, me, signed_in
from webapp.database import release
from webapp.errors import Forbidden, NotFound, NotSignedIn, Unavailable
from webapp.extensions import sock
from webapp.live import rooms, views
from webapp.live.bus import bus, person_topic
from webapp.live.socket import Connection, WebSocket
from webapp.live.views import LiveView, Scope

blueprint = Blueprint("live", __name__)
_per_person: Counter[str] = Counter()


def _asked_view(actor: Actor) -> tuple[LiveView, Scope]:
    view = views.find(request.args.get("view", ""))
    if view is None:
        raise NotFound("There is no such view.")
    ignored = {"view", "attempt_id", "log_offset"}
    args = {name: value for name, value in request.args.items() if name not in ignored}
    return view, Scope(actor.organisation_id, actor.role, args)


@blueprint.before_request
def _admit() -> None:
    """Before the upgrade, because flask-sock upgrades before the view runs: session, caps, the view itself."""
    if request.path != "/ws/page":
        return
    # permessage-deflate would cost 300 kB a connection and triple the work.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    if not current_user.is_authenticated:
        raise NotSignedIn("Sign in first.")
    count_once(current_user.actor)
    settings = current_app.config["SETTINGS"]
    if bus.stopping.is_set() or sum(_per_person.values()) >= settings.sockets:
        raise Unavailable("No socket is free. The page goes on asking.")
    if _per_person[current_user.actor.id] >= settings.sockets_per_user:
        raise Forbidden(f"You have {settings.sockets_per_user} pages open already. Close some.")
    # Taken with the look, and given back when the request ends: a crowd that comes at once is counted one by one.
    g.socket_of = current_user.actor.id
    _per_person[g.socket_of] += 1
    view, scope = _asked_view(current_user.actor)
    view.context(scope)  # what isn't there, or isn't theirs, is refused while a refusal can still be sent
    release()


def page_socket(ws: WebSocket) -> None:
    """The browser says only how far its log is: `{"attempt_id": …, "log_offset": …}`; null where it shows no log's end."""
    actor = me()
    view, scope = _asked_view(actor)
    secret = str(session.get("sid", ""))

    def is_valid() -> bool:
        now = sessions.actor_of(secret, actor.address)
        release()
        return now is not None and now.role == actor.role and now.organisation_id == actor.organisation_id

    connection = Connection(ws, is_valid)
    with bus.attach(connection, person_topic(str(actor.id))):
        room = rooms.enter(view, scope, connection)
        try:
            connection.serve(lambda frame: _take_place(room, connection, frame))
        finally:
            rooms.leave(room, connection)


@blueprint.teardown_request
def _give_back(_: BaseException | None) -> None:
    person_id = g.pop("socket_of", None)
    if person_id is not None:
        _per_person[person_id] -= 1
        if not _per_person[person_id]:
            del _per_person[person_id]


def _take_place(room: rooms.Room, connection: Connection, frame: str) -> None:
    """A frame that makes no sense is passed over: it can only make the page's own log wrong."""
    try:
        said = json.loads(frame)
        attempt_id, offset = said["attempt_id"], said["log_offset"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if attempt_id is None:
        room.connections[connection] = None
    elif isinstance(attempt_id, str) and isinstance(offset, int) and 0 <= offset < 2**53:
        room.connections[connection] = rooms.LogPlace(attempt_id, offset)
        bus.wake(*room.view.topics(room.scope))


sock.route("/ws/page", bp=blueprint)(signed_in("viewer")(page_socket))


@blueprint.get("/live")
@signed_in("viewer")
def poll() -> str:
    """All fragments at once, for pages whose socket doesn't get through."""
    view, scope = _asked_view(me())
    html = "".join(views.rendered(view, scope).values())
    attempt_id, offset = request.args.get("attempt_id", ""), request.args.get("log_offset", "")
    if view.append and attempt_id and offset.isdecimal():
        html += view.append(scope, attempt_id, int(offset[:15]))[0]
    return html
