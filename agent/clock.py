"""The agent's only clock.

Nothing here is a time of day: a machine's wall clock jumps, and no decision may depend on it.
"""

from __future__ import annotations

import time

# Counts through suspend, and is the same clock for a process and for the agent that adopts it later.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds since this machine booted, suspended time included where the system counts it."""
    return time.clock_gettime(_CLOCK)
