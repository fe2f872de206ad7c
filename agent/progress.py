"""Whether the loop gets on by itself: what the watchdog and `/health` go by."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A thread of the loop that waits for something to do looks up this often.
LOOK_S = 15.0
# So long a thread may be busy with one thing. A slow disk takes seconds; this is a standstill.
STUCK_S = 120.0
# A call ends by its own time limits, within a minute; a resolver that hangs may add some more to it.
AWAY_S = 600.0


class Progress:
    """Each thread of the loop says when it begins something. Whether the server answers plays no part.

    Not the agent's clock: that counts through suspend, and a machine that slept is not stuck.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[int, float] = {}  # by thread: it says something again before this moment

    def mark(self) -> None:
        """This thread begins something else."""
        self._expect(STUCK_S)

    @contextmanager
    def away(self) -> Iterator[None]:
        """This thread waits for the server."""
        self._expect(AWAY_S)
        try:
            yield
        finally:
            self.mark()

    def _expect(self, within_s: float) -> None:
        with self._lock:
            self._until[threading.get_ident()] = time.monotonic() + within_s

    @property
    def is_stuck(self) -> bool:
        """Also true when only one of its threads is. Before the loop has begun it isn't stuck."""
        with self._lock:
            return any(until < time.monotonic() for until in self._until.values())
