"""The right to run, by the agent's own clock, counted from when a renewal was sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent import clock

# The server may give the task away when the lease is over: by then nothing of it may run here.
FENCE_S = 15.0


@dataclass
class Lease:
    seconds: float = 120.0
    renewed_at: float = field(default_factory=clock.now)

    def renew(self, sent_at: float) -> None:
        self.renewed_at = max(self.renewed_at, sent_at)

    @property
    def fence_at(self) -> float:
        """With a short lease a quarter before its end: two syncs, each a quarter of it, may pass before a renewal is known,
        and the server waits 10 s more."""
        return self.renewed_at + max(self.seconds - FENCE_S, self.seconds * 3 / 4)
