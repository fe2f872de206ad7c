"""What a person at the terminal is told about the server: each thing once, not at every poll."""

from __future__ import annotations

import logging
from typing import Any

from agent import standing
from agent.attempt import Attempt
from agent.standing import Standing

log = logging.getLogger("agent")


class Notices:
    def __init__(self, server_url: str, code: str) -> None:
        self._server_url = server_url
        self._code = code
        self._said = "not yet connected"
        self._announcement = ""
        self._notice = ""
        self.standing = Standing()

    def connected(self) -> None:
        self.standing.note(standing.CONNECTED)
        if self._said:
            self._said = ""
            log.info("connected to %s", self._server_url)

    def pending(self) -> None:
        self.standing.note(standing.PENDING, f"code {self._code}")
        self._once("pending", f"waiting for approval: code {self._code} at {self._server_url}/workers")

    def blocked(self, why: str) -> None:
        self.standing.note(standing.BLOCKED, why)
        self._once(
            "blocked",
            f"the server refuses this worker's key ({why}): running tasks go on, asking again each minute",
        )

    def too_different(self, why: str) -> None:
        self.standing.note(standing.BLOCKED, why)
        self._once(
            "too different", f"{self._server_url} can't work with this agent: {why}; asking again each minute"
        )

    def unreachable(self, why: str) -> None:
        self.standing.note(standing.UNREACHABLE, why)
        self._once("unreachable", f"no answer from {self._server_url}: {why}; trying again")

    def distrusts(self, why: str) -> None:
        """Said also where the server was away before: that is when it got another certificate."""
        self.standing.note(standing.UNREACHABLE, why)
        self._once("distrusted", f"nothing is told to {self._server_url}: {why}. Trying again meanwhile")

    def drained(self, is_drained: bool) -> None:
        log.info("drained by the server: no new work" if is_drained else "taking new work again")

    def announced(self, text: Any) -> None:
        if isinstance(text, str) and text and text != self._announcement:
            log.info("announcement: %s", " ".join(text.split()))
        self._announcement = text if isinstance(text, str) else ""

    def noticed(self, text: Any) -> None:
        """What the server says to an agent that introduces itself, which it does more than once a session."""
        if isinstance(text, str) and text and text != self._notice:
            self._notice = text
            log.warning("the server says: %s", " ".join(text.split()))

    def settled(self, attempt: Attempt, answer: dict[str, Any]) -> None:
        if answer.get("status") != 200:
            detail = answer.get("detail") or answer.get("status")
            log.warning("the server did not take the report of task %s: %s", attempt.offer.task_id, detail)

    def given_up(self, attempt: Attempt) -> None:
        log.warning("task %s: its report could not be delivered for a week: dropped", attempt.offer.task_id)

    def _once(self, key: str, text: str) -> None:
        if self._said != key:
            self._said = key
            log.warning("%s", text)
