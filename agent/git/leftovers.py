"""What an operation that was killed has left beside the checkouts: half a clone, or half of what was deleted."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from agent.git import room
from agent.git.failures import Failed

_NAME = re.compile(r"\..+\.(?P<attempt>[A-Za-z0-9][A-Za-z0-9_-]{0,99})\.(?:partial|gone)")


def partial(path: Path, attempt_id: str) -> Path:
    return path.with_name(f".{path.name}.{attempt_id}.partial")


def gone(path: Path, attempt_id: str) -> Path:
    return path.with_name(f".{path.name}.{attempt_id}.gone")


def sweep(root: Path, running: Collection[str]) -> list[str]:
    """Remove those of attempts that don’t run. → their names."""
    removed = []
    with suppress(OSError):
        for path in list(root.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match and match["attempt"] not in running:
                with suppress(Failed):  # of another account: who deletes its checkout is told
                    room.remove(path)
                    removed.append(path.name)
    return removed
