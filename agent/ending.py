"""How an attempt ended, in the words of a report. Decides, does nothing."""

from __future__ import annotations

import enum
import errno
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.process import signal_name

REFUSED = "refused"
NOT_FOUND = 127
NOT_EXECUTABLE = 126
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Why(enum.Enum):
    """Why an attempt is to end before it does so by itself."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    DISK = "disk_low"  # it takes more room than the machine's owner gives a task
    FENCED = "fenced"  # its lease runs out unrenewed, and its owner wants it to run elsewhere then
    ABANDONED = "abandoned"  # not ours any more: ended without a report


@dataclass(frozen=True)
class Ending:
    """`status`, `failure_class` and `error` as report-result knows them."""

    status: str
    exit_code: int | None = None
    error: str | None = None
    failure_class: str | None = None
    data: Any = None
    output: str | None = None  # None: the end of the log


def by_exit_code(code: int) -> Ending:
    if code == 0:
        return Ending("completed", 0)
    return Ending("failed", code, _code_text(code), "exit_code")


def _code_text(code: int) -> str:
    """A shell says 128 + n for a child that signal n ended."""
    number = code - 128
    if 0 < number < signal.NSIG and number in {known.value for known in signal.Signals}:
        return f"killed by signal {number} ({signal_name(number)})"
    return f"exit code {code}"


def by_wish(why: Why, text: str, code: int | None) -> Ending:
    """`text` is the limit that was reached, or who cancelled."""
    if why is Why.CANCELLED:
        return Ending("cancelled", code, text or "cancelled", "cancelled")
    if why is Why.FENCED:
        error = "lost touch with the server: stopped, so that it can run elsewhere"
        return Ending("failed", code, error, "worker_lost")
    return Ending("failed", code, text, why.value)


def failure(error: str) -> Ending:
    """Not the task's fault: the agent or its machine couldn't."""
    return Ending("failed", None, error, "agent_error")


def not_done(what: str, error: OSError) -> Ending:
    """The system refused something that the attempt can't go on without."""
    text = f"{what}: {error.strerror or error}"
    return disk_low(text) if error.errno in _NO_ROOM else failure(text)


def disk_low(error: str) -> Ending:
    return Ending("failed", None, error, "disk_low")


def on_full_disk(outcome: Ending) -> Ending:
    """It failed by itself while there was no room left: what it says of its failure is then of little use."""
    return replace(outcome, error=f"{outcome.error}: the disk is full", failure_class="disk_low")


def with_facts(outcome: Ending, facts: Mapping[str, Any] | None) -> Ending:
    """What its process itself says of its end (agent.notes): that is the result's data, and `message` the error."""
    if facts is None:
        return outcome
    said = facts.get("message") or None
    if outcome.status == "completed":
        return replace(outcome, data=dict(facts), output=said)
    is_disk = facts.get("failure_class") == "disk_low"
    failure_class = "disk_low" if is_disk else outcome.failure_class
    return replace(outcome, data=dict(facts), error=said or outcome.error, failure_class=failure_class)


def offer_lost(error: str) -> Ending:
    """Nothing of it was ever started here, so that it can be given to anybody."""
    return Ending("failed", None, error, "offer_lost")


def refused(rule: str) -> Ending:
    """The machine's owner doesn't allow it. Nothing was started; the task is given back, and offered elsewhere."""
    return Ending("failed", None, rule, REFUSED)


def log_incomplete(missing: int, error: str | None) -> dict[str, str]:
    """What a report says instead where the log on the worker was lost; `error` is what it said before."""
    lost = f"{missing} bytes of its log are missing: the file on the worker is gone or was cut short"
    return {
        "status": "failed",
        "failure_class": "log_incomplete",
        "error": lost if error is None else f"{lost}; it ended with: {error}",
    }


def not_started(code: int, error: str) -> Ending:
    return Ending("failed", code, error, "exit_code")


def bad_input(error: str) -> Ending:
    """The task's own fault, and so classed like an exit code: it would fail in the same way everywhere."""
    return Ending("failed", None, error, "exit_code")


def seconds(value: float) -> str:
    return f"{value:g} s"
