"""What the agent holds, and what the server says of it: by an answer to sync or down the control socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from agent.answer import strings
from agent.attempt import Attempt
from agent.ending import Why
from agent.lease import Lease
from agent.notices import Notices


class Crew(Protocol):
    """Who does what the server says."""

    def take(self, raw: dict[str, Any]) -> Attempt | None:
        """An attempt that has been set going; None for what isn't to be started."""

    def clean(self, attempts: list[Attempt]) -> None: ...
    def watch(self, attempt_ids: Iterable[str]) -> None: ...
    def rotate_key(self) -> None:
        """Get a fresh key, on another thread. Said again while that goes on it is one wish."""

    def declaration(self) -> dict[str, Any]:
        """What the first sync of a session adds: what this agent is and can do."""

    def situation(self) -> dict[str, Any]:
        """What every sync says: session_id, boot_id, slots, plan_limit, metrics."""

    def unable(self) -> str:
        """Why this machine can take no new work; empty where it can."""


class Holding:
    """Every method is called under the loop's lock."""

    def __init__(self, crew: Crew, notices: Notices) -> None:
        self._crew = crew
        self._notices = notices
        self.attempts: dict[str, Attempt] = {}
        self.lease_s = Lease.seconds
        self.is_drained = False  # by the server
        self._watched: set[str] = set()

    def renew(self, held: Iterable[Attempt], answer: dict[str, Any], sent_at: float) -> None:
        """`held` is what the server was told at `sent_at`; the answer names the lease and what isn't ours."""
        lease_s = answer.get("lease_s")
        if not isinstance(lease_s, int | float) or lease_s <= 0:
            return
        self.lease_s = float(lease_s)
        unknown = set(strings(answer, "unknown"))
        for attempt in held:
            attempt.lease.seconds = self.lease_s
            if attempt.attempt_id not in unknown:
                attempt.lease_renewed(sent_at)

    def end_wanted(self, unknown: Iterable[str], cancels: Iterable[dict[str, Any]]) -> bool:
        """→ whether any of it was not known already."""
        is_new = False
        for attempt_id in unknown:
            if attempt_id in self.attempts:
                is_new |= self.attempts[attempt_id].wish.why is not Why.ABANDONED
                self.attempts[attempt_id].lease_lost()
        for wish in cancels:
            attempt = self.attempts.get(str(wish.get("attempt_id")))
            if attempt is not None:
                is_new |= attempt.wish.why is None
                attempt.cancel(str(wish.get("reason") or ""))
        return is_new

    def take(self, offers: Iterable[dict[str, Any]], since: float) -> bool:
        """→ whether any of them was taken. Their leases began at `since` at the earliest."""
        before = len(self.attempts)
        for raw in offers:
            if str(raw.get("attempt_id")) in self.attempts:
                continue
            attempt = self._crew.take(raw)
            if attempt is not None:
                attempt.lease.seconds = self.lease_s
                attempt.lease.renewed_at = since - self._used_s(raw)
                self.attempts[attempt.attempt_id] = attempt
        return len(self.attempts) > before

    def _used_s(self, offer: dict[str, Any]) -> float:
        """How much of its lease is over already, where the offer is repeated: the first one didn't arrive."""
        left_s = offer.get("lease_left_s")
        return max(0.0, self.lease_s - left_s) if isinstance(left_s, int | float) else 0.0

    def drain(self, is_drained: bool) -> bool:
        """→ whether that is new."""
        if is_drained == self.is_drained:
            return False
        self.is_drained = is_drained
        self._notices.drained(is_drained)
        return True

    def watch(self, attempt_ids: Iterable[str]) -> None:
        """These logs are looked at, and no others."""
        self._watched = set(attempt_ids)
        self._crew.watch(self._watched)

    def watch_one(self, attempt_id: str, *, is_watched: bool) -> None:
        self.watch(self._watched | {attempt_id} if is_watched else self._watched - {attempt_id})

    def rotate_key(self) -> None:
        self._crew.rotate_key()

    def announce(self, text: Any) -> None:
        self._notices.announced(text)

    def notice(self, text: Any) -> None:
        self._notices.noticed(text)
