"""One pass of a worker's sync: take its reports, renew what it holds, give it what fits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from flask import current_app
from sqlalchemy import Row

from webapp import clock
from webapp.database import after_commit, run, transaction
from webapp.live.bus import bus, task_topic
from webapp.security import KeyMissing
from webapp.tasks import placements, queue, refusals, reports, statements
from webapp.tasks.data import CannotRun, end_unable, offer
from webapp.tasks.ending import Ending, end_attempt
from webapp.tasks.queue import Held
from webapp.tasks.reports import Arrived
from webapp.tasks.rules import Room
from webapp.workers import presence, twins
from webapp.workers.answers import Cancel, Offer, Reported, SyncAnswer
from webapp.workers.caller import Caller
from webapp.workers.schemas import SyncRequest
from webapp.workers.sync import Answer, Terms

ALL = Terms()
# A claim whose answer crosses the agent's next sync isn't in that sync's `held` yet.
OFFER_GRACE = timedelta(seconds=2)


def exchange(caller: Caller, request: SyncRequest, terms: Terms = ALL) -> Answer:
    """Everything that one sync changes is one transaction: many small tasks then cost one commit."""
    if not terms.claims:
        request = request.model_copy(update={"accepting": False})
    caller = replace(caller, boot_id=request.boot_id)
    held = queue.held_by(caller.worker_id)
    request = _of_its_own(held, request, terms)
    with reports.receiving(caller, request.reports) as arrived:
        offered = placements.offered_by_caller(caller)
        fitting = placements.matching(offered) if _free(caller, held, request) > 0 or arrived else []
        done = Done(held, _room(caller, held, request))
        must_write = arrived or _to_renew(held, request, terms) or _overtaken(held, request, terms)
        if must_write or queue.could_claim(caller, fitting, done.room):
            done = _write(caller, request, arrived, fitting, terms)
    offers = [*done.offers, *_lost_offers(caller, done.held, request, terms)]
    answer = _answer(caller, request, done.held, offers, done.reported)
    answer.free_slots = _free(caller, done.held, request) - len(done.offers)
    answer.offered = replace(offered, occupied=done.room.occupied)
    return answer


@dataclass
class Done:
    """What a pass has changed: `held` before the claim, `room` after it."""

    held: Sequence[Held]
    room: Room
    offers: list[Offer] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)


def _of_its_own(held: Sequence[Held], request: SyncRequest, terms: Terms) -> SyncRequest:
    """Without what it says of attempts that another machine with the same key has: a copied disk brings their journal
    along, and its agent takes them for its own, which have ended with the machine."""
    theirs = {item.attempt_id for item in held if terms.is_elsewhere(item.boot_id)}
    if theirs.isdisjoint([*request.held, *(str(report.get("attempt_id")) for report in request.reports)]):
        return request
    own = {
        "held": [attempt_id for attempt_id in request.held if attempt_id not in theirs],
        "reports": [report for report in request.reports if str(report.get("attempt_id")) not in theirs],
    }
    return request.model_copy(update=own)


def _write(
    caller: Caller, request: SyncRequest, arrived: list[Arrived], fitting: Sequence[str], terms: Terms
) -> Done:
    """Under the worker's lock."""
    lease_s = current_app.config["SETTINGS"].lease_s
    with transaction():
        caller = queue.lock_worker(caller)
        held = queue.held_by(caller.worker_id)
        reported = _end(caller, arrived, _overtaken(held, request, terms))
        renewing = _to_renew(held, request, terms)
        for item in renewing:
            if item.status == "assigned":
                queue.start(item.task_id, item.attempt_id)
        if renewing:
            queue.renew(caller.worker_id, [item.attempt_id for item in renewing], lease_s)
        has_just_refused = any(refusals.is_refusal(item.report) for item in arrived)
        caller = replace(caller, has_refused=caller.has_refused or has_just_refused)
        held = queue.held_by(caller.worker_id)
        room = _room(caller, held, request)
        fitting = placements.still_matching(fitting, caller.worker_id) if room.slots > 0 else []
        claimed = queue.claim(caller, fitting, room, lease_s) if fitting else []
        offers = [ready for task in claimed if (ready := _offer_or_fail(task))]
    return Done(held, room, offers, reported)


def _end(caller: Caller, arrived: Sequence[Arrived], overtaken: Sequence[Held]) -> list[Reported]:
    """What was reported, and what never began. The tasks of one project after those of another, in the same order for
    each worker: the end of git's tasks locks their project until the commit, and two syncs that took the same two the
    other way round would wait for each other.
    """
    reported: list[Reported] = []
    told = {item.attempt_id for item in arrived}
    ending: list[tuple[str, Arrived | Held]] = [(item.project_id or "", item) for item in arrived]
    ending += [(_project_of(item), item) for item in overtaken if item.attempt_id not in told]
    for _, item in sorted(ending, key=itemgetter(0)):
        if isinstance(item, Arrived):
            reported.append(reports.as_reported(item, reports.settle(caller, item)))
        else:
            _end_unstarted(item)
    return reported


def _project_of(item: Held) -> str:
    return placements.wanted(item.placement_id).project_id or ""


def _end_unstarted(item: Held) -> None:
    """A cancel overtook an offer that never arrived: there is nothing to stop."""
    attempt = run(statements.REPORTED_LOCKED, attempt_id=item.attempt_id).one()
    end_attempt(attempt, Ending("cancelled", error="cancelled before it began"))


def _offer_or_fail(task: Row[Any]) -> Offer | None:
    """The offer; None when a key is missing for its secrets, or something else that it needs: then this task fails, and
    the others go on.

    It fails after the commit: its end locks its project, and this transaction has those of others. Where that is never
    reached, it is offered again and fails then.
    """
    try:
        return offer(task)
    except (KeyMissing, CannotRun) as error:
        why = error
    after_commit(lambda: end_unable(task.attempt_id, why))
    return None


def _free(caller: Caller, held: Sequence[Held], request: SyncRequest) -> int:
    """Slots to give work to. Not where a person or its failures have set the worker aside: read anew at each pass."""
    takes_more = request.accepting and not caller.is_draining and not caller.is_quarantined
    return caller.capacity(request.slots) - len(held) if takes_more else 0


def _room(caller: Caller, held: Sequence[Held], request: SyncRequest) -> Room:
    room = Room(slots=_free(caller, held, request) + len(held), plans=request.plan_limit)
    for item in held:
        room.take(placements.wanted(item.placement_id))
    return room


def _to_renew(held: Sequence[Held], request: SyncRequest, terms: Terms) -> list[Held]:
    """What the agent shows and is only assigned yet, or whose lease has aged."""
    shown = set(request.held) if terms.renews else set()
    lease_s = current_app.config["SETTINGS"].lease_s
    return [
        item
        for item in held
        if item.attempt_id in shown
        and (item.status == "assigned" or queue.has_aged(item.lease_expires_at, lease_s))
    ]


def _answer(
    caller: Caller,
    request: SyncRequest,
    held: Sequence[Held],
    offers: list[Offer],
    reported: list[Reported],
) -> Answer:
    settings = current_app.config["SETTINGS"]
    cancel: list[Cancel] = [
        {"attempt_id": item.attempt_id, "reason": "cancelled by a person"}
        for item in held
        if item.cancel_requested_at and item.attempt_id in request.held
    ]
    known = {item.attempt_id for item in held} | {row["attempt_id"] for row in reported}
    unknown = [attempt_id for attempt_id in request.held if attempt_id not in known]
    stream = [item.attempt_id for item in held if bus.is_watched(task_topic(item.task_id))]
    body: SyncAnswer = {
        "offers": offers,
        "cancel": cancel,
        "unknown": unknown,
        "reported": reported,
        "stream": stream,
        "drain": caller.is_draining,
        "announce": caller.announcement,
        "lease_s": settings.lease_s,
        "lost_after_s": settings.lost_after_s,
    }
    wants_rotation = caller.wants_rotation and not twins.is_recent(caller.worker_id)
    if wants_rotation:
        body["rotate_key"] = True
    levels = [f"cancel:{row['attempt_id']}" for row in cancel]
    levels += [f"stream:{attempt_id}" for attempt_id in stream]
    levels += ["drain"] * caller.is_draining
    levels += ["rotate_key"] * wants_rotation
    levels += [f"announce:{caller.announcement}"] * bool(caller.announcement)
    is_news = presence.tell(caller.worker_id, levels)
    return Answer(body, is_news=bool(offers or unknown or reported or is_news))


def _overtaken(held: Sequence[Held], request: SyncRequest, terms: Terms) -> list[Held]:
    """Cancelled, and the agent has shown that it hasn't begun it. What it said before the offer, as a call that waits
    has, shows nothing: it may run since."""
    return _lost(held, request, terms, terms.heard_at or clock.now(), is_cancelled=True)


def _lost(
    held: Sequence[Held], request: SyncRequest, terms: Terms, by: datetime, *, is_cancelled: bool
) -> list[Held]:
    """Assigned for a while by then and not shown: the answer with the offer got lost. Where it went to another machine
    with the same key, only that one can tell."""
    shown, late = set(request.held), by - OFFER_GRACE
    return [
        item
        for item in held
        if item.status == "assigned"
        and item.attempt_id not in shown
        and item.created_at < late
        and bool(item.cancel_requested_at) == is_cancelled
        and not terms.is_elsewhere(item.boot_id)
    ]


def _lost_offers(caller: Caller, held: Sequence[Held], request: SyncRequest, terms: Terms) -> list[Offer]:
    """The same attempts again, with the same ids."""
    lost = _lost(held, request, terms, clock.now(), is_cancelled=False) if request.accepting else []
    if not lost:
        return []
    with transaction():
        return [ready for item in lost if (ready := _offered_again(caller, item))]


def _offered_again(caller: Caller, item: Held) -> Offer | None:
    """Its lease began with the first offer, and isn't renewed by repeating it: nobody has shown that he has it."""
    task = queue.offer_again(caller.worker_id, item.attempt_id)
    ready = None if task is None else _offer_or_fail(task)
    if ready is not None:
        ready["lease_left_s"] = max(0.0, (item.lease_expires_at - clock.now()).total_seconds())
    return ready
