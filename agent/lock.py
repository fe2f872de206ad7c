"""One agent at a time for a directory; who looks learns whether there is one, and disturbs nobody."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

FILE = "agent.lock"
# Somebody who only looks holds the lock for a moment.
_PATIENCE_S = 0.5
_LOOK_S = 0.05


def take(directory: Path) -> bool:
    """Whether this process holds the directory from here on: the descriptor stays open on purpose."""
    lock = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + _PATIENCE_S
    while not _taken(lock, fcntl.LOCK_EX):
        if time.monotonic() > until:
            os.close(lock)
            return False
        time.sleep(_LOOK_S)
    _sign(lock)
    return True


def take_folder(directory: Path) -> bool:
    """The same without a file in it, for a folder that is another account's: it could lay a link there."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _taken(lock, fcntl.LOCK_EX)
    except OSError:  # a file system that knows no locks of folders
        return True


def holder(directory: Path) -> int | None:
    """The process id of the agent that holds the directory, 0 where it can't be told, None where there is none."""
    try:
        lock = os.open(directory / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _taken(lock, fcntl.LOCK_SH) else _signature(lock)
    finally:
        os.close(lock)


def _taken(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(lock: int) -> None:
    """A full disk costs the signature, not the lock."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        return


def _signature(lock: int) -> int:
    """Whoever has just taken the lock may not have signed yet: what is left of one that is dead counts as nothing."""
    text = os.pread(lock, 32, 0).strip()
    pid = int(text) if text.isdigit() else 0
    try:
        os.kill(pid, 0)  # only asks whether it is there; of somebody else's process it may not
    except ProcessLookupError:
        return 0
    except PermissionError:
        return pid
    return pid
