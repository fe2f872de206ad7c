"""A fresh worker key: asked for, stored, and only then used.

Killed at any moment, the agent has a key that opens: until the fresh one is first used the server lets the older one ask
again, and afterwards the fresh one is on the disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from agent import clock, identity, retry
from agent.identity import Identity
from agent.server import Refused, Server, Unreachable

log = logging.getLogger("agent")

# The command `rotate-key` leaves this for the agent that runs.
WISH = "rotate-key.wish"
LOOK_S = 5.0
# The server's wish stands until it hears of the fresh key, and what was on its way says it again.
SETTLED_S = 60.0
NO_ROOM_S = 60.0


class Rotation:
    def __init__(self, storage: Path, me: Identity, server: Server, when_learned: Callable[[], None]) -> None:
        """`when_learned` is told before the fresh key is on the disk, where a task could find it."""
        self._storage = storage
        self._me = me
        self._server = server
        self._when_learned = when_learned
        self.when_used: Callable[[], None] = lambda: None
        self._asked = threading.Event()
        self._not_before = 0.0
        self._failures = 0

    def ask(self) -> None:
        """The server wishes for it. Returns at once."""
        if clock.now() >= self._not_before:
            self._asked.set()

    def run(self) -> None:
        while True:
            self._asked.wait(LOOK_S)
            try:
                pause_s = self.step() if self._asked.is_set() or self._wish.exists() else 0.0
            except Exception:
                log.exception("an error that nobody expected")
                pause_s = NO_ROOM_S
            threading.Event().wait(pause_s)

    @property
    def _wish(self) -> Path:
        return self._storage / WISH

    def step(self) -> float:
        """→ seconds to wait before the next try; what is still wanted is wanted on."""
        try:
            self._me = exchanged(self._storage, self._me, self._server, self._when_learned)
        except Unreachable as error:
            self._failures += 1
            return retry.delay_s(self._failures, retry.CAP_S, error.retry_after_s)
        except OSError as error:
            log.warning("a fresh key can't be stored, the one before goes on: %s", error)
            return NO_ROOM_S
        except (Refused, ValueError) as error:
            log.warning("the server gives no fresh key: %s", error)
        else:
            log.info("from now on with a fresh key, %s", shown(self._me.api_key))
            self.when_used()
        self._failures = 0
        self._not_before = clock.now() + SETTLED_S
        self._asked.clear()
        self._wish.unlink(missing_ok=True)
        return 0.0


def exchanged(
    storage: Path, me: Identity, server: Server, when_learned: Callable[[], None] = lambda: None
) -> Identity:
    """The same worker with a fresh key: durable, and in use.

    Raises what Server does, ValueError for an answer without a key, OSError where it can't be stored.
    """
    fresh = identity.rotated(me, server.rotate_key())
    server.learn(fresh.api_key)
    when_learned()
    _keep(storage, fresh)
    server.use(fresh.api_key)
    return fresh


def _keep(storage: Path, fresh: Identity) -> None:
    """Raises OSError unless the fresh key is what the next agent would find there."""
    try:
        identity.save(storage, fresh)
    except OSError:
        if identity.look(storage) != fresh:
            raise


def shown(api_key: str) -> str:
    """The part of a key that isn't secret."""
    return f"{api_key[:12]}…"
