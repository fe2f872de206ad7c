"""Becoming a worker: register once, and keep the answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from agent import identity, retry, tools
from agent.config import Config
from agent.identity import Identity
from agent.owner import Owner
from agent.probes import Prober
from agent.server import Distrusted, Server, Unreachable
from agent.session import describe

log = logging.getLogger("agent")


def enrol(
    config: Config,
    me: Identity,
    sleep: Callable[[float], None] = time.sleep,
    *,
    waits_for_trust: bool = True,
) -> Identity:
    """A registered identity, stored before it is used. Repeats until the server is reached.

    Raises Refused where the server says no; and Distrusted, unless that too may pass by waiting.
    """
    server = Server(config.server_url, pin=config.pin)
    body = {
        **describe(config, Prober(tools.registry().values()).now(), Owner(config).policy()),
        "name": config.name,
        "machine_id": me.machine_id,
        "nonce": me.nonce,
        "slots": config.slots,
        "plan_limit": config.plan_limit,
        **({"join_token": config.join_token} if config.join_token else {}),
    }
    told = {"name": config.name, "labels": config.labels_text, "slots": config.slots_text}
    failures, said = 0, ""
    while True:
        try:
            me = identity.registered(me, server.register(body), **told)
        except (Unreachable, ValueError) as error:
            if isinstance(error, Distrusted) and not waits_for_trust:
                raise
            failures += 1
            if str(error) != said:
                said = str(error)
                log.warning("can't register at %s: %s; trying again", config.server_url, said)
            sleep(retry.delay_s(failures, retry.CAP_S, getattr(error, "retry_after_s", None)))
        else:
            _keep(config.storage, me)
            return me


def _keep(storage: Path, me: Identity) -> None:
    identity.save(storage, me)
    log.info("registered as %s (worker %s)", me.name, me.worker_id)
