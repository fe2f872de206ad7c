"""What a look found, and how looks are taken: each has its time, and none can hold up the rest for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

OK, WARNING, PROBLEM = "ok", "warning", "problem"

# For the slowest: names that a resolver asks several servers for.
LOOK_S = 40.0


@dataclass(frozen=True)
class Verdict:
    """`fix` says what to do about it, in one line; empty where nothing is to be done."""

    state: str
    text: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(text: str) -> Verdict:
    return Verdict(OK, text)


def warning(text: str, fix: str) -> Verdict:
    return Verdict(WARNING, text, fix)


def problem(text: str, fix: str) -> Verdict:
    return Verdict(PROBLEM, text, fix)


@dataclass(frozen=True)
class Look:
    """`take` returns one verdict, or several of the same name; None where there is nothing to look at."""

    name: str
    take: Callable[[], Verdict | list[Verdict] | None]


def taken(look: Look, within_s: float = LOOK_S) -> list[Verdict]:
    """On a thread of its own, which may hang for ever."""
    found: list[Verdict] = []

    def work() -> None:
        try:
            result = look.take()
        except Exception as error:  # noqa: BLE001 - a look that breaks is a finding, and the others go on
            result = problem(
                f"the look itself failed: {type(error).__name__}: {error}",
                "tell whoever looks after GarageSwarm",
            )
        found.extend([] if result is None else result if isinstance(result, list) else [result])

    looking = threading.Thread(target=work, name=f"doctor-{look.name}", daemon=True)
    looking.start()
    looking.join(within_s)
    if looking.is_alive():
        return [
            problem(
                f"no answer within {within_s:g} s",
                "try again; if it stays so, look at what is asked here by hand",
            )
        ]
    return found
