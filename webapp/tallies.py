"""Where requests are counted: the limiter's memory, swept seldom."""

import threading
import time

from limits.storage import MemoryStorage

SWEEP_EVERY_S = 5.0


class Tallies(MemoryStorage):
    """The library starts a thread at nearly every hit, and lets it walk over all keys, to forget what has expired.

    On a quiet server that thread costs fifty times what counting does; under a flood from many addresses the walks take
    the processor. It asks for one whenever its `timer` isn't alive, so here a sweep counts as alive for some seconds.
    """

    STORAGE_SCHEME = ["tallies"]  # noqa: RUF012 - as the library declares it

    def is_alive(self) -> bool:
        return time.monotonic() < self._sweep_again_at

    @property  # type: ignore[override]
    def timer(self) -> "Tallies":
        return self

    @timer.setter
    def timer(self, sweep: threading.Timer) -> None:
        """The library starts it through the getter, which is `start` here."""
        self._sweep = sweep
        self._sweep_again_at = time.monotonic() + SWEEP_EVERY_S

    def start(self) -> None:
        self._sweep.daemon = True
        self._sweep.start()
