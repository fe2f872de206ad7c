"""One sync on its way."""

from __future__ import annotations

from dataclasses import dataclass

from agent.attempt import Attempt

STOPPING, DRAINED = "draining: the agent is stopping", "draining: the server asked for it"


@dataclass(frozen=True, eq=False)
class Call:
    number: int
    sent_at: float
    held: list[Attempt]
    reports: list[Attempt]
    refusing: str  # why no new work is taken; empty where it is
    declares: int
    has_news: bool

    @property
    def is_last(self) -> bool:
        """Only says goodbye: there is nothing to wait for."""
        return self.refusing == STOPPING and not self.held
