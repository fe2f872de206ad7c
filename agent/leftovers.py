"""What earlier sessions left in the jobs folder and nobody can use any more: removed when the folder takes too much room."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from agent.journal import SAFE_ID, Place

log = logging.getLogger("agent")

# A directory without a mark that it is useless is one that couldn't be removed, or that somebody else put there.
KEPT_S = 7 * 86_400.0


def sweep(jobs: Path, budget_bytes: int, held: Callable[[], Collection[str]]) -> list[str]:
    """Remove the oldest until `jobs` takes no more than `budget_bytes` (0: no budget). → the names of those removed.

    `held` gives the ids of the attempts that the agent has now: none of them is touched. It is asked after the folder
    was read, so that what has come since is either held or wasn't seen.
    """
    left = sorted(_useless(jobs)) if budget_bytes else []
    if not left:
        return []
    taken = size_of(jobs)
    removed: list[str] = []
    for _, place in left:
        if taken <= budget_bytes:
            break
        if place.attempt_id in held():
            continue
        before = size_of(place.path)
        place.remove()
        taken -= before - size_of(place.path)
        removed.append(place.attempt_id)
    if removed:
        log.info("%s takes more than %s bytes: removed %s of earlier", jobs, budget_bytes, len(removed))
    return removed


def _useless(jobs: Path) -> Iterator[tuple[float, Place]]:
    """With when each was last changed. By the wall clock, which may be wrong: nothing that is held depends on it."""
    for path in _inside(jobs):
        place = Place(path)
        try:
            changed_at = path.lstat().st_mtime
            is_folder = path.is_dir() and not path.is_symlink()
            is_useless = place.is_set_aside or changed_at < time.time() - KEPT_S
        except OSError:
            continue
        if is_folder and is_useless and SAFE_ID.fullmatch(path.name):
            yield changed_at, place


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        log.warning("%s can't be read: %s", folder, error.strerror)
        return []


def size_of(folder: Path) -> int:
    """Bytes on the disk; what can't be looked at, or vanishes meanwhile, counts as nothing."""
    total = 0
    # Not by os.walk: before Python 3.12 a folder in a folder, a thousand times, is too much for it.
    folders = [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append(entry.path)
                else:
                    total += _size(entry)
    return total


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False)
    return False


def _size(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_blocks * 512
    return 0
