"""Decisions about tasks: legal moves, retries, who may take what. No database, no clock."""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast

TaskStatus = Literal["queued", "assigned", "running", "completed", "failed", "cancelled"]
AttemptStatus = Literal["assigned", "running", "completed", "failed", "cancelled"]
Outcome = Literal["completed", "failed", "cancelled"]
# How a task uses its project's checkout. Any number that read, or one that writes; one that places it (clone, pull,
# delete) doesn't need it to be there.
ProjectUse = Literal["", "reads", "writes", "places"]

TERMINAL = frozenset({"completed", "failed", "cancelled"})
ACTIVE = ("queued", "assigned", "running")

# Legal moves. `queued` again is an automatic retry or an offer given back: before any terminal state.
TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"assigned", "cancelled", "failed"}),
    "assigned": frozenset({"running", "queued", "completed", "failed", "cancelled"}),
    "running": frozenset({"queued", "completed", "failed", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

RetryCause = Literal[
    "agent_error", "offer_lost", "disk_low", "exit_code", "timeout", "no_output", "worker_lost"
]
FailureClass = Literal[
    "exit_code",
    "timeout",
    "no_output",
    "worker_lost",
    "cancelled",
    "agent_error",
    "offer_lost",
    "disk_low",
    "log_incomplete",
    "queue_timeout",
    "refused",
    "missing",
]

# What each class means, for the task's page.
FAILURE_MEANS: dict[FailureClass, str] = {
    "exit_code": "the command ended with a status other than 0",
    "timeout": "it ran longer than its time limit",
    "no_output": "it printed nothing for too long",
    "worker_lost": "the worker stopped answering and its lease ended",
    "cancelled": "a person cancelled it",
    "agent_error": "the agent couldn’t run it",
    "offer_lost": "the worker never started it",
    "disk_low": "the worker’s disk is nearly full",
    "log_incomplete": "its log didn’t arrive whole",
    "queue_timeout": "no worker took it in time",
    "refused": "the worker’s owner doesn’t allow it there",
    "missing": "something that it needs isn’t here any more",
}
# And what a person could do next.
FAILURE_HELPS: dict[FailureClass, str] = {
    "exit_code": "The end of its log says why.",
    "timeout": "Run it again with a longer limit, or find out what it waited for.",
    "no_output": "It may have waited for an answer that nobody gives.",
    "worker_lost": "Look whether that machine is awake, then run it again.",
    "agent_error": "The agent’s own log on the machine says more.",
    "offer_lost": "Run it again.",
    "disk_low": "Make room on the worker, then run it again.",
    "log_incomplete": "Run it again if the log matters.",
    "queue_timeout": "Look whether a worker offers what it asks for, then run it again.",
    "refused": "Run it again for another worker, or ask that machine’s owner.",
    "missing": "Put that right first, then run it again.",
}


def failure_words(failure_class: str, error: str | None) -> str:
    """How it failed, for people: what the class means, and the error where that says more."""
    means = FAILURE_MEANS.get(cast(FailureClass, failure_class), failure_class)
    more = (error or "").strip()
    if not more:
        return means
    # "lab-01 stopped answering and its lease ended" says it all, and who.
    return more if more.endswith(means.removeprefix("the worker ")) else f"{means}: {more}"


RETRY_ON_BY_DEFAULT: tuple[RetryCause, ...] = ("agent_error", "offer_lost", "disk_low")

LOCK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,99}")

MAX_RETRIES = 3
RETRY_DELAY_S = 10
RETRY_DELAY_LONGEST_S = 900
RETRY_JITTER = 0.2


def sources(after: str) -> list[str]:
    """The statuses from which a task may become this one: what a conditional UPDATE names."""
    return [before for before, moves in TRANSITIONS.items() if after in moves]


@dataclass(frozen=True)
class RetryPolicy:
    max_retries: int
    retry_delay_s: int
    retry_on: tuple[str, ...]


def next_retry_at(
    attempts_made: int,
    failure_class: str | None,
    policy: RetryPolicy,
    now: datetime,
    jitter: float | None = None,
) -> datetime | None:
    """When a failed task is tried again, or None: delay × 2ⁿ, at most 15 min, ± 20 %. `jitter` is in -1…1."""
    if failure_class not in policy.retry_on or attempts_made > policy.max_retries:
        return None
    delay = min(policy.retry_delay_s * 2 ** (attempts_made - 1), RETRY_DELAY_LONGEST_S)
    spread = random.uniform(-1, 1) if jitter is None else jitter  # noqa: S311 - spreads load, guards nothing
    return now + timedelta(seconds=delay * (1 + RETRY_JITTER * spread))


@dataclass(frozen=True)
class Wanted:
    """What a task asks of a worker. A label with the value None matches any value."""

    organisation_id: str
    tool: str
    labels: Mapping[str, str | None]
    worker_id: str | None
    by_admin: bool
    slot_class: str = "task"
    locks: tuple[str, ...] = ()  # sorted
    project_id: str | None = None
    project_use: ProjectUse = ""
    project_name: str = field(default="", compare=False)  # for people; no part of what is asked

    @property
    def needs_checkout(self) -> bool:
        return self.project_id is not None and self.project_use != "places"

    @property
    def id(self) -> str:
        asked = [self.organisation_id, self.tool, sorted(self.labels.items()), self.worker_id, self.by_admin]
        facts: list[object] = [*asked, self.slot_class, self.locks]
        if self.project_id:  # without one the id is as it was before there were any
            facts += [self.project_id, self.project_use]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass
class Occupied:
    """A worker's checkouts that tasks work in: any number that read, or one that doesn't only read.

    `awaited`: of these projects a task that doesn't only read waits for the readers to leave. Later readers stay behind
    it, or it would wait for ever.
    """

    uses: dict[str, ProjectUse] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)

    def admits(self, wanted: Wanted) -> bool:
        if wanted.project_id is None:
            return True
        if wanted.project_use != "reads":
            return wanted.project_id not in self.uses
        is_read = self.uses.get(wanted.project_id, "reads") == "reads"
        return is_read and wanted.project_id not in self.awaited

    def take(self, wanted: Wanted) -> None:
        if wanted.project_id is not None and (wanted.project_use != "reads" or self.admits(wanted)):
            self.uses[wanted.project_id] = wanted.project_use

    def heed(self, wanted: Wanted) -> None:
        """It was its turn. In what comes after it nobody overtakes it."""
        if wanted.project_id is not None and wanted.project_use != "reads" and not self.admits(wanted):
            self.awaited.add(wanted.project_id)


@dataclass(frozen=True)
class Offered:
    """What a worker offers."""

    organisation_id: str
    worker_id: str
    tools: frozenset[str]
    labels: Mapping[str, str]
    admins_only: bool
    # Tools that are there and don't work: name → why.
    broken_tools: Mapping[str, str] = field(default_factory=dict)
    has_refused: bool = False  # some tasks, one by one, whatever they ask for
    checkouts: frozenset[str] = frozenset()  # ids of the projects that it has, ready for tasks
    # Of these, as it was when the worker began to wait for work.
    occupied: Occupied = field(default_factory=Occupied)


@dataclass
class Room:
    """What a worker can still take. Every attempt uses a slot; of these so many may be plans, and one an apply. In what
    is occupied there is room for who doesn't disturb."""

    slots: int
    plans: int
    exclusive: int = 1
    occupied: Occupied = field(default_factory=Occupied)

    def admits(self, wanted: Wanted) -> bool:
        kinds = {"plan": self.plans, "exclusive": self.exclusive}
        return self.slots > 0 and kinds.get(wanted.slot_class, 1) > 0 and self.occupied.admits(wanted)

    def take(self, wanted: Wanted) -> None:
        self.slots -= 1
        self.plans -= wanted.slot_class == "plan"
        self.exclusive -= wanted.slot_class == "exclusive"
        self.occupied.take(wanted)


# Failures that say something about the machine, not about the task.
INFRASTRUCTURE = frozenset({"agent_error", "offer_lost", "disk_low", "worker_lost"})
QUARANTINE_FAILURES, QUARANTINE_TASKS = 3, 2
QUARANTINE_S, QUARANTINE_LONGEST_S = 60, 3600


def quarantine_s(failed_tasks: Sequence[str], quarantines: int) -> int | None:
    """For how long a worker is set aside whose last attempts, of these tasks, all failed for infrastructure reasons.

    Not for one bad task, however often it fails: three failures in a row, of two tasks at least. `quarantines` is how
    often it was set aside since its last success: each time doubles.
    """
    if len(failed_tasks) < QUARANTINE_FAILURES or len(set(failed_tasks)) < QUARANTINE_TASKS:
        return None
    return int(min(QUARANTINE_S * 2 ** min(quarantines, 10), QUARANTINE_LONGEST_S))


def mismatches(wanted: Wanted, offered: Offered) -> list[str]:
    """Why this worker can never take such a task, in words; empty when it can."""
    if wanted.organisation_id != offered.organisation_id:
        return ["belongs to another organisation"]
    if wanted.worker_id is not None and wanted.worker_id != offered.worker_id:
        return ["the task names another worker"]
    reasons = []
    if wanted.tool in offered.broken_tools:
        reasons.append(f"its tool {wanted.tool} doesn’t work: {offered.broken_tools[wanted.tool]}")
    elif wanted.tool not in offered.tools:
        reasons.append(f"has no tool {wanted.tool}")
    for key, value in sorted(wanted.labels.items()):
        has = offered.labels.get(key)
        if has is None:
            reasons.append(f"has no label {key}")
        elif value is not None and has != value:
            reasons.append(f"has {key}={has}, not {value}")
    if offered.admins_only and not wanted.by_admin:
        reasons.append("serves admins only, until an admin opens it")
    if wanted.needs_checkout and wanted.project_id not in offered.checkouts:
        reasons.append(f"has no checkout of {wanted.project_name or 'its project'}")
    return reasons


def split_secrets(
    schema: Mapping[str, Any], value: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An input as (plain, secret): top-level properties that the schema marks with `x-secret` are secret."""
    marked = {name for name, part in schema.get("properties", {}).items() if part.get("x-secret")}
    plain = {name: part for name, part in value.items() if name not in marked}
    return plain, {name: part for name, part in value.items() if name in marked}


def default_name(tool: str, value: Mapping[str, Any]) -> str:
    """What to call a task that nobody named: the first line that says something of what it runs."""
    words = value.get("argv")
    text = " ".join(words) if isinstance(words, list) else value.get("script") or value.get("message") or ""
    # As a name may be: one line, nothing that a terminal or a browser would obey.
    lines = ["".join(filter(str.isprintable, " ".join(line.split()))) for line in str(text).splitlines()]
    said = [line for line in lines if line and not line.startswith(("#", "set -"))]
    return (said[0] if said else tool)[:255]
