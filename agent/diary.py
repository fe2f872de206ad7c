"""What the agent last knew of itself, kept in a file: also for who asks after it has ended."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent import __version__, clock, durable
from agent.snapshot import Snapshot

log = logging.getLogger("agent")

FILE = "status.json"
LOOK_S = 2.0
# Written so often where nothing but the time has changed: a memory card isn't worn out by it.
WRITE_S = 30.0


class Diary:
    def __init__(self, storage: Path, take: Callable[[Snapshot], Snapshot]) -> None:
        """`take` fills in the rest of a snapshot."""
        self._path = storage / FILE
        self._take = take
        before = read(storage)
        starts = before.starts + 1 if before else 1
        self._blank = Snapshot(os.getpid(), __version__, starts=starts, storage=str(storage))
        # Never waits for the loop: who asks whether it is stuck wants an answer.
        self.latest = self._blank
        self._written: Snapshot | None = None

    def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("an error that nobody expected")
            threading.Event().wait(LOOK_S)

    def look(self) -> None:
        self.latest = self._take(replace(self._blank, at=clock.now()))
        if self._is_news():
            self._written = self.latest
            try:
                durable.write_json(self._path, self.latest.to_dict(), sync=False)
            except OSError as error:
                log.debug("%s can't be written: %s", self._path, error)

    def _is_news(self) -> bool:
        before, now = self._written, self.latest
        if before is None or now.at - before.at >= WRITE_S:
            return True
        return _seldom(before) != _seldom(now)


def _seldom(snapshot: Snapshot) -> tuple[object, ...]:
    """What changes so seldom that it is worth a write of its own."""
    return (snapshot.state, snapshot.detail, snapshot.tools, snapshot.policy)


def read(storage: Path) -> Snapshot | None:
    """What the agent of this storage last wrote, which may have ended since. In a copy of a storage the file speaks of
    another one, and of the folders of another one: that counts as nothing."""
    content = durable.look_json(storage / FILE)
    found = None if content is None else Snapshot.parse(content)
    return found if found and found.storage == str(storage) else None
