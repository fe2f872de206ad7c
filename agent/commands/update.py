"""`update`: take the agent that the server gives away, between tasks. Nobody but this machine's owner starts it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from agent import PROTOCOL, __version__, config, exits, identity, lock, program, update
from agent.errors import Stop
from agent.server import Refused, Server, Unreachable
from agent.update import Release

HELP = "take the newest agent.pyz of the server, between tasks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--back", action="store_true", help="take the one that was there before the last update"
    )
    parser.add_argument("--force", action="store_true", help="also one that speaks an older protocol")
    config.add_storage(parser)


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    storage = config.storage_path(chosen, environ)
    archive = program.archive()
    if archive is None:
        raise Stop(
            f"this agent runs from a checkout: update that ({program.directory()}), and restart the agent",
            exits.REFUSED,
        )
    if chosen.back:
        _back(archive, storage)
    else:
        _forth(archive, storage, is_forced=chosen.force)
    return exits.DONE


def _back(archive: Path, storage: Path) -> None:
    former = update.former(archive)
    if not former.exists():
        raise Stop(f"there is no {former}: nothing was updated here yet", exits.REFUSED)
    update.swap(archive, former.read_bytes())
    _say(f"{archive} is the one from before again, and {former} the newer one.", storage)


def _forth(archive: Path, storage: Path, *, is_forced: bool) -> None:
    server = _server(storage)
    try:
        release = Release.parse(server.release())
        if release.sha256 == update.checksum(archive):
            print(f"{archive} is what {server.url} gives away: version {release.version}. Nothing to do.")
            return
        _refuse_older(release, is_forced=is_forced)
        update.swap(archive, update.fetched(server, release))
    except (Unreachable, Refused) as error:
        raise Stop(f"no update from {server.url}: {error}", exits.REFUSED) from error
    _say(
        f"{archive} is version {release.version} now (it was {__version__}), sha256 {release.sha256}. "
        "--back undoes it.",
        storage,
    )


def _server(storage: Path) -> Server:
    """The one that this machine has joined, known by the same pin. It needs no key for this, so it gets none."""
    me = identity.look(storage)
    if me is None or not me.is_registered:
        raise Stop(
            f"this machine has not joined a server ({storage}): join first, or say its --storage",
            exits.REFUSED,
        )
    return Server(me.server_url, pin=me.pin)


def _refuse_older(release: Release, *, is_forced: bool) -> None:
    if release.protocol < PROTOCOL and not is_forced:
        raise Stop(
            f"the server's agent ({release.version}) speaks protocol {release.protocol}, this one {PROTOCOL}: "
            "that is a step back. If you mean it: --force",
            exits.REFUSED,
        )


def _say(done: str, storage: Path) -> None:
    print(done)
    if lock.holder(storage) is not None:
        print("The agent that runs takes it up by itself as soon as it holds no task.")
