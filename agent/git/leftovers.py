"""What an operation that was killed has left beside the checkouts: half a clone, or half of what was deleted."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.git import room
from agent.git.failures import Failed
from agent.git.runs import Git

_NAME = re.compile(r"\..+\.(?P<attempt>[A-Za-z0-9][A-Za-z0-9_-]{0,99})\.(?:partial|gone)")


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK_S = 0.05


def partial(path: Path, attempt_id: str) -> Path:
    return path.with_name(f".{path.name}.{attempt_id}.partial")


def gone(path: Path, attempt_id: str) -> Path:
    return path.with_name(f".{path.name}.{attempt_id}.gone")


@contextmanager
def made(git: Git, path: Path) -> Iterator[None]:
    """A new folder that no sweep takes: this attempt may have begun after the sweeping one was told which run. Raises
    Stopped, OSError."""
    while (handle := _made(git, path)) is None:
        git.check()
    git.held.append(handle)
    try:
        yield
    finally:
        git.held.remove(handle)
        os.close(handle)


def _made(git: Git, path: Path) -> int | None:
    """None where a sweep came between the folder and its lock."""
    room.remove(path)
    path.mkdir(mode=0o700)
    try:
        handle = os.open(path, _FOLDER)
    except FileNotFoundError:
        return None
    while not _is_taken(handle):
        git.wait(_LOOK_S)
    if _is(path, handle):
        return handle
    os.close(handle)
    return None


def sweep(root: Path, running: Collection[str]) -> list[str]:
    """Remove those of attempts that don’t run. → their names."""
    removed = []
    with suppress(OSError):
        for path in list(root.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match and match["attempt"] not in running:
                with suppress(Failed):  # of another account: who deletes its checkout is told
                    removed += [path.name] if _removed(path) else []
    return removed


def _removed(path: Path) -> bool:
    """→ whether nobody had it."""
    try:
        handle = os.open(path, _FOLDER)
    except OSError:  # no folder, or another account’s
        room.remove(path)
        return True
    try:
        is_free = _is_taken(handle)
        if is_free:
            room.remove(path)
        return is_free
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    """→ whether it is ours now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks of folders
        return True
    return True


def _is(path: Path, handle: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(handle))
    return False
