"""Tells the server how far an attempt is, while its process runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from agent import clock, notes, retry
from agent.server import Refused, Server, Unreachable

log = logging.getLogger("agent")

LOOK_S = 0.25
# So often at most, also where each look finds something new.
TELL_S = 1.0


class Telling:
    """Use as a context manager: told as long as it is open, on a thread of its own, so that nobody waits for the server.

    What can't be told is lost without harm: the next word says more.
    """

    def __init__(
        self,
        server: Server,
        task_id: str,
        attempt_id: str,
        folder: Path,
        mask: Callable[[Any], Any],
        when_cancelled: Callable[[], None],
    ) -> None:
        self._server = server
        self._task_id = task_id
        self._attempt_id = attempt_id
        self._folder = folder
        self._mask = mask
        self._when_cancelled = when_cancelled
        self._is_over = threading.Event()
        self._told: dict[str, Any] | None = None

    def __enter__(self) -> Telling:
        threading.Thread(target=self._run, name=f"telling-{self._attempt_id}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()

    def _run(self) -> None:
        failures, not_before = 0, 0.0
        while not self._is_over.wait(LOOK_S):
            now = clock.now()
            said = notes.progress(self._folder) if now >= not_before else None
            if said is None or said == self._told:
                continue
            try:
                self._tell(said)
                failures, not_before = 0, now + TELL_S
            except Unreachable as error:
                failures += 1
                pause_s = retry.delay_s(failures, retry.CAP_BUSY_S, error.retry_after_s)
                not_before = clock.now() + max(TELL_S, pause_s)
            except Refused as error:  # the answers to sync say what is to be done about it
                log.info("task %s: the server takes no word of how far it is: %s", self._task_id, error)
                return

    def _tell(self, said: dict[str, Any]) -> None:
        answer = self._server.status(self._task_id, {"attempt_id": self._attempt_id, **self._mask(said)})
        self._told = said
        if answer.get("cancel") is True:
            self._when_cancelled()
