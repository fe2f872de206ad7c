"""`rotate-key`: a fresh worker key, without anybody at the server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from agent import config, durable, exits, identity, lock, machine, rotation
from agent.errors import BadConfig, Stop
from agent.server import Refused, Server, Unreachable

HELP = "exchange this machine's worker key for a fresh one; the one before ends a day later"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_storage(parser)


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    storage = config.storage_path(chosen, environ)
    me = identity.look(storage)
    if me is None or not me.is_registered:
        raise BadConfig(f"{storage} belongs to no worker yet: join first")
    try:
        if not lock.take(storage):
            durable.write(storage / rotation.WISH, b"")
            _say("The agent that runs exchanges its key within some seconds, and says so in its log.")
            return exits.DONE
        _refuse_foreign(storage)
        server = Server(me.server_url, me.worker_id, me.api_key, me.pin)
        fresh = rotation.exchanged(storage, me, server)
    except OSError as error:
        raise BadConfig(f"storage can't be used: {error}") from error
    except (Refused, Unreachable, ValueError) as error:
        raise Stop(f"{me.server_url} gives no fresh key: {error}", exits.REFUSED) from error
    _say(f"From now on this machine has the key {rotation.shown(fresh.api_key)}")
    return exits.DONE


def _refuse_foreign(storage: Path) -> None:
    """What root wrote there, that account's agent couldn't read. Raises BadConfig."""
    owner = (storage / identity.FILE).stat().st_uid
    if owner != os.geteuid():
        raise BadConfig(f"{storage} belongs to {machine.account_name(owner)}: ask as that account")


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
