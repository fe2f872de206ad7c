"""One start of the agent: takes up what an earlier one left, then works until it is told to end."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import PROTOCOL, __version__, durable, ending, files, leftovers, machine, orphans, spool, tools
from agent.attempt import Attempt
from agent.config import MAX_SLOTS, Config
from agent.control import Control
from agent.diary import Diary
from agent.ending import Ending
from agent.git import leftovers as half_done
from agent.identity import Identity
from agent.journal import SAFE_ID, Place
from agent.loop import IN_FLIGHT, Loop
from agent.notices import Notices
from agent.offer import BadOffer, Offer, task_of
from agent.owner import Owner
from agent.policy import Policy, short
from agent.pool import Pool
from agent.probes import Prober, declarations
from agent.pump import Pump
from agent.rotation import Rotation
from agent.server import Server
from agent.snapshot import Snapshot
from agent.spool import Ended, Spool
from agent.tools import Finding
from agent.workshop import Workshop

log = logging.getLogger("agent")

ROUND_S = 600.0
OWNER_S = 2.0
# While a tool doesn't work: perhaps the machine was only too busy to answer, as it is while it starts.
SOON_S = 30.0


class Session:
    """The loop's crew, and everything that lives as long as the program."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self._config = config
        self._session_id = str(uuid.uuid4())
        self._boot_id = machine.boot_id()
        self._gauges = machine.Gauges(config.jobs, config.disk_floor_bytes)
        self._was_disk_low = False
        self._owner = Owner(config)
        self._declared = self._owner.policy()
        self._is_stopping = False
        self._is_over = threading.Event()
        self._prober = Prober(tools.registry().values())
        self._spool = Spool(config.storage / spool.FOLDER)
        self._ended = Ended(config.storage / "ended")
        self._cleaners = Pool("clean", 1)
        server = Server(
            config.server_url, identity.worker_id, identity.api_key, config.pin, identity.former_key
        )
        self._pump = Pump(server)
        notices = Notices(config.server_url, identity.code)
        self._standing = notices.standing
        self.loop = Loop(server, self, config.slots, notices)
        self.diary = Diary(config.storage, self._snapshot)
        self._workshop = self._furnished(server)
        self._control = Control(server, self.loop)
        self._rotation = Rotation(config.storage, identity, server, self._learn_key)
        self._rotation.when_used = self._control.reconnect
        self._adopted: list[Attempt] = []
        self._untold: list[
            Attempt
        ] = []  # they ended, and the server may not have heard what became of a project
        self._adopt()
        self._clear_projects()
        # The server counts the slots, and a person there may give more than this machine asked for.
        self._slots = Pool("slot", MAX_SLOTS)

    def _furnished(self, server: Server) -> Workshop:
        return Workshop(
            server,
            self._pump,
            self._spool,
            self._config.jobs,
            self._config.roots,
            self._boot_id,
            self._reportable,
            self._dropped,
            self._config.log_cap,
            self._owner.policy,
            lambda: {attempt.attempt_id for attempt in self.loop.held()},
            self._config.disk_floor_bytes,
        )

    def start(self) -> None:
        for attempt in self._adopted:
            self._slots.submit(attempt.run)
        for attempt in self._untold:
            self._slots.submit(attempt.deliver)
        threading.Thread(target=self._pump.run, name="pump", daemon=True).start()
        for number in range(IN_FLIGHT):
            threading.Thread(target=self.loop.run, name=f"sync-{number}", daemon=True).start()
        if self._config.has_control_socket:
            threading.Thread(target=self._control.run, name="control", daemon=True).start()
        threading.Thread(target=self._make_rounds, name="rounds", daemon=True).start()
        threading.Thread(target=self._mind_the_owner, name="owner", daemon=True).start()
        threading.Thread(target=self._rotation.run, name="rotation", daemon=True).start()
        threading.Thread(target=self.diary.run, name="diary", daemon=True).start()

    def _make_rounds(self) -> None:
        work = self.sweep
        self._prober.now()
        while not self._is_over.is_set():
            try:
                work()
            except Exception:
                log.exception("an error that nobody expected")
            self._is_over.wait(ROUND_S if self._prober.all_work else SOON_S)
            work = self.make_round

    def make_round(self) -> None:
        """What is looked at now and then: the tools, and the room that earlier sessions take."""
        if self._prober.look():
            self.loop.redeclare()
        self.sweep()

    def _mind_the_owner(self) -> None:
        """Offers are judged by the file as it is anyway; the server hears soon that it is another."""
        while not self._is_over.wait(OWNER_S):
            policy = self._owner.policy()
            if policy is not self._declared:
                self._declared = policy
                self.loop.redeclare()

    def sweep(self) -> None:
        leftovers.sweep(
            self._config.jobs,
            self._config.jobs_bytes,
            self._workshop.held,
        )

    def drain(self) -> None:
        self._is_stopping = True
        self.loop.stop_accepting()

    def part(self, seconds: float) -> None:
        """Wait so long at most until the server knows that nothing more is taken."""
        self.loop.has_parted.wait(seconds)

    def cancel_all(self) -> None:
        for attempt in self.loop.held():
            attempt.cancel("the agent was stopped")
            attempt.wish.hurry()

    def end(self) -> None:
        self._is_over.set()
        self.loop.end()

    @property
    def is_idle(self) -> bool:
        """Nothing held, and what was reported is cleared away: the next agent finds nothing to do over."""
        return not self.loop.held() and self._cleaners.is_idle

    def _reportable(self, attempt: Attempt) -> None:
        self.loop.report(attempt)
        self._control.ended(attempt)

    def _dropped(self, attempt: Attempt) -> None:
        """Remembered before it isn't held any more: an answer that was overtaken may still offer it."""
        self._ended.add(attempt.attempt_id, on_disk=not attempt.is_repeatable)
        self.loop.drop(attempt)

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
        data = data if isinstance(data, dict) else None
        attempt = Attempt(self._workshop, offer, data=data, refusal=self._refusal(offer, data))
        self._slots.submit(attempt.run)
        return attempt

    def _refusal(self, offer: Offer, data: dict[str, Any] | None) -> Ending | None:
        """How an offer ends that the machine's owner doesn't allow, or that had been made before the server heard that
        no more is taken. It is the worker's already, so that passing over it would keep the task waiting until it counts
        as lost."""
        if self._is_stopping:
            return ending.offer_lost("the agent was stopping and did not start this")
        tool = tools.registry().get(offer.tool)
        rule = self._owner.policy().refusal(offer, tool, _input_of(data))
        if rule is not None:
            return ending.refused(rule)
        reason = self._disk_low()
        return ending.disk_low(f"not started: {reason}") if reason else None

    def clean(self, attempts: list[Attempt]) -> None:
        """Remembered at once, because an older answer may still offer them; their files can wait a moment."""
        for attempt in attempts:
            self._ended.add(attempt.attempt_id, on_disk=not attempt.is_repeatable)
        left = [attempt for attempt in attempts if not attempt.is_repeatable]
        if left:
            self._cleaners.submit(lambda: _clean(left))

    def rotate_key(self) -> None:
        self._rotation.ask()

    def _learn_key(self) -> None:
        for attempt in self.loop.held():
            attempt.learn_key()

    def watch(self, attempt_ids: Iterable[str]) -> None:
        self._pump.watch(attempt_ids)

    def declaration(self) -> dict[str, Any]:
        return describe(self._config, self._prober.now(), self._declared)

    def situation(self) -> dict[str, Any]:
        return {
            "session_id": self._session_id,
            "boot_id": machine.boot_of(self._config.storage),
            "slots": self._config.slots,
            "plan_limit": self._config.plan_limit,
            "metrics": self._gauges.metrics(),
        }

    def unable(self) -> str:
        if problem := self._owner.policy().problem:
            return f"the owner’s policy: {short(problem)}"
        if len(self.loop.held()) >= files.most_tasks():
            return f"no more tasks than {files.most_tasks()}: this account may open no more files"
        return self._disk_low()

    def _disk_low(self) -> str:
        """With a disk that is nearly full, tasks would fail half-way."""
        self._gauges.metrics()
        is_low = bool(self._gauges.disk_low)
        if is_low != self._was_disk_low:
            self._was_disk_low = is_low
            where = self._config.jobs
            log.warning(
                "%s", f"disk of {where} is nearly full: no new work" if is_low else f"{where} has room again"
            )
        return self._gauges.disk_low

    # For those who look from outside.

    def _snapshot(self, blank: Snapshot) -> Snapshot:
        held = self.loop.held()
        running = sum(attempt.report is None for attempt in held)
        word = self._standing.word
        return replace(
            blank,
            state=word.state,
            detail=word.detail,
            synced_at=self._standing.synced_at,
            running=running,
            undelivered=len(held) - running,
            slots=self._config.slots,
            refusing=self.loop.refusing(),
            disk_free=int(self._gauges.metrics()["disk_free_bytes"]),
            disk_floor=self._config.disk_floor_bytes,
            jobs=str(self._config.jobs),
            projects=str(self._config.roots.projects),
            mirrors=str(self._config.roots.mirrors),
            tools={name: found.to_dict() for name, found in self._prober.found.items()},
            policy=self._owner.policy().to_dict(),
        )

    # What an earlier session left.

    def _adopt(self) -> None:
        reported = {report["attempt_id"] for report in map(self._restore, self._spool.load())}
        for path in sorted(self._config.jobs.iterdir()):
            if path.is_dir() and SAFE_ID.fullmatch(path.name) and path.name not in reported:
                self._take_up(path)

    def _clear_projects(self) -> None:
        """Of what ran when the machine or the agent went down. Before anything new begins: that has its halves there too."""
        removed = half_done.sweep(self._config.roots.projects, self._workshop.held())
        if removed:
            log.info("projects: removed what was half done: %s", ", ".join(removed))

    def _restore(self, report: dict[str, Any]) -> dict[str, Any]:
        offer = Offer.parse({**report, "tool": ""})
        attempt = Attempt(self._workshop, offer)
        attempt.restore(report)
        self.loop.hold(attempt)
        if attempt.calls_back:
            self._untold.append(attempt)
        else:
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
        if offer is not None and path.name in self._ended:
            place.remove()  # its report was taken; the agent ended before this was cleared away
        elif offer is not None and offer.attempt_id == path.name:
            attempt = Attempt(self._workshop, offer, entry=entry)
            self.loop.hold(attempt)
            self._adopted.append(attempt)
        elif place.is_set_aside:  # what still runs of it nobody can watch any more
            self._ended.add(path.name)
            orphans.end_all(path.name, None)
        else:
            place.remove()  # without a journal nothing was started


def describe(config: Config, found: Mapping[str, Finding], policy: Policy) -> dict[str, Any]:
    """What this agent is: for register, for the first sync of each session, and when what was found is another."""
    return {
        "hostname": machine.host_name(),
        "platform": machine.describe(),
        "agent_version": __version__,
        "protocol": PROTOCOL,
        "labels": config.labels,
        "policy": policy.to_dict(),
        "tools": declarations(tools.registry().values(), policy.on(found)),
    }


def _clean(attempts: list[Attempt]) -> None:
    for attempt in attempts:
        attempt.clean()


def _input_of(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the task was given, where the offer brought it along."""
    try:
        return None if data is None else task_of(data).get("input") or {}
    except BadOffer:
        return None
