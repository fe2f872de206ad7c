"""What attempts work with, and whom they tell."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cap import Cap
from agent.policy import Policy
from agent.pump import Pump
from agent.roots import Roots
from agent.server import Server
from agent.spool import Spool

if TYPE_CHECKING:
    from agent.attempt import Attempt


@dataclass(frozen=True)
class Workshop:
    server: Server
    pump: Pump
    spool: Spool
    jobs: Path
    roots: Roots
    boot_id: str
    when_reportable: Callable[[Attempt], None]
    when_dropped: Callable[[Attempt], None]
    log_cap: Cap
    policy: Callable[[], Policy]  # what the machine's owner allows now
    held: Callable[[], Collection[str]]  # the attempts that the agent has now
    disk_floor_bytes: int
