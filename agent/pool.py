"""Threads that are made when they are needed, kept, and never waited for at the end."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger("agent")


class Pool:
    """Runs what is submitted; at most `limit` at once, the rest waits in order.

    Daemon threads, unlike those of concurrent.futures: an agent that stops leaves its tasks running and must
    not wait for them.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._threads = 0
        self._idle = 0
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    def submit(self, work: Callable[[], None]) -> None:
        """Raises RuntimeError where the machine has no room for another thread: then `work` is never run."""
        with self._changed:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
            name = f"{self._name}-{self._threads}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            if self._withdrawn(work):
                raise

    def _withdrawn(self, work: Callable[[], None]) -> bool:
        """After a thread that could not be made. False where another one has taken the work by now."""
        with self._changed:
            self._threads -= 1
            if work not in self._work:
                return False
            self._work.remove(work)
            return True

    @property
    def is_idle(self) -> bool:
        """Whether everything that was submitted is done."""
        with self._changed:
            return not self._work and self._idle == self._threads

    def _run(self) -> None:
        while True:
            work = self._next()
            try:
                work()
            except Exception:
                log.exception("an error that nobody expected")
            # Or the thread would hold on to what it last did for as long as it is idle.
            del work

    def _next(self) -> Callable[[], None]:
        with self._changed:
            self._idle += 1
            while not self._work:
                self._changed.wait()
            self._idle -= 1
            return self._work.popleft()
