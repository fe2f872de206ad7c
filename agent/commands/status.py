"""`status`: how this machine's agent is, read from its files. The server hears nothing of it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import (
    config,
    diary,
    exits,
    held,
    identity,
    leftovers,
    lock,
    machine,
    owner,
    program,
    project,
    roots,
    standing,
    tools,
)
from agent.errors import BadConfig
from agent.probes import Prober
from agent.roots import Roots
from agent.snapshot import Snapshot
from agent.terminal import printable

HELP = "who this machine is, whether its agent runs, and what it holds"

# An idle agent's call is answered every 25 s, and its diary is written every 30 s.
LATELY_S = 120.0

Facts = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_storage(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    facts = gather(config.storage_path(chosen, environ), environ)
    print(json.dumps(facts, indent=2) if chosen.json else printable("\n".join(lines(facts))))
    return exit_code(facts)


def gather(storage: Path, environ: Mapping[str, str]) -> Facts:
    """Raises BadConfig where this account may not look."""
    try:
        return _facts(storage, environ)
    except PermissionError as error:
        raise BadConfig(f"{error.filename} can't be read: ask as the account that runs the agent") from error


def _facts(storage: Path, environ: Mapping[str, str]) -> Facts:
    me = identity.look(storage)
    if storage.exists() and not os.access(storage / identity.FILE if me else storage, os.R_OK):
        raise PermissionError(13, "Permission denied", str(storage))
    last = diary.read(storage)
    jobs = Path(last.jobs) if last and last.jobs else config.jobs_path(environ, storage)
    pid = lock.holder(storage)
    # Of this very agent: another one's last words are not how it stands now.
    now = last if last and pid == last.pid else None
    is_known = me is not None and me.is_registered
    return {
        "storage": str(storage),
        "joined": is_known,
        "name": me.name if me and is_known else None,
        "worker_id": me.worker_id if me and is_known else None,
        "server": me.server_url if me else None,
        "agent": _agent(pid, last),
        "connection": _connection(pid is not None, now, last),
        "tasks": [one.to_dict() for one in held.held(storage, jobs)],
        "disk": _disk(jobs, storage, environ, last),
        "projects": _projects(roots_of(storage, environ, last)),
        "tools": dict(now.tools) if now and now.tools else _probed(),
        "policy": dict(now.policy) if now else _policy(storage, environ),
    }


def _agent(pid: int | None, last: Snapshot | None) -> Facts:
    return {
        "running": pid is not None,
        "pid": pid or None,
        "version": last.version if last else None,
        "starts": last.starts if last else 0,
        "slots": last.slots if last else None,
        "refusing": last.refusing if pid is not None and last else "",
    }


def _connection(is_running: bool, now: Snapshot | None, last: Snapshot | None) -> Facts:
    """`last_sync_s`: seconds since, in this boot of the machine."""
    age_s = last.synced_s if last else None
    state = now.state if now else standing.STARTING if is_running else "not running"
    is_late = state == standing.CONNECTED and (age_s is None or age_s > LATELY_S)
    return {
        "state": "silent" if is_late else state,
        "detail": now.detail if now else "",
        "last_sync_s": None if age_s is None else round(age_s, 1),
    }


def _disk(jobs: Path, storage: Path, environ: Mapping[str, str], last: Snapshot | None) -> Facts:
    floor = last.disk_floor if last else config.disk_floor(environ)
    where = next((path for path in (jobs, storage, *storage.parents) if path.exists()), Path("/"))
    gauges = machine.Gauges(where, floor)
    return {"free": int(gauges.metrics()["disk_free_bytes"]), "problem": gauges.disk_low}


def roots_of(storage: Path, environ: Mapping[str, str], last: Snapshot | None) -> Roots:
    """As the agent used them; what it would use, where there was none."""
    found = roots.said(environ, storage)
    if last is None or not last.projects:
        return found
    return replace(found, projects=Path(last.projects), mirrors=Path(last.mirrors))


def _projects(places: Roots) -> Facts:
    return {
        "path": str(places.projects),
        "checkouts": project.placed(places.projects),
        "mirrors": str(places.mirrors),
        "mirrors_bytes": leftovers.size_of(places.mirrors),
    }


def _probed() -> Facts:
    return {name: found.to_dict() for name, found in Prober(tools.registry().values()).now().items()}


def _policy(storage: Path, environ: Mapping[str, str]) -> Facts:
    """What the owner's file says now, while no agent holds to it."""
    given = environ.get("AGENT_POLICY")
    places = owner.places(storage, Path(given).expanduser() if given else None)
    path = next((path for path in places if given or path.exists()), None)
    if path is None:
        return {}
    try:
        policy, run_as = owner.read(path)
    except BadConfig as error:
        return {"problem": str(error)}
    return {**policy.to_dict(), **({"run_as": run_as} if run_as else {})}


def exit_code(facts: Facts) -> int:
    if not facts["joined"]:
        return exits.REFUSED
    if not facts["agent"]["running"]:
        return exits.NOT_RUNNING
    return exits.DONE if facts["connection"]["state"] == standing.CONNECTED else exits.NOT_CONNECTED


# For people.


def lines(facts: Facts) -> Iterator[str]:
    storage = Path(facts["storage"])
    if not facts["joined"]:
        yield f"This machine has not joined a server ({storage})."
        yield f"To let it join: {program.typed('join --server URL', storage)}"
    else:
        yield f"{facts['name']}, worker {facts['worker_id']} of {facts['server']}"
    yield _line("agent", _said_of_agent(facts["agent"], storage))
    yield _line("server", _said_of_server(facts["connection"]))
    tasks = facts["tasks"]
    yield _line("tasks", f"{len(tasks)} held" if tasks else "none held")
    yield from (f"{'':12}{said_of_task(task)}" for task in tasks)
    yield _line("disk", facts["disk"]["problem"] or f"{machine.gib(facts['disk']['free'])} free")
    yield _line("projects", _said_of_projects(facts["projects"]))
    yield from _said_of_tools(facts["tools"])
    yield _line("policy", _said_of_policy(facts["policy"]))
    yield _line("storage", str(storage))


def _line(name: str, text: str) -> str:
    return f"  {name:<10}{text}"


def _said_of_agent(agent: Facts, storage: Path) -> str:
    if not agent["running"]:
        return f"not running; to start it: {program.typed('run', storage)}"
    process = f"process {agent['pid']}" if agent["pid"] else "as a process of another container"
    takes = f"; takes no new work: {agent['refusing']}" if agent["refusing"] else ""
    return f"running ({process}, version {agent['version']}, {agent['slots']} slots){takes}"


def _said_of_server(connection: Facts) -> str:
    age_s = connection["last_sync_s"]
    last = "no answer yet since this machine started" if age_s is None else f"last answer {ago(age_s)} ago"
    detail = f": {connection['detail']}" if connection["detail"] else ""
    return f"{connection['state']}{detail}; {last}"


def said_of_task(task: Facts) -> str:
    if task["has_report"]:
        said = "has ended, its result is not delivered yet"
    elif task["running_s"] is None:
        said = "has ended, the agent has to look at it"
    else:
        said = f"runs for {ago(task['running_s'])}"
    return " ".join(part for part in (task["task_id"], task["tool"], task["name"], said) if part)


def _said_of_projects(projects: Facts) -> str:
    count, size = len(projects["checkouts"]), projects["mirrors_bytes"]
    mirrors = f"; mirrors take {machine.gib(size)}" if size else ""
    return f"{count} in {projects['path']}{mirrors}" if count else f"none{mirrors}"


def _said_of_policy(policy: Facts) -> str:
    if not policy:
        return "none: whatever the server offers is run"
    if "problem" in policy:
        return f"no task is started: {policy['problem']}"
    rules = {name: value for name, value in policy.items() if name != "digest"}
    return "; ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in rules.items()
    )


def _said_of_tools(found: Facts) -> Iterator[str]:
    for number, (name, one) in enumerate(sorted(found.items())):
        words = [name, one["version"]] if one["works"] else [name, "does not work:", one["problem"]]
        if one["works"] and one["signed_in"] is False:
            words.append("(nobody is signed in)")
        yield _line("" if number else "tools", " ".join(word for word in words if word))


def ago(seconds: float) -> str:
    """`1 s`, `5 min`, `3 h`, `2 days`"""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
