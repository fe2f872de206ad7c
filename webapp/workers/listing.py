"""Workers as the pages show them: facts, presence and what they hold, put together once a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webapp import clock
from webapp.workers import control, presence, release, state
from webapp.workers.access import workers_after, workers_of
from webapp.workers.models import Worker
from webapp.workers.rules import PROTOCOL, ShownStatus, is_disk_low, is_older
from webapp.workers.schemas import WorkerQuery
from webapp.workers.vitals import Day

# A busy worker is seen many times a second: whole steps keep an unchanged fragment the same.
SEEN_STEP_S = 10
SPARK_POINTS = 20
GLANCE = ("busy", "unreachable", "quarantined", "draining", "online")
READ_AT_ONCE = 250


@dataclass(frozen=True)
class Shown:
    """A worker, with what isn't in its row."""

    worker: Worker
    status: ShownStatus
    held: int
    seen_at: datetime | None

    @property
    def presence(self) -> presence.Presence | None:
        return presence.of(self.worker)

    def samples(self, name: str) -> list[float]:
        """One vital (a field of Metrics) over the last hour, oldest first: as many as such a small picture shows."""
        seen = self.presence
        values = [getattr(metrics, name) for _, metrics in seen.samples] if seen else []
        step = -(-len(values) // SPARK_POINTS) or 1
        return [float(value) for value in values[::-step][::-1] if value is not None]

    def now(self, name: str) -> float | None:
        """One vital; None where it has fallen silent: what it said then says nothing of now."""
        seen = self.presence if self.answers else None
        value = getattr(seen.metrics, name) if seen else None
        return None if value is None else float(value)

    def latest(self, name: str, day: Day) -> float | None:
        """The same, or after a restart of the server the last that is stored."""
        value = self.now(name)
        points = day.points(name)
        return points[-1][1] if value is None and points else value

    @property
    def is_up(self) -> bool:
        """It takes work, or will when it has room."""
        return self.status in ("online", "busy")

    @property
    def at_a_glance(self) -> int:
        """Its place in a short list: who works first, then who isn't as he should be."""
        return GLANCE.index(self.status) if self.status in GLANCE else len(GLANCE)

    @property
    def answers(self) -> bool:
        """Its agent is there, whether or not it may have more work."""
        return self.is_up or self.status in ("draining", "quarantined")

    @property
    def socket_since(self) -> datetime | None:
        """When its control socket was opened; None where it has only its sync."""
        connection = control.connection_of(self.worker.id)
        return connection.connected_at if connection else None

    @property
    def newer_agent(self) -> str | None:
        """The version that this server gives away, where its agent is an older one."""
        newest = release.version()
        return newest if is_older(self.worker.agent_version, newest) else None

    @property
    def is_behind(self) -> bool:
        """Its agent speaks an older protocol than this server: it is served, and had better be updated."""
        return self.worker.protocol < PROTOCOL and self.worker.status == "approved"

    @property
    def back_at(self) -> datetime | None:
        """When its quarantine ends; None where it isn't in one."""
        until = self.worker.quarantined_until
        return until if until and until > clock.now() and self.worker.status == "approved" else None

    @property
    def refusal(self) -> str | None:
        """Why its agent takes no new work, in its own words. One that drains says so too: that is no news."""
        words = presence.refusal(self.worker) if self.answers and self.status != "draining" else None
        return None if words is None else words or "it doesn’t say why"

    @property
    def is_disk_low(self) -> bool:
        free = self.now("disk_free_bytes")
        return self.answers and free is not None and is_disk_low(free, self.now("disk_total_bytes"))

    @property
    def trouble(self) -> str | None:
        """Why a person should look at a machine that answers: its agent takes no work, or its disk is nearly full."""
        return self.refusal or ("its disk is nearly full" if self.is_disk_low else None)


def shown(worker: Worker, held: int | None = None) -> Shown:
    count = state.busy_with(worker.organisation_id).get(worker.id, 0) if held is None else held
    return Shown(worker, state.status_of(worker, count), count, _stepped(presence.seen_at(worker)))


def _stepped(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment - timedelta(seconds=moment.second % SEEN_STEP_S, microseconds=moment.microsecond)


def all_shown(organisation_id: str) -> list[Shown]:
    """Two queries, however many workers there are."""
    held = state.busy_with(organisation_id)
    return [shown(worker, held.get(worker.id, 0)) for worker in workers_of(organisation_id)]


def first_id(organisation_id: str) -> str | None:
    found = workers_of(organisation_id, "approved")
    return found[0].id if found else None


def pending_count(organisation_id: str) -> int:
    return len(workers_of(organisation_id, "pending"))


def matching(rows: Sequence[Shown], wanted: Mapping[str, str]) -> list[Shown]:
    """Those that a person asked for by `q`, `status` and `label`. Who waits or is archived must be asked for."""
    q, status, label = (wanted.get(name, "").strip().lower() for name in ("q", "status", "label"))
    return [
        row
        for row in rows
        if (row.status == status if status else row.status not in ("pending", "archived"))
        and _says(row.worker, q)
        and _has(row.worker, label)
    ]


def _says(worker: Worker, q: str) -> bool:
    words = [worker.name, worker.hostname, worker.platform, *worker.tools, *label_words(worker)]
    return any(q in word.lower() for word in words)


def _has(worker: Worker, label: str) -> bool:
    """`label` in small letters: a key, whatever its value, or key=value."""
    words = [word.lower() for word in label_words(worker)]
    return not label or label in words or label in [word.partition("=")[0] for word in words]


def label_words(worker: Worker) -> list[str]:
    return [f"{key}={value}" if value else key for key, value in sorted(worker.all_labels.items())]


def some(organisation_id: str, wanted: WorkerQuery) -> list[Shown]:
    """One more than a page of those that a program asked for, in the order in which they came."""
    held = state.busy_with(organisation_id)
    found: list[Shown] = []
    after = wanted.after or ""
    while rows := workers_after(organisation_id, after, READ_AT_ONCE):
        after = rows[-1].id
        found += [
            row for row in (shown(worker, held.get(worker.id, 0)) for worker in rows) if _is(row, wanted)
        ]
        if len(found) > wanted.limit:
            break
    return found


def _is(row: Shown, wanted: WorkerQuery) -> bool:
    has_status = wanted.status in (None, row.status, row.worker.status)
    return (
        has_status and _says(row.worker, wanted.q.strip().lower()) and _has(row.worker, wanted.label.lower())
    )


def known_machines(rows: Sequence[Shown]) -> dict[str, Shown]:
    """{id of a pending worker: another worker of the same machine}: the same hardware again, or somebody who says so.

    Of several the one that may work, then the newest.
    """
    others = [row for row in rows if row.worker.status != "pending"]
    others.sort(key=lambda row: (row.worker.status == "approved", row.worker.id))
    known = {row.worker.machine_id: row for row in others}
    pending = [row.worker for row in rows if row.worker.status == "pending"]
    return {worker.id: known[worker.machine_id] for worker in pending if worker.machine_id in known}


def announced(rows: Sequence[Shown]) -> dict[str, list[Worker]]:
    """{text: the workers that show it}: what was said last and not taken back."""
    found: dict[str, list[Worker]] = {}
    for row in rows:
        if row.worker.announcement:
            found.setdefault(row.worker.announcement, []).append(row.worker)
    return found
