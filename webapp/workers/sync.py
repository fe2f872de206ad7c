"""The long poll: one parked call a worker, the newest wins, and nobody who waits holds a database connection."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import cast

from flask import current_app

from webapp import clock
from webapp.database import release
from webapp.live.bus import Waiter, bus, worker_topic
from webapp.workers import identify, presence, twins
from webapp.workers.answers import SyncAnswer
from webapp.workers.caller import Caller, refuse_status
from webapp.workers.rules import protocol_notice
from webapp.workers.schemas import SyncRequest
from webapp.workers.service import introduce

# How often a parked call looks at the database although nobody woke it.
FLOOR_S = 5.0


@dataclass
class Answer:
    """What a sync answers. `is_news`: worth ending the wait for."""

    body: SyncAnswer = field(default_factory=lambda: cast(SyncAnswer, {}))
    is_news: bool = False
    free_slots: int = 0
    # What the worker offers, as the domain that dispatches understands it.
    offered: object = None


@dataclass(frozen=True)
class Terms:
    """What a pass may do. `claims`: give work. `renews`: the agent has just said what it holds.

    `heard_at`: when it said that; None: now. `is_elsewhere`: whether what was given to this `boot_id` is another
    machine's with the same key, of which this one can say nothing.
    """

    claims: bool = True
    renews: bool = True
    heard_at: datetime | None = None
    is_elsewhere: Callable[[str], bool] = lambda boot_id: False


# Filled by create_app with the domain that knows of tasks: takes the caller and the request, does one pass.
# The second time in one call the reports are not given again.
def nobody(caller: Caller, request: SyncRequest, terms: Terms) -> Answer:
    raise RuntimeError("create_app fills this")


exchange: Callable[[Caller, SyncRequest, Terms], Answer] = nobody


@dataclass
class Parked:
    """A call that waits for work."""

    worker_id: str
    organisation_id: str
    waiter: Waiter
    free_slots: int = 0
    offered: object = None
    is_superseded: bool = False
    session_id: str = ""  # of the agent, as far as it has said

    def supersede(self) -> None:
        """Somebody newer has taken its place."""
        self.is_superseded, self.free_slots = True, 0
        self.waiter.wake()

    def is_over(self) -> bool:
        """Asked again after each wait: a method, since it changes under the caller."""
        return self.is_superseded or bus.stopping.is_set()


_parked: dict[str, Parked] = {}
_lock = threading.Lock()
# Workers whose control socket is open: work goes down that, and their sync reports and renews.
pushed_to: dict[str, Parked] = {}


def parked_workers() -> list[Parked]:
    """Those that would take work now, each where it is given out."""
    with _lock:
        found = {**_parked, **pushed_to}.values()
        return [parked for parked in found if parked.free_slots > 0]


def _end_stale_socket(caller: Caller, request: SyncRequest) -> None:
    """The agent has started anew: what its former self has open, perhaps half, would swallow the next task."""
    pushed = pushed_to.get(caller.worker_id)
    if pushed is not None and pushed.session_id not in ("", request.session_id):
        pushed_to.pop(caller.worker_id, None)
        pushed.supersede()


def _terms(caller: Caller, request: SyncRequest, heard_at: datetime) -> Terms:
    """One dispatcher a worker. A sync that brings reports claims all the same: what they free is filled in the same
    transaction, under the worker's lock, instead of in a second one."""
    claims = bool(request.reports) or caller.worker_id not in pushed_to
    is_elsewhere = partial(twins.is_elsewhere, caller.worker_id, request.boot_id)
    return Terms(claims, heard_at=heard_at, is_elsewhere=is_elsewhere)


def sync(caller: Caller, request: SyncRequest, address: str, is_connected: Callable[[], bool]) -> SyncAnswer:
    """Report, renew, and wait up to `wait_s` for something to say. Raises when the worker may not work."""
    seen = presence.seen(caller.worker_id, address)
    presence.heard(seen, request)
    twins.heard(caller.worker_id, request, address)
    heard_at = seen.seen_at
    deadline = clock.monotonic() + min(request.wait_s, current_app.config["SETTINGS"].sync_wait_s)
    with _park(caller) as parked:
        caller = _wait_for_approval(caller, parked, deadline)
        if request.introduces:
            _end_stale_socket(caller, request)
            introduce(caller.worker_id, request, request.slots, request.plan_limit)
            caller = identify.again(caller)
        answer = exchange(caller, request, _terms(caller, request, heard_at))
        again = request.model_copy(update={"reports": []})
        while not answer.is_news and _wait(parked, answer, deadline):
            if not is_connected():
                break  # claiming for a caller that has gone would make the task wait for its lease
            caller = identify.again(caller)
            refuse_status(caller.status)
            answer = exchange(caller, again, _terms(caller, again, heard_at))
    if request.introduces and (notice := protocol_notice(request.protocol)):
        answer.body["notice"] = notice
    return answer.body


def _wait_for_approval(caller: Caller, parked: Parked, deadline: float) -> Caller:
    """A pending worker's call is held too, so that it starts working the moment it is approved."""
    while caller.status == "pending" and _wait(parked, Answer(), deadline):
        caller = identify.again(caller)
    refuse_status(caller.status)
    return caller


def _wait(parked: Parked, answer: Answer, deadline: float) -> bool:
    """Wait for a wake-up or the next look. False when this call is over: late, superseded, or the server stops."""
    left = deadline - clock.monotonic()
    if left <= 0 or parked.is_over():
        return False
    release()
    parked.offered, parked.free_slots = answer.offered, answer.free_slots
    parked.waiter.wait(min(left, FLOOR_S))
    parked.free_slots = 0
    return not parked.is_over() and clock.monotonic() < deadline


@contextmanager
def _park(caller: Caller) -> Iterator[Parked]:
    """Take the worker's place; a call that was there ends, empty."""
    with bus.listen(worker_topic(caller.worker_id)) as waiter:
        parked = Parked(caller.worker_id, caller.organisation_id, waiter)
        with _lock:
            older = _parked.get(caller.worker_id)
            _parked[caller.worker_id] = parked
        if older:
            older.supersede()
        try:
            yield parked
        finally:
            with _lock:
                if _parked.get(caller.worker_id) is parked:
                    del _parked[caller.worker_id]
