"""Who was seen when, in memory: a sync that finds nothing writes nothing to the database."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import bindparam, update

from webapp import clock
from webapp.database import run_many, table_of, transaction
from webapp.workers.models import Worker
from webapp.workers.schemas import Metrics, SyncRequest

SAMPLE_EVERY = timedelta(minutes=1)
SAMPLES = 60

_workers = table_of(Worker)
_SAVE = (
    update(_workers)
    .where(_workers.c.id == bindparam("seen_id"))
    .values(last_seen_at=bindparam("last_seen_at"))
)


@dataclass(frozen=True)
class Use:
    """When a key was used last, and from where."""

    at: datetime
    address: str


@dataclass
class Presence:
    seen_at: datetime
    address: str = ""
    session_id: str = ""
    accepting: bool = True
    not_accepting: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    # What this session of the agent was told already: see `tell`.
    told: set[str] = field(default_factory=set)
    uses: dict[str, Use] = field(default_factory=dict)  # of its keys
    samples: deque[tuple[datetime, Metrics]] = field(default_factory=lambda: deque(maxlen=SAMPLES))


_presences: dict[str, Presence] = {}
_unsaved: set[str] = set()
_unsaved_uses: set[tuple[str, str]] = set()


def seen(worker_id: str, address: str) -> Presence:
    """Any authenticated call of a worker proves that it lives. Returns what is known of it."""
    presence = _presences.setdefault(worker_id, Presence(clock.now()))
    presence.seen_at = clock.now()
    presence.address = address
    _unsaved.add(worker_id)
    return presence


def used(worker_id: str, key_id: str, address: str) -> None:
    """One of its keys, just now: whoever uses one was seen."""
    seen(worker_id, address).uses[key_id] = Use(clock.now(), address)
    _unsaved_uses.add((worker_id, key_id))


def use_of(worker_id: str, key_id: str) -> Use | None:
    """None where it wasn't used since this process began."""
    presence = _presences.get(worker_id)
    return presence.uses.get(key_id) if presence else None


def unsaved_uses() -> dict[str, Use]:
    """By key, each once: whoever asks writes them down."""
    found = {key_id: use_of(worker_id, key_id) for worker_id, key_id in sorted(_unsaved_uses)}
    _unsaved_uses.clear()
    return {key_id: use for key_id, use in found.items() if use}


def forget_key(worker_id: str, key_id: str) -> None:
    if worker_id in _presences:
        _presences[worker_id].uses.pop(key_id, None)


def heard(presence: Presence, request: SyncRequest) -> None:
    """What an agent says of itself in a sync or a heartbeat. One that started anew has forgotten what it was told."""
    if presence.session_id != request.session_id:
        presence.session_id = request.session_id
        presence.told.clear()
    presence.accepting, presence.not_accepting = request.accepting, request.not_accepting
    presence.metrics = request.metrics
    if not presence.samples or presence.seen_at - presence.samples[-1][0] >= SAMPLE_EVERY:
        presence.samples.append((presence.seen_at, request.metrics))


def tell(worker_id: str, said: Collection[str]) -> bool:
    """Note what an answer is about to say: `cancel:{id}`, `stream:{id}`, `drain`, `announce:…`. → whether any is new.

    News ends the wait of a parked call; what was said before rides along with whatever comes next.
    """
    presence = _presences.get(worker_id)
    if presence is None:
        return bool(said)
    is_new = presence.told != set(said)
    presence.told = set(said)
    return is_new


def heard_since(moment: datetime) -> list[tuple[str, Metrics]]:
    """(worker_id, its newest vitals) of those that were seen since then and have said any."""
    return [
        (worker_id, presence.metrics)
        for worker_id, presence in sorted(_presences.items())
        if presence.seen_at > moment and presence.metrics.model_fields_set
    ]


def of(worker: Worker) -> Presence | None:
    return _presences.get(worker.id)


def seen_at(worker: Worker) -> datetime | None:
    presence = _presences.get(worker.id)
    return presence.seen_at if presence else worker.last_seen_at


def refusal(worker: Worker) -> str | None:
    """Why its agent takes no new work, in its own words; empty where it doesn't say; None where it takes work."""
    presence = _presences.get(worker.id)
    return None if presence is None or presence.accepting else presence.not_accepting


def forget(worker_id: str) -> None:
    _presences.pop(worker_id, None)
    _unsaved.discard(worker_id)


def save() -> None:
    """Housekeeping: write down who was seen since the last time, for after a restart."""
    rows = [
        {"seen_id": key, "last_seen_at": _presences[key].seen_at}
        for key in sorted(_unsaved)
        if key in _presences
    ]
    _unsaved.clear()
    if rows:
        with transaction():
            run_many(_SAVE, rows)  # one that was removed meanwhile is passed over
