"""One start of the agent: takes up what an earlier one left, then works until it is told to end."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent import __version__, durable, machine, orphans, tools
from agent.attempt import Attempt, Workshop
from agent.config import MAX_SLOTS, Config
from agent.control import Control
from agent.identity import Identity
from agent.journal import SAFE_ID, Place
from agent.loop import IN_FLIGHT, Loop
from agent.notices import Notices
from agent.offer import BadOffer, Offer
from agent.pool import Pool
from agent.pump import Pump
from agent.server import Server
from agent.spool import Ended, Spool

log = logging.getLogger("agent")


class Session:
    """The loop's crew, and everything that lives as long as the program."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self._config = config
        self._session_id = str(uuid.uuid4())
        self._boot_id = machine.boot_id()
        self._gauges = machine.Gauges(config.jobs, config.disk_floor_bytes)
        self._was_disk_low = False
        self._spool = Spool(config.storage / "spool")
        self._ended = Ended(config.storage / "ended")
        self._cleaners = Pool("clean", 1)
        server = Server(config.server_url, identity.worker_id, identity.api_key)
        self._pump = Pump(server)
        self.loop = Loop(server, self, config.slots, Notices(config.server_url, identity.code))
        self._workshop = Workshop(
            server, self._pump, self._spool, config.jobs, self._boot_id, self._reportable, self.loop.drop
        )
        self._control = Control(config.server_url, identity.worker_id, identity.api_key, self.loop)
        self._adopted: list[Attempt] = []
        self._adopt()
        # The server counts the slots, and a person there may give more than this machine asked for.
        self._slots = Pool("slot", MAX_SLOTS)

    def start(self) -> None:
        for attempt in self._adopted:
            self._slots.submit(attempt.run)
        threading.Thread(target=self._pump.run, name="pump", daemon=True).start()
        for number in range(IN_FLIGHT):
            threading.Thread(target=self.loop.run, name=f"sync-{number}", daemon=True).start()
        if self._config.has_control_socket:
            threading.Thread(target=self._control.run, name="control", daemon=True).start()

    def drain(self) -> None:
        self.loop.stop_accepting()

    def cancel_all(self) -> None:
        for attempt in self.loop.held():
            attempt.cancel("the agent was stopped")
            attempt.wish.hurry()

    def end(self) -> None:
        self.loop.end()

    @property
    def is_idle(self) -> bool:
        """Nothing held, and what was reported is cleared away: the next agent finds nothing to do over."""
        return not self.loop.held() and self._cleaners.is_idle

    def _reportable(self, attempt: Attempt) -> None:
        self.loop.report(attempt)
        self._control.ended(attempt)

    # For the loop.

    def take(self, raw: dict[str, Any]) -> Attempt | None:
        try:
            offer = Offer.parse(raw)
        except BadOffer as error:
            log.warning("%s: ignored", error)
            return None
        if offer.attempt_id in self._ended:
            return None
        data = raw.get("data")
        attempt = Attempt(self._workshop, offer, data=data if isinstance(data, dict) else None)
        self._slots.submit(attempt.run)
        return attempt

    def clean(self, attempts: list[Attempt]) -> None:
        """Remembered at once, because an older answer may still offer them; their files can wait a moment."""
        for attempt in attempts:
            self._ended.add(attempt.attempt_id, on_disk=not attempt.is_repeatable)
        left = [attempt for attempt in attempts if not attempt.is_repeatable]
        if left:
            self._cleaners.submit(lambda: _clean(left))

    def watch(self, attempt_ids: Iterable[str]) -> None:
        self._pump.watch(attempt_ids)

    def declaration(self) -> dict[str, Any]:
        return describe(self._config)

    def situation(self) -> dict[str, Any]:
        return {
            "session_id": self._session_id,
            "boot_id": self._boot_id,
            "slots": self._config.slots,
            "plan_limit": self._config.plan_limit,
            "metrics": self._gauges.metrics(),
        }

    def is_able(self) -> bool:
        """Not with a disk that is nearly full: tasks would fail half-way."""
        self._gauges.metrics()
        is_low = self._gauges.is_disk_low
        if is_low != self._was_disk_low:
            self._was_disk_low = is_low
            where = self._config.jobs
            log.warning(
                "%s", f"disk of {where} is nearly full: no new work" if is_low else f"{where} has room again"
            )
        return not is_low

    # What an earlier session left.

    def _adopt(self) -> None:
        reported = {report["attempt_id"] for report in map(self._restore, self._spool.load())}
        for path in sorted(self._config.jobs.iterdir()):
            if path.is_dir() and SAFE_ID.fullmatch(path.name) and path.name not in reported:
                self._take_up(path)

    def _restore(self, report: dict[str, Any]) -> dict[str, Any]:
        offer = Offer.parse({**report, "tool": ""})
        attempt = Attempt(self._workshop, offer)
        attempt.restore(report)
        self.loop.hold(attempt)
        attempt.flush()
        return report

    def _take_up(self, path: Path) -> None:
        place = Place(path)
        entry = place.read_journal()
        try:
            offer = None if entry is None else Offer.parse(entry.offer)
        except BadOffer as error:
            durable.set_aside(place.journal, str(error))
            offer = None
        if offer is not None and offer.attempt_id == path.name:
            attempt = Attempt(self._workshop, offer, entry=entry)
            self.loop.hold(attempt)
            self._adopted.append(attempt)
        elif place.journal.with_name("journal.json.bad").exists():
            # It may have run, so it never shall again; what still runs of it nobody can watch any more.
            self._ended.add(path.name)
            orphans.end_all(path.name, None)
        else:
            place.remove()  # without a journal nothing was started


def describe(config: Config) -> dict[str, Any]:
    """What this agent is: for register, and for the first sync of each session."""
    return {
        "hostname": machine.host_name(),
        "platform": machine.describe(),
        "agent_version": __version__,
        "labels": config.labels,
        "tools": [tool.declaration() for tool in tools.registry().values()],
    }


def _clean(attempts: list[Attempt]) -> None:
    for attempt in attempts:
        attempt.clean()
