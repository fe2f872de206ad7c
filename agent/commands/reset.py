"""`reset`: forget which worker this machine is."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from agent import config, diary, exits, held, identity, lock, program, project, rotation
from agent.commands.status import roots_of, said_of_task
from agent.errors import BadConfig, Stop
from agent.held import Held
from agent.identity import Identity
from agent.journal import remove_tree
from agent.roots import Roots

# And what lies beside one.
MIRROR = re.compile(r"[0-9a-f]{32}\.git.*")
HELP = "forget which worker this machine is, so that it can join anew"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_storage(parser)
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also where tasks are held: they are ended, and their results lost",
    )


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    storage = config.storage_path(chosen, environ)
    try:
        return _reset(storage, environ, is_sure=chosen.yes, is_forced=chosen.force)
    except OSError as error:
        raise BadConfig(f"storage can't be used: {error}") from error


def _reset(storage: Path, environ: Mapping[str, str], *, is_sure: bool, is_forced: bool) -> int:
    me = identity.look(storage)
    if me is None and not (storage / identity.FILE).exists():
        print(f"Nothing to forget: {storage} belongs to no worker.")
        return exits.DONE
    _refuse_while_running(storage)
    last = diary.read(storage)
    jobs = Path(last.jobs) if last and last.jobs else config.jobs_path(environ, storage)
    left = held.held(storage, jobs)
    if left and not is_forced:
        raise Stop(_still_held(left, storage), exits.REFUSED)
    if not is_sure and not _agreed(me, left):
        raise Stop("nothing was changed", exits.REFUSED)
    if not lock.take(storage):
        raise Stop(f"an agent has just been started with {storage}: stop it first", exits.IN_USE)
    _forget(storage, left)
    print(_said(me))
    _clear_projects(roots_of(storage, environ, last))
    return exits.DONE


def _refuse_while_running(storage: Path) -> None:
    pid = lock.holder(storage)
    if pid is not None:
        process = f"process {pid}" if pid else "a process"
        raise Stop(
            f"an agent runs with {storage} ({process}): stop it first, with Ctrl-C, "
            "or systemctl stop garageswarm-agent where it is a service",
            exits.IN_USE,
        )


def _still_held(left: list[Held], storage: Path) -> str:
    tasks = "".join(f"\n  {said_of_task(one.to_dict())}" for one in left)
    return (
        f"tasks are still held here:{tasks}\n"
        f"Start the agent until none is left ({program.typed('run', storage)}). "
        "--force ends what runs, and results are lost."
    )


def _agreed(me: Identity | None, left: list[Held]) -> bool:
    if not sys.stdin.isatty():
        raise Stop("it asks before it forgets, and nobody can answer here: say --yes", exits.REFUSED)
    who = f"worker {me.name} of {me.server_url}" if me and me.is_registered else "a worker"
    lost = f", and lose what is held ({len(left)})" if left else ""
    print(f"Forget that this machine is {who}{lost}? Its key can't be had again. [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _forget(storage: Path, left: list[Held]) -> None:
    """Tasks first: what another worker must never report, or send the log of, is gone before there can be one."""
    for one in left:
        one.forget(storage)
    for name in (identity.FILE, diary.FILE, rotation.WISH):
        (storage / name).unlink(missing_ok=True)


def _clear_projects(roots: Roots) -> None:
    """Mirrors go: what the next worker's organisation asks for, it shall fetch with credentials of its own. Of checkouts
    nobody knows here whether somebody still needs what isn't pushed."""
    if not roots.projects.exists() or not lock.take_folder(roots.projects):  # another agent's as well
        return
    for path in roots.mirrors.iterdir() if roots.mirrors.is_dir() else ():
        if MIRROR.fullmatch(path.name):
            remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)
    checkouts = project.placed(roots.projects)
    if checkouts:
        print(
            f"Its projects stay in {roots.projects}: {', '.join(checkouts)}. The server knows nothing of them any more:"
        )
        print("remove them by hand once nothing in them is needed.")


def _said(me: Identity | None) -> str:
    if me is None or not me.is_registered:
        return "Forgotten."
    return f"Forgotten. On {me.server_url}/workers the worker {me.name} is still listed: revoke or remove it there."
