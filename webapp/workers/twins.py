"""Two machines with one key, as after a disk was cloned: noticed, and kept from starting the same attempt.

An agent's session is new at each start, its `boot_id` at each boot and for each copy of its folder: neither ever comes
back once another has followed. What does come back is a second machine, and both are alive.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import select

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import system
from webapp.database import transaction
from webapp.workers.models import Worker
from webapp.workers.schemas import SyncRequest
from webapp.workers.service import announce

# What an agent that was killed had still sent comes within this time after its successor's first words.
LATE = timedelta(seconds=15)
# For so long after it was seen a twin counts as being there.
RECENT = timedelta(minutes=2)
NOTED_EVERY = timedelta(minutes=1)
FORGOTTEN_AFTER = timedelta(hours=1)
SESSIONS_MOST = 50


@dataclass
class Session:
    """One start of an agent, as far as it was heard. `followed_at`: when another one was first heard after it."""

    boot_id: str
    began_at: datetime
    heard_at: datetime
    address: str = ""
    followed_at: datetime | None = None


@dataclass
class Voices:
    """All that speaks with one worker's keys."""

    sessions: dict[str, Session] = field(default_factory=dict)
    newest: str = ""
    twin_seen_at: datetime | None = None
    twin_address: str = ""
    noted_at: datetime | None = None


_voices: dict[str, Voices] = {}
_began_at = clock.now()


def heard(worker_id: str, request: SyncRequest, address: str) -> None:
    """A sync or a heartbeat."""
    now = clock.now()
    voices = _voices.setdefault(worker_id, Voices())
    mine = voices.sessions.setdefault(request.session_id, Session(request.boot_id, now, now))
    mine.heard_at, mine.address, mine.boot_id = now, address, request.boot_id
    if voices.newest not in ("", request.session_id):
        other = voices.sessions[voices.newest]
        other.followed_at = other.followed_at or now
        if mine.followed_at is not None and now - mine.followed_at > LATE:
            voices.twin_seen_at = now
            voices.twin_address = max(mine, other, key=lambda session: session.began_at).address
    voices.newest = request.session_id
    if len(voices.sessions) > SESSIONS_MOST:
        others = voices.sessions.keys() - {voices.newest}
        del voices.sessions[min(others, key=lambda name: voices.sessions[name].heard_at)]


def is_recent(worker_id: str) -> bool:
    """Whether two machines use this worker's key just now."""
    voices = _voices.get(worker_id)
    seen_at = voices.twin_seen_at if voices else None
    return seen_at is not None and clock.now() - seen_at < RECENT


def is_elsewhere(worker_id: str, mine: str, boot_id: str) -> bool:
    """Whether what was given to `boot_id` is another machine's than the one of `mine`, which may well run it still.

    One whose boots are the same is the same: an agent locks its folder. Who doesn't say its boot can't be told apart.
    """
    if not mine or not boot_id or mine == boot_id:
        return False
    voices = _voices.get(worker_id, Voices())
    heard = [session.heard_at for session in voices.sessions.values() if session.boot_id == boot_id]
    silent_for = clock.now() - max(heard, default=_began_at)
    return silent_for < timedelta(seconds=current_app.config["SETTINGS"].offline_after_s)


def note() -> None:
    """Housekeeping: put down which workers have a twin, and forget who hasn't spoken for long."""
    _forget(clock.now() - FORGOTTEN_AFTER)
    for worker_id, voices in list(_voices.items()):
        seen_at, noted_at = voices.twin_seen_at, voices.noted_at
        if seen_at is not None and (noted_at is None or seen_at - noted_at > NOTED_EVERY):
            voices.noted_at = seen_at
            _note(worker_id, seen_at, voices.twin_address)


def _note(worker_id: str, seen_at: datetime, address: str) -> None:
    with transaction() as session:
        worker = session.scalar(select(Worker).where(Worker.id == worker_id).with_for_update())
        if worker is None:
            return
        if worker.twin_seen_at is None:
            after = {"address": address}
            audit.record(
                system(worker.organisation_id), "worker.twin-seen", worker.name, worker.id, after=after
            )
        worker.twin_seen_at, worker.twin_address = seen_at, address
        announce(worker)


def _forget(before: datetime) -> None:
    for worker_id, voices in list(_voices.items()):
        kept = {name: one for name, one in voices.sessions.items() if one.heard_at > before}
        if kept:
            voices.sessions = kept
            voices.newest = voices.newest if voices.newest in kept else ""
        else:
            del _voices[worker_id]
