"""One agent at a time for a directory; who looks learns whether there is one, and disturbs nobody."""

from __future__ import annotations

import fcntl
import os
import stat
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
    """The same for a folder that may be the tasks' account's. A task could lock that folder, and lay anything in it: what
    isn't this account's own keeps nobody from starting."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    is_own = os.fstat(folder).st_uid == os.geteuid()
    return (_taken_or_none(folder) or not is_own) and _take_inside(folder)


def _take_inside(folder: int) -> bool:
    """By a file that no other account can open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        lock = os.open(FILE, flags, 0o600, dir_fd=folder)
    except OSError:
        return True
    found = os.fstat(lock)
    # Of a file with a second name somebody else may have chosen which one it is.
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        os.close(lock)
        return True
    return _taken_or_none(lock)


def _taken_or_none(lock: int) -> bool:
    try:
        return _taken(lock, fcntl.LOCK_EX)
    except OSError:  # a file system that knows no such locks
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
