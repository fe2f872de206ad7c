"""The control socket inside the app; what it says over the wire is in tests/contract/test_control_socket.py."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.world import World, until
from webapp.extensions import db
from webapp.workers import control, control_api


class SilentSocket:
    """An upgraded connection on which nobody says anything."""

    def __init__(self) -> None:
        self.sock: Any = None
        self.connected = True
        self.event = threading.Event()
        self.input_buffer: list[str | bytes] = []

    def send(self, data: str) -> None:
        raise AssertionError(f"nothing was asked, and this was said: {data}")

    def close(self, reason: int, message: str | None = None) -> None:
        self.connected = False


def test_a_socket_that_has_said_nothing_yet_holds_no_database_connection(world: World) -> None:
    worker = world.worker()

    def serve() -> None:
        with world.app.test_request_context("/api/v1/agents/control", headers=worker.headers):
            control_api.agent_socket(SilentSocket())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    until(lambda: control.connection_of(worker.id))
    with world.app.app_context():
        held: Any = db.engine.pool
        until(lambda: held.checkedout() == 0)
    control.close_all()
    thread.join(30)
    assert not thread.is_alive()
    assert control.connection_of(worker.id) is None


@pytest.mark.parametrize(
    "path", ["/api/v1/agents/control", "/ws/worker/0190c0de-0000-7000-8000-000000000000"]
)
def test_a_handshake_that_a_proxy_cut_short_is_told_so_to_anybody(world: World, path: str) -> None:
    handshake = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    for headers in (handshake, {**handshake, **world.worker().headers}):
        answer = world.app.test_client().get(path, headers=headers)
        assert answer.status_code == 426
        assert answer.headers["Upgrade"] == "websocket"
        assert "a proxy in between took it away" in answer.json["detail"]
    whole = world.app.test_client().get(
        path, headers={**handshake, "Upgrade": "WebSocket", "Connection": "Upgrade"}
    )
    assert whole.status_code == 401, "and then it is asked for its key"
