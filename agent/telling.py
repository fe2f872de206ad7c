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
# So often at most of one step, also where each look finds something new.
TELL_S = 1.0
# So long the end of the process waits for the last word about it.
LAST_WORD_S = 2.0
KEPT = 2 * notes.MAX_STEPS
NOT_OURS = frozenset({404, 409})


class Telling:
    """Use as a context manager: told as long as it is open, on a thread of its own, so that the process isn't watched less
    because the server is slow.

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
        self._thread = threading.Thread(target=self._run, name=f"telling-{attempt_id}", daemon=True)
        self._told: list[dict[str, Any]] = []  # the newest last
        self._told_at = float("-inf")
        self._failures = 0
        self._not_before = 0.0

    def __enter__(self) -> Telling:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(LAST_WORD_S)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(LOOK_S)
            try:
                self._tell_news(is_last=is_over)
            except Unreachable as error:
                self._put_off(error.retry_after_s)
            except Refused as error:
                if not self._failures:
                    log.info("task %s: the server takes no word of how far it is: %s", self._task_id, error)
                if error.status in NOT_OURS:  # the answers to sync say what is to be done about it
                    return
                self._put_off(None)

    def _put_off(self, retry_after_s: float | None) -> None:
        self._failures += 1
        pause_s = retry.delay_s(self._failures, retry.CAP_BUSY_S, retry_after_s)
        self._not_before = clock.now() + max(TELL_S, pause_s)

    def _tell_news(self, *, is_last: bool) -> None:
        if clock.now() < self._not_before:
            return
        *before, now = notes.progress(self._folder) or [{}]
        for step in before:
            if step not in self._told:
                self._tell(step)
        last = self._told[-1] if self._told else {}
        is_next = now.get("step_id") != last.get("step_id")
        is_due = is_next or is_last or clock.now() - self._told_at >= TELL_S
        if now and now != last and is_due:
            self._tell(now)

    def _tell(self, step: dict[str, Any]) -> None:
        answer = self._server.status(self._task_id, {"attempt_id": self._attempt_id, **self._mask(step)})
        self._told = [*self._told[-KEPT:], step]
        self._told_at, self._failures = clock.now(), 0
        if answer.get("cancel") is True:
            self._when_cancelled()
