"""One process until its end: limits, wishes, and the ladder that ends it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from agent import clock
from agent.ending import Why
from agent.process import Process

# poll() doesn't count while the machine sleeps: look at the clock again at least this often.
_LOOK_AGAIN_S = 30.0
_HURRY_S = 3.0
_AFTER_KILL_S = 5.0

Ladder = list[tuple[int, float]]
Deadline = tuple[float, Why, str]


class Wish:
    """That an attempt end. Any thread may ask; the first reason stands, except that abandoning overrules."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._reader = self._writer = -1
        self.why: Why | None = None
        self.text = ""
        self.is_urgent = False

    def ask(self, why: Why, text: str = "") -> None:
        with self._lock:
            if self.why is None or why is Why.ABANDONED:
                self.why, self.text = why, text
            self._asked.set()
            self._wake()

    def hurry(self) -> None:
        """Shorten the ladder's steps: somebody wants the agent itself to end."""
        with self._lock:
            self.is_urgent = True
            self._wake()

    def wait(self, seconds: float) -> bool:
        """True as soon as it was asked."""
        return self._asked.wait(seconds)

    def open(self) -> int:
        """A descriptor that can be read once something was asked. To be closed."""
        with self._lock:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            os.set_blocking(self._reader, False)
            if self.why is not None:
                self._wake()
            return self._reader

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._reader, 512)

    def close(self) -> None:
        with self._lock:
            os.close(self._reader)
            os.close(self._writer)
            self._reader = self._writer = -1

    def _wake(self) -> None:
        if self._writer >= 0:
            with suppress(BlockingIOError):
                os.write(self._writer, b"!")


class Watch:
    """`deadlines` gives the limits as they are now: times by clock.now(), reason, text."""

    def __init__(self, process: Process, wish: Wish, deadlines: Callable[[], Iterable[Deadline]]) -> None:
        self._process = process
        self._wish = wish
        self._deadlines = deadlines

    def until_end(self, ladder: Ladder) -> Why | None:
        """Returns when the process has ended: None where by itself, else the wish or limit that ended it."""
        wake_fd = self._wish.open()
        try:
            while self._wish.why is None:
                if self._process.wait(self._ask_at_limit(), wake_fd):
                    return None
            self._descend(ladder, wake_fd)
            return self._wish.why
        finally:
            self._wish.close()

    def _ask_at_limit(self) -> float:
        """Seconds that may be waited; 0 where a limit is reached, which is then a wish like any other."""
        now = clock.now()
        nearest = min(self._deadlines(), key=lambda deadline: deadline[0], default=None)
        if nearest is None:
            return _LOOK_AGAIN_S
        at, why, text = nearest
        if at <= now:
            # A process that has just ended by itself keeps its own ending.
            if not self._process.has_ended():
                self._wish.ask(why, text)
            return 0.0
        return min(at - now, _LOOK_AGAIN_S)

    def _descend(self, ladder: Ladder, wake_fd: int) -> None:
        for number, wait_s in ladder:
            self._process.signal_group(number)
            if self._ended_within(wait_s or _AFTER_KILL_S, wake_fd):
                return

    def _ended_within(self, seconds: float, wake_fd: int) -> bool:
        began = clock.now()
        while True:
            self._wish.clear()
            whole = min(seconds, _HURRY_S) if self._wish.is_urgent else seconds
            left = began + whole - clock.now()
            if self._process.wait(min(left, _LOOK_AGAIN_S), wake_fd):
                return True
            if left <= 0:
                return False
