"""`doctor`: what keeps, or could keep, this machine from working, and what to do about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from agent import config, exits, identity
from agent.doctor.here import Here
from agent.doctor.verdict import OK, PROBLEM, WARNING, Look, Verdict, taken
from agent.doctor.way import Way
from agent.doctor.worker import Member
from agent.terminal import one_line

HELP = "look for what keeps this machine from working, and say what to do"

MARKS = {OK: "ok", WARNING: "warning", PROBLEM: "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = config.load(chosen, environ)
    way = Way(settings)
    member = Member(way, identity.look(settings.storage))
    looks = [*way.looks(), *member.looks(), *Here(settings).looks()]
    found = [verdict for look in looks for verdict in _shown(look, is_silent=chosen.json)]
    states = [verdict.state for _, verdict in found]
    if chosen.json:
        print(
            json.dumps({"server": settings.server_url, "checks": [_facts(*one) for one in found]}, indent=2)
        )
    else:
        print(_summary(states))
    return exits.REFUSED if PROBLEM in states else exits.DONE


def _shown(look: Look, *, is_silent: bool) -> list[tuple[str, Verdict]]:
    """The name before the look is taken: who waits sees for what."""
    if is_silent:
        return [(look.name, verdict) for verdict in taken(look)]
    print(f"{look.name:<10}", end="", flush=True)
    verdicts = taken(look)
    for number, verdict in enumerate(verdicts):
        print(f"{'' if number == 0 else f'{look.name:<10}'}{MARKS[verdict.state]:<9}{one_line(verdict.text)}")
        if verdict.fix:
            print(f"{'':19}→ {one_line(verdict.fix)}")
    if not verdicts:
        print(f"{'-':<9}not looked at: something before it has to work first")
    return [(look.name, verdict) for verdict in verdicts]


def _facts(name: str, verdict: Verdict) -> dict[str, Any]:
    return {"name": name, **verdict.to_dict()}


def _summary(states: list[str]) -> str:
    problems, warnings = states.count(PROBLEM), states.count(WARNING)
    if not problems and not warnings:
        return "All is well."
    return f"{problems} problem{'s'[: problems != 1]}, {warnings} warning{'s'[: warnings != 1]}."
