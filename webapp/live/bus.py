"""Wake-ups inside this process. Only hints: the database is the truth, and whoever waits also looks now and then."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Waiter:
    """One who waits for topics. A wake-up between two waits is kept, never lost."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """True when woken, False when the time is over."""
        woken = self._event.wait(timeout_s)
        self._event.clear()
        return woken


class Bus:
    """Topics are `worker:{id}`, `task:{id}`, `project:{id}`, `organisation:{id}` and `person:{id}`."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = defaultdict(set)
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Waiter]:
        """Listen first, then look, then wait: what happens in between wakes the first wait."""
        waiter = Waiter()
        with self.attach(waiter, *topics):
            yield waiter

    @contextmanager
    def attach(self, waiter: Waiter, *topics: str) -> Iterator[None]:
        """The same for a waiter of the caller's own kind."""
        with self._lock:
            for topic in topics:
                self._waiters[topic].add(waiter)
        try:
            yield
        finally:
            with self._lock:
                for topic in topics:
                    self._waiters[topic].discard(waiter)
                    if not self._waiters[topic]:
                        del self._waiters[topic]

    def wake(self, *topics: str) -> None:
        with self._lock:
            waiters = {waiter for topic in topics for waiter in self._waiters.get(topic, ())}
        for waiter in waiters:
            waiter.wake()

    def is_watched(self, topic: str) -> bool:
        return topic in self._waiters

    def stop(self) -> None:
        """The server stops: everybody who waits comes back at once and finds `stopping` set."""
        self.stopping.set()
        with self._lock:
            waiters = {waiter for group in self._waiters.values() for waiter in group}
        for waiter in waiters:
            waiter.wake()


bus = Bus()


def task_topic(task_id: str) -> str:
    return f"task:{task_id}"


def project_topic(project_id: str) -> str:
    return f"project:{project_id}"


def worker_topic(worker_id: str) -> str:
    return f"worker:{worker_id}"


def organisation_topic(organisation_id: str) -> str:
    return f"organisation:{organisation_id}"


def person_topic(user_id: str) -> str:
    """Woken when what a person may do has changed."""
    return f"person:{user_id}"
