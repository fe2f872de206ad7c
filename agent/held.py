"""What an agent's storage still holds, read without disturbing an agent that is at work in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import clock, durable, machine, orphans, process
from agent.journal import SAFE_ID, Entry, Place
from agent.spool import FOLDER


@dataclass(frozen=True)
class Held:
    """A task that was begun here, and whose report the server hasn't taken."""

    task_id: str
    attempt_id: str
    tool: str
    name: str
    running_s: float | None  # None: it has ended
    has_report: bool  # what is left is to tell the server
    place: Place = field(repr=False)
    pid: int | None = None  # its process
    is_elsewhere: bool = (
        False  # it runs, and not from here: this storage is a copy of the one that it runs in
    )

    def to_dict(self) -> dict[str, Any]:
        names = ("task_id", "attempt_id", "tool", "name", "running_s", "has_report")
        return {name: getattr(self, name) for name in names}

    def forget(self, storage: Path) -> None:
        """End what runs of it here, and remove its files. It is lost."""
        if not self.is_elsewhere:
            orphans.end_all(self.attempt_id, self.pid)
        self.place.remove()
        (storage / FOLDER / f"{self.attempt_id}.json").unlink(missing_ok=True)


def held(storage: Path, jobs: Path) -> list[Held]:
    """Raises OSError where the storage can't be read."""
    return sorted(_held(storage / FOLDER, jobs), key=lambda one: one.attempt_id)


def _held(spool: Path, jobs: Path) -> Iterator[Held]:
    reported = _names(spool, ".json")
    for attempt_id in _names(jobs, "") | reported:
        place = Place(jobs / attempt_id)
        entry, report = place.look(), durable.look_json(spool / f"{attempt_id}.json")
        if entry is not None or report is not None:
            yield _one(place, entry, report)


def _names(folder: Path, ending: str) -> set[str]:
    """The attempts that have a file or a folder there."""
    if not folder.exists():
        return set()
    found = (path.name for path in folder.iterdir() if path.name.endswith(ending))
    return {name for name in (one.removesuffix(ending) for one in found) if SAFE_ID.fullmatch(name)}


def _one(place: Place, entry: Entry | None, report: dict[str, Any] | None) -> Held:
    offer = entry.offer if entry else report or {}
    pid = None if entry is None or place.exit_code() is not None else _pid(entry)
    is_elsewhere = pid is not None and not _is_at(pid, place.work)
    is_running = entry is not None and report is None and pid is not None and not is_elsewhere
    return Held(
        task_id=str(offer.get("task_id") or "?"),
        attempt_id=place.attempt_id,
        tool=str(offer.get("tool") or ""),
        name=str((entry.task if entry else {}).get("name") or ""),
        running_s=_age_s(entry) if entry and is_running else None,
        has_report=report is not None,
        place=place,
        pid=None if is_elsewhere else pid,
        is_elsewhere=is_elsewhere,
    )


def _pid(entry: Entry) -> int | None:
    """As long as it is that process. Tools that run inside the agent keep no journal: each entry stands for a process."""
    if entry.boot_id != machine.boot_id() or entry.pid is None or entry.start_time is None:
        return None
    return entry.pid if process.is_same(entry.pid, entry.start_time) else None


def _is_at(pid: int, folder: Path) -> bool:
    """The wrapper of a task never leaves its folder. Also true where that can't be seen."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return True


def _age_s(entry: Entry) -> float:
    return max(0.0, clock.now() - (entry.started_at or entry.prepared_at))
