"""What the machine's owner gives each task of time and room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent import clock, leftovers
from agent.ending import Why
from agent.policy import WHOSE, Policy
from agent.watch import Deadline

MINUTE_S = 60.0
# Looking takes as long as the folder has files: seldom enough that it costs next to nothing.
LOOK_S = 5.0
_SHARE = 0.02


class Limits:
    """Of one task, whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._look_at = float("-inf")
        self._taken = 0

    def deadlines(self, policy: Policy, started_at: float) -> Iterator[Deadline]:
        """As they are now: the one for the room moves on for as long as there is any."""
        if policy.max_minutes is not None:
            text = f"time limit of {policy.max_minutes} min reached, {WHOSE}"
            yield started_at + MINUTE_S * policy.max_minutes, Why.TIMEOUT, text
        if policy.max_disk_bytes is not None:
            self._look()
            text = f"its files take {_mb(self._taken)}, more than {_mb(policy.max_disk_bytes)}, {WHOSE}"
            is_over = self._taken > policy.max_disk_bytes
            yield started_at if is_over else self._look_at, Why.DISK, text

    def _look(self) -> None:
        began = clock.now()
        if began < self._look_at:
            return
        self._taken = leftovers.size_of(self._folder)
        ended = clock.now()
        self._look_at = ended + max(LOOK_S, (ended - began) / _SHARE)


def _mb(size: int) -> str:
    return f"{size / 10**6:.0f} MB"
