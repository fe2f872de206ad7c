"""Results that the server hasn't accepted yet, and the ids of attempts that are over."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from agent import durable
from agent.journal import SAFE_ID

log = logging.getLogger("agent")

FOLDER = "spool"  # in the storage
REMEMBERED = 1000


class Spool:
    """One file for each report, written whole before the report is first sent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, report: dict[str, Any]) -> None:
        """Durable when it returns. A full disk costs the report its safety, not its delivery."""
        try:
            durable.write_json(self._path(report["attempt_id"]), report)
        except OSError as error:
            log.warning("report of %s can't be kept on disk: %s", report["attempt_id"], error)

    def drop(self, attempt_id: str) -> None:
        self._path(attempt_id).unlink(missing_ok=True)

    def load(self) -> list[dict[str, Any]]:
        """Reports of earlier sessions; damaged files are set aside."""
        reports = []
        for path in sorted(self._directory.glob("*.json")):
            report = durable.read_json(path)
            if report is None:
                continue
            if report.get("attempt_id") != path.stem or not _is_sound(report):
                durable.set_aside(path, "not a report of that attempt")
                continue
            reports.append(report)
        return reports

    def _path(self, attempt_id: str) -> Path:
        return self._directory / f"{attempt_id}.json"


def _is_sound(report: dict[str, Any]) -> bool:
    ids = (report.get("task_id"), report.get("attempt_id"))
    return all(isinstance(one, str) and SAFE_ID.fullmatch(one) for one in ids)


class Ended:
    """The last attempts that are over, so that a repeated offer of one isn't started again.

    A line is appended for each, unsynced: what a power cut takes, the server has already accepted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lines = 0
        if path.exists():
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                self._remember(line)
            self._lines = 2 * REMEMBERED

    def __contains__(self, attempt_id: str) -> bool:
        with self._lock:
            return attempt_id in self._ids

    def add(self, attempt_id: str, *, on_disk: bool = True) -> None:
        with self._lock:
            self._remember(attempt_id)
            if on_disk:
                self._append(attempt_id)

    def _remember(self, attempt_id: str) -> None:
        self._ids[attempt_id] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)

    def _append(self, attempt_id: str) -> None:
        try:
            if self._lines >= 2 * REMEMBERED:
                durable.write(self._path, "".join(f"{one}\n" for one in self._ids).encode(), sync=False)
                self._lines = len(self._ids)
                return
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "a", encoding="ascii") as lines:
                lines.write(f"{attempt_id}\n")
            self._lines += 1
        except OSError as error:
            log.warning("%s can't be written: %s", self._path, error)
