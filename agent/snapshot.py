"""What a running agent knows of itself, for those who look from outside: `status`, `/health`, `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from agent import clock, machine, standing


@dataclass(frozen=True)
class Snapshot:
    """Moments by the agent's clock, sizes in bytes."""

    pid: int
    version: str
    at: float = field(default_factory=clock.now)
    boot_id: str = field(default_factory=machine.boot_id)
    starts: int = 1  # of agents in this storage, this one included
    state: str = standing.STARTING
    detail: str = ""
    synced_at: float | None = None  # None: not in this session
    running: int = 0
    undelivered: int = 0  # ended, and the server hasn't taken the report yet
    slots: int = 0
    refusing: str = ""  # why no new work is taken; empty where it is
    disk_free: int = 0
    disk_floor: int = 0
    storage: str = ""
    jobs: str = ""
    projects: str = ""
    mirrors: str = ""
    tools: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)  # the owner's; empty: everything is allowed

    @property
    def synced_s(self) -> float | None:
        """How long ago the server last took a sync; None where that was before the machine's last boot, or never."""
        if self.synced_at is None or self.boot_id != machine.boot_id():
            return None
        return max(0.0, clock.now() - self.synced_at)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Snapshot | None:
        """None for what no agent has written."""
        known = {one.name: content[one.name] for one in fields(cls) if one.name in content}
        sample = cls(0, "")
        if {"pid", "version"} - known.keys():
            return None
        for name, value in known.items():
            like = 0.0 if name == "synced_at" else getattr(sample, name)
            kinds = (int, float) if isinstance(like, float) else type(like)
            if not isinstance(value, kinds) and not (name == "synced_at" and value is None):
                return None
        return cls(**known)
