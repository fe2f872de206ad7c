"""Which failures repeat, and after how long."""

from __future__ import annotations

import random

CAP_S = 60.0
CAP_BUSY_S = 5.0  # while attempts or reports are held: somebody waits for them
FIRST_S = 0.5
MAX_RETRY_AFTER_S = 3600.0
# Its own source: machines that were cloned or started together must not draw the same numbers.
_spread = random.SystemRandom()
REPORT_KEPT_S = 7 * 86_400.0
REPEATED = frozenset({408, 425, 429})


def is_repeated(status: int) -> bool:
    """Whether an answer of ours with this status may be different next time."""
    return status in REPEATED or status >= 500


def delay_s(failures: int, cap_s: float = CAP_S, retry_after_s: float | None = None) -> float:
    """Full jitter: anything up to a bound that doubles with each failure, so that many agents spread out.

    What the server asked for by `Retry-After` is waited in any case.
    """
    bound: float = min(cap_s, FIRST_S * 2 ** min(max(failures, 1) - 1, 16))
    jitter = _spread.random()
    if retry_after_s is not None:
        return min(retry_after_s, MAX_RETRY_AFTER_S) + jitter
    return bound * jitter


def around(seconds: float) -> float:
    """`seconds`, 20 % more or less."""
    return seconds * _spread.uniform(0.8, 1.2)
