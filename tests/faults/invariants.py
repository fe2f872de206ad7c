"""What must hold in the database after every fault, read past the program that wrote it."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text

Row = dict[str, Any]

TERMINAL = {"completed", "failed", "cancelled"}
ENDS = {f"task_{status}": status for status in TERMINAL}


class Records:
    """The database and the logs of one instance folder. `ended` remembers what has ended, to find it changed later."""

    def __init__(self, instance: Path, database_url: str) -> None:
        url = database_url or f"sqlite:///{instance / 'garageswarm.db'}"
        self._engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
        self._logs = instance / "logs"
        self._snapshot: Connection | None = None
        self.ended: dict[str, Row] = {}

    def rows(self, statement: str, **values: object) -> list[Row]:
        if self._snapshot is not None:
            return [dict(row) for row in self._snapshot.execute(text(statement), values).mappings()]
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    def close(self) -> None:
        self._engine.dispose()

    def attempts(self, task_id: str) -> list[Row]:
        return self.rows("SELECT * FROM attempts WHERE task_id = :task_id ORDER BY number", task_id=task_id)

    def check(self, overdue_s: float) -> None:
        """Fails with all that is wrong. `overdue_s`: how long a lease may be over before somebody must have decided."""
        with self._one_moment():
            wrong = [
                *self._one_owner(),
                *self._refusals(),
                *self._changed_ends(),
                *self._events(),
                *self._incomplete_logs(),
                *self._forgotten(overdue_s),
            ]
        assert not wrong, "\n".join(["", *wrong])

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Everything read in here is of one moment, though agents and the server go on."""
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._snapshot = connection
            try:
                yield
            finally:
                self._snapshot = None

    def _one_owner(self) -> Iterator[str]:
        """A task that is worked on has one open attempt, its current one; any other has none, and holds no lock."""
        open_attempts = defaultdict(list)
        for row in self.rows("SELECT id, task_id FROM attempts WHERE ended_at IS NULL"):
            open_attempts[row["task_id"]].append(row["id"])
        for task in self.rows("SELECT id, status, attempt_id FROM tasks"):
            wanted = [task["attempt_id"]] if task["status"] in {"assigned", "running"} else []
            if open_attempts[task["id"]] != wanted:
                yield f"task {task['id']} is {task['status']} with open attempts {open_attempts[task['id']]}"
        held = "SELECT name FROM held_locks WHERE attempt_id NOT IN (SELECT id FROM attempts WHERE ended_at IS NULL)"
        yield from (f"lock {row['name']} is held by nobody who works" for row in self.rows(held))

    def _refusals(self) -> Iterator[str]:
        """An attempt that was given back leaves no number behind, and its worker is known to have refused."""
        counted = (
            "SELECT tasks.id, attempts_made, count(attempts.id) AS kept, coalesce(max(number), 0) AS last FROM tasks "
            "LEFT JOIN attempts ON attempts.task_id = tasks.id GROUP BY tasks.id, attempts_made"
        )
        for task in self.rows(counted):
            if not task["attempts_made"] == task["kept"] == task["last"]:
                yield f"the attempts of task {task['id']} don't add up: {task}"
        silent = "SELECT id FROM workers WHERE NOT has_refused AND id IN (SELECT worker_id FROM refusals)"
        yield from (f"worker {row['id']} has refused tasks and says no" for row in self.rows(silent))

    def _changed_ends(self) -> Iterator[str]:
        """Terminal states never change; what ended now is remembered for the next look."""
        for task in self.rows("SELECT id, status, ended_at, attempt_id, attempts_made, summary FROM tasks"):
            before = self.ended.get(task["id"])
            if before is not None and before != task:
                yield f"task {task['id']} had ended as {before} and is now {task}"
            if (task["status"] in TERMINAL) != (task["ended_at"] is not None):
                yield f"task {task['id']} is {task['status']} and its end is {task['ended_at']}"
            if task["status"] in TERMINAL:
                self.ended[task["id"]] = task

    def _events(self) -> Iterator[str]:
        """Each stream counts from 1 without holes; a task's tells its end once, and only when it has ended."""
        streams = defaultdict(list)
        for row in self.rows("SELECT stream, seq, type FROM events ORDER BY stream, seq"):
            streams[row["stream"]].append(row)
        for row in self.rows("SELECT name, seq FROM streams"):
            found = [event["seq"] for event in streams[row["name"]]]
            if found != list(range(1, row["seq"] + 1)):
                yield f"stream {row['name']} is at {row['seq']} and has {found}"
        for task in self.rows("SELECT id, status FROM tasks"):
            types = [event["type"] for event in streams[f"task:{task['id']}"]]
            ends = [ENDS[name] for name in types if name in ENDS]
            if ends != ([task["status"]] if task["status"] in TERMINAL else []):
                yield f"task {task['id']} is {task['status']} and its events are {types}"

    def _incomplete_logs(self) -> Iterator[str]:
        chunks = defaultdict(list)
        for row in self.rows("SELECT * FROM log_chunks ORDER BY attempt_id, log_chunks.offset"):
            chunks[row["attempt_id"]].append(row)
        kept = "SELECT id, log_size, log_missing, blob_size FROM attempts WHERE log_removed_at IS NULL"
        for attempt in self.rows(kept):
            yield from self._wrong_log(attempt, chunks[attempt["id"]])

    def _wrong_log(self, attempt: Row, chunks: list[Row]) -> Iterator[str]:
        """The index covers the log without overlap, but for what is declared missing, and each piece can be read."""
        name = f"the log of attempt {attempt['id']}"
        end = missing = blob_end = 0
        for chunk in chunks:
            if chunk["offset"] < end or chunk["blob_offset"] != blob_end:
                yield f"{name}: the piece at {chunk['offset']} doesn't follow what ends at {end}"
            missing += chunk["offset"] - end
            end, blob_end = chunk["offset"] + chunk["size"], chunk["blob_offset"] + chunk["blob_size"]
            found = self._read(attempt["id"], chunk)
            if found != chunk["size"]:
                yield f"{name}: the piece at {chunk['offset']} has {found} bytes, not {chunk['size']}"
        if (end, missing, blob_end) != (attempt["log_size"], attempt["log_missing"], attempt["blob_size"]):
            yield f"{name} ends at {end}, misses {missing}, takes {blob_end}; the attempt says {attempt}"

    def _read(self, attempt_id: str, chunk: Row) -> int | str:
        path = self._logs / attempt_id[-2:] / f"{attempt_id}.gz"
        try:
            with path.open("rb") as file:
                file.seek(chunk["blob_offset"])
                return len(zlib.decompress(file.read(chunk["blob_size"]), zlib.MAX_WBITS | 16))
        except (OSError, zlib.error) as error:
            return str(error)

    def _forgotten(self, overdue_s: float) -> Iterator[str]:
        now = {
            "sqlite": "(julianday('now') - 2440587.5) * 86400000.0",
            "postgresql": "EXTRACT(EPOCH FROM clock_timestamp()) * 1000",
        }[self._engine.dialect.name]
        late = f"SELECT id, ({now} - lease_expires_at) / 1000 AS late_s FROM attempts WHERE ended_at IS NULL"
        for row in self.rows(late):
            if row["late_s"] > overdue_s:
                yield f"attempt {row['id']} is open, though its lease ended {row['late_s']:.0f} s ago"
