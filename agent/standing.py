"""How this agent stands with its server, as far as it knows: for `status`, `/health` and `/metrics`."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from agent import clock

STARTING, CONNECTED, PENDING = "starting", "connected", "waiting for approval"
BLOCKED, UNREACHABLE = "refused", "unreachable"


@dataclass(frozen=True)
class Word:
    """What the last answer meant, or that there was none. `detail` is for people."""

    state: str = STARTING
    detail: str = ""


class Standing:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._word = Word()
        self._synced_at: float | None = None

    def note(self, state: str, detail: str = "") -> None:
        with self._lock:
            self._word = Word(state, detail)
            if state == CONNECTED:
                self._synced_at = clock.now()

    @property
    def word(self) -> Word:
        with self._lock:
            return self._word

    @property
    def synced_at(self) -> float | None:
        """When the server last took a sync, by the agent's clock; None in a session that had none."""
        with self._lock:
            return self._synced_at
