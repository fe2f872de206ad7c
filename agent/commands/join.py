"""`join`: make this machine a worker, and say how to go on."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent import config, exits, identity, program, retry
from agent.commands.run import prepare
from agent.config import Config
from agent.enrol import enrol
from agent.errors import Stop
from agent.identity import Identity
from agent.loop import PENDING
from agent.server import Distrusted, Refused, Server, Unreachable
from agent.terminal import printable

log = logging.getLogger("agent")

HELP = "make this machine a worker of a server, once"

NEXT = (
    ("run", "run tasks now"),
    ("install --user", "or as a service; as root: install --user-name NAME"),
    ("doctor", "see whether all is well"),
)
LOOK_S = 2.0
TRUST = "Whoever may create tasks there has this account on this machine. Join servers that you trust."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_arguments(parser)
    parser.add_argument("--no-wait", action="store_true", help="don't wait until an admin approves it")


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = config.load(chosen, environ)
    known = identity.look(settings.storage)
    me = _already(settings, known) if known and known.is_registered else _new(settings)
    if not chosen.no_wait:
        wait_for_approval(Server(me.server_url, me.worker_id, me.api_key, me.pin), me)
    _say_how_to_go_on(settings.storage)
    return exits.DONE


def _new(settings: Config) -> Identity:
    try:
        me = enrol(settings, prepare(settings), waits_for_trust=False)
    except Refused as error:
        raise Stop(f"{settings.server_url} refuses to enrol this agent: {error}", exits.REFUSED) from error
    except Distrusted as error:
        raise Stop(f"nothing was told to {settings.server_url}: {error}", exits.REFUSED) from error
    _say(f"This machine is {me.name} (worker {me.worker_id}) of {me.server_url}. {TRUST}")
    return me


def _already(settings: Config, me: Identity) -> Identity:
    """Said twice. Raises BadConfig where it is another server's."""
    if (me.server_url, me.pin) != (settings.server_url, settings.pin):
        me = prepare(settings)
    again = program.typed("reset", settings.storage)
    _say(f"This machine has joined already: {me.name} (worker {me.worker_id}) of {me.server_url}.")
    _say(f"To let it join as a new worker, or elsewhere, forget this one first: {again}")
    return me


def wait_for_approval(server: Server, me: Identity, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until an admin has approved it. Raises Stop where the server doesn't want it."""
    said = ""
    failures = 0
    while True:
        try:
            server.control_status()
        except Refused as error:
            word, failures = _waiting_or_stop(error, me), 0
            pause_s = LOOK_S
        except Distrusted as error:
            raise Stop(f"nothing was told to {me.server_url}: {error}", exits.REFUSED) from error
        except Unreachable as error:
            failures += 1
            word = f"No answer from {me.server_url}: {error}. Trying again."
            pause_s = retry.delay_s(failures, retry.CAP_BUSY_S, error.retry_after_s)
        else:
            return
        if word != said:
            _say(word)
            said = word
        sleep(pause_s)


def _waiting_or_stop(error: Refused, me: Identity) -> str:
    if error.type == PENDING:
        return (
            f"Waiting for an admin: compare this code with the one at {me.server_url}/workers, and approve it there.\n"
            f"\n    {me.code}\n\n"
            "Ctrl-C only ends the waiting."
        )
    raise Stop(f"{me.server_url} does not take this worker: {error}", exits.REFUSED) from error


def _say_how_to_go_on(storage: Path) -> None:
    _say("How to go on:")
    for words, what in NEXT:
        _say(f"  {program.typed(words, storage)}    # {what}")


def _say(text: str) -> None:
    print(printable(text), flush=True)
