"""Retention: logs and tasks go when they ended long enough ago. What hasn't ended never does.

Rows first, then the files. What a crash leaves between the two is a file that no row speaks of, and `Sweep` finds it; the
other way round a page would want to read a log whose file has gone. A batch a pass, and few rows a transaction: others
write in between.
"""

import logging
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, literal, select, update

from webapp import clock
from webapp.auth.models import Organisation
from webapp.database import run, table_of, transaction
from webapp.errors import NotFound
from webapp.live.bus import task_topic
from webapp.live.models import Event, Stream
from webapp.offload import offload
from webapp.tasks import logs, statements
from webapp.tasks.models import Attempt

log = logging.getLogger(__name__)

# Attempts or tasks of a pass.
BATCH = 500
# Rows that a transaction removes, as far as they can be divided: some milliseconds, in which nobody else writes.
ROWS = 5000
FOLDERS = 256
_OF_AN_ATTEMPT = re.compile(r"([0-9a-f-]{36})\.gz")

_tasks, _attempts, _chunks = statements.tasks, statements.attempts, statements.log_chunks
_events, _streams, _organisations = table_of(Event), table_of(Stream), table_of(Organisation)
# As its index says it, or the database would read all attempts.
_HAS_A_LOG = (_attempts.c.log_removed_at.is_(None), _attempts.c.log_size > literal(0, literal_execute=True))


class LogGone(NotFound):
    """This log isn't kept any more."""

    status, slug = 410, "log-gone"


def why_gone(attempt: Attempt) -> str | None:
    """Why there is nothing to read although the attempt printed something; None where there is."""
    if attempt.log_removed_at and attempt.ended_at:
        days = (attempt.log_removed_at - attempt.ended_at).days
        return f"Its log was removed after {days} {'day' if days == 1 else 'days'}."
    if attempt.blob_size and not logs.path_of(attempt.id).exists():
        return "The file of its log is missing on the server."
    return None


def refuse_gone(attempt: Attempt | None) -> None:
    """Raises LogGone: an empty log would look like one that never said anything."""
    why = why_gone(attempt) if attempt else None
    if why:
        raise LogGone(why)


# ---- what is old enough


def remove_logs(days: int) -> bool:
    """Remove a batch of the logs of attempts that ended longer ago. Returns whether there may be more."""
    query = select(_attempts.c.id).where(*_HAS_A_LOG, _attempts.c.ended_at < _ago(days))
    due = run(query.order_by(_attempts.c.ended_at).limit(BATCH)).scalars().all()
    _remove_logs_of(due)
    return len(due) == BATCH


def remove_tasks(days: int) -> bool:
    """Remove a batch of the tasks that ended longer ago, with all that was kept of them. Returns as `remove_logs`."""
    # Named one by one, so that the index of ended tasks serves it.
    everybodys = _tasks.c.organisation_id.in_(select(_organisations.c.id))
    ended = select(_tasks.c.id).where(everybodys, _tasks.c.ended_at < _ago(days))
    due = run(ended.limit(BATCH)).scalars().all()
    with_logs = select(_attempts.c.id).where(*_HAS_A_LOG, _attempts.c.task_id.in_(due))
    _remove_logs_of(run(with_logs).scalars().all())
    streams = {task_topic(task_id): task_id for task_id in due}
    lengths = run(select(_streams.c.name, _streams.c.seq).where(_streams.c.name.in_(streams)))
    for some in _divided(due, {streams[row.name]: row.seq for row in lengths}):
        _remove_rows_of(some)
    if due:
        log.info("retention removed tasks", extra={"count": len(due), "days": days})
    return len(due) == BATCH


def _ago(days: int) -> datetime:
    return clock.now() - timedelta(days=days)


def _remove_rows_of(task_ids: Sequence[str]) -> None:
    """All that is kept of these tasks, together: attempts and chunks go with their task."""
    streams = [task_topic(task_id) for task_id in task_ids]
    with transaction():
        run(delete(_events).where(_events.c.stream.in_(streams)))
        run(delete(_streams).where(_streams.c.name.in_(streams)))
        run(delete(_tasks).where(_tasks.c.id.in_(task_ids), _tasks.c.ended_at.is_not(None)))


def _remove_logs_of(attempt_ids: Sequence[str]) -> None:
    counted = select(_chunks.c.attempt_id, func.count().label("rows")).group_by(_chunks.c.attempt_id)
    found = run(counted.where(_chunks.c.attempt_id.in_(attempt_ids)))
    chunks = {row.attempt_id: row.rows for row in found}
    for some in _divided(attempt_ids, chunks):
        with transaction():
            run(delete(_chunks).where(_chunks.c.attempt_id.in_(some)))
            run(update(_attempts).where(_attempts.c.id.in_(some)).values(log_removed_at=clock.now()))
        # After the commit: until then a reader still finds the rows. In a thread: a long log's file takes a while.
        offload(_unlink, [logs.path_of(attempt_id) for attempt_id in some])
    if attempt_ids:
        log.info("retention removed logs", extra={"count": len(attempt_ids)})


def _divided(ids: Sequence[str], rows: Mapping[str, int]) -> Iterator[list[str]]:
    """These ids in parts of at most ROWS rows, each part at least one id."""
    part, size = list[str](), 0
    for each in ids:
        if part and size + rows.get(each, 0) > ROWS:
            yield part
            part, size = [], 0
        part.append(each)
        size += rows.get(each, 0)
    if part:
        yield part


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


# ---- what was left behind


class Sweep:
    """Removes log files that no attempt speaks of, a folder a pass.

    Only those that nobody has written to for as long as logs are kept: a server that was started on the wrong database
    doesn't know most attempts, and mustn't take their logs for leftovers.
    """

    def __init__(self) -> None:
        # Anywhere: a server that restarts often gets around too.
        self.folder = random.randrange(FOLDERS)  # noqa: S311

    def step(self, days: int) -> int:
        """Returns how many files it removed."""
        folder = logs.folder_of(f"{self.folder:02x}")
        self.folder = (self.folder + 1) % FOLDERS
        names = offload(_untouched_since, folder, _ago(days).timestamp())
        parts = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
        left = [name for part in parts for name in _unknown(part)]
        offload(_unlink, [logs.path_of(attempt_id) for attempt_id in left])
        if left:
            log.info("retention removed leftover logs", extra={"count": len(left)})
        return len(left)


def _untouched_since(folder: Path, moment: float) -> list[str]:
    """The attempts, by their files' names; what has another name isn't ours."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        named = [(match[1], entry) for entry in entries if (match := _OF_AN_ATTEMPT.fullmatch(entry.name))]
        return [attempt_id for attempt_id, entry in named if entry.stat().st_mtime < moment]


def _unknown(attempt_ids: Sequence[str]) -> list[str]:
    known = select(_attempts.c.id).where(_attempts.c.log_removed_at.is_(None))
    found = run(known.where(_attempts.c.id.in_(attempt_ids))).scalars()
    return sorted(set(attempt_ids) - set(found))
