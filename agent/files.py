"""How many files may be open at once, and how many tasks that is enough for."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from dataclasses import replace

from agent.config import Config

log = logging.getLogger("agent")

PER_TASK = 3  # its output, its process, and one to send its log through
OWN = 64  # connections, locks, the programs that tools are asked by
_FALLBACK = 10_240  # more than that macOS takes from nobody

# As the agent was started: its tasks start with the same, because programs that use select() break with more.
_INHERITED, _HARD = resource.getrlimit(resource.RLIMIT_NOFILE)


def of_tasks() -> str:
    """The soft limit of what the agent starts, as `ulimit` takes it."""
    return "unlimited" if _INHERITED == resource.RLIM_INFINITY else str(_INHERITED)


def raise_limit() -> None:
    """To what the system allows this account."""
    for wanted in (_HARD, _FALLBACK):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, _HARD))
            return


def give_back() -> None:
    """What `raise_limit` took: whoever follows in this process starts tasks with what it finds."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_INHERITED, _HARD))


def most_tasks() -> int:
    """How many tasks the files that may be open now are enough for."""
    return enough_for(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def enough_for(limit: int) -> int:
    """So many tasks. One is always tried."""
    return 1_000_000 if limit == resource.RLIM_INFINITY else max(1, (limit - OWN) // PER_TASK)


def fitted(config: Config) -> Config:
    """Without the slots that there are no files for."""
    most = most_tasks()
    if config.slots <= most:
        return config
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    log.warning(
        "%s slots are too many for %s open files, %s for each task: %s are used (raise it with ulimit -Hn, or LimitNOFILE=)",
        config.slots,
        soft,
        PER_TASK,
        most,
    )
    return replace(config, slots=most)
