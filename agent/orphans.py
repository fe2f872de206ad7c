"""What an attempt left running: found and ended.

A process belongs to an attempt when its environment carries the attempt's id, or it is in the session of the
attempt's main process. One that left the session *and* wiped its environment is missed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agent.process import stat_fields

ID_VARIABLE = "GARAGESWARM_ATTEMPT_ID"
GRACE_S = 2.0
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.02
_ROUNDS = 5


class _Subreaper:
    """Whether orphans become this process's own children, and the file that lists them."""

    children: Path | None = None


def become_subreaper() -> None:
    """From here on, what loses its parent below this process becomes a child of its main thread.

    Looking at the end of a task is then one small file instead of all of /proc. Must be called by the main
    thread, which must start no process itself.
    """
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    if not sys.platform.startswith("linux") or not children.exists():
        return
    with suppress(OSError, AttributeError):
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            _Subreaper.children = children


def after_normal_end(attempt_id: str, session: int) -> None:
    """End what a task left behind that ended by itself. Usually nothing, so this is cheap."""
    if _Subreaper.children is not None and not belonging(_orphans(), attempt_id, session):
        return
    end_all(attempt_id, session)


def _orphans() -> list[int]:
    """Children that the agent didn't start. Those that have ended are collected on the way."""
    if _Subreaper.children is None:
        return []
    orphans = []
    try:
        text = _Subreaper.children.read_text(encoding="ascii")
    except OSError:  # too many files are open
        return []
    for pid in map(int, text.split()):
        if _state(pid) == "Z":
            with suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        else:
            orphans.append(pid)
    return orphans


def collect() -> None:
    """Let orphans that have ended go; they stay in the process table until somebody does."""
    _orphans()


def end_all(attempt_id: str, session: int | None, grace_s: float = GRACE_S) -> None:
    """TERM, `grace_s`, then KILL until none is left: what forks between two looks is found in the next."""
    if _signalled(attempt_id, session, signal.SIGTERM) and not _gone(attempt_id, session, grace_s):
        for _ in range(_ROUNDS):
            if not _signalled(attempt_id, session, signal.SIGKILL) or _gone(attempt_id, session, 0.5):
                break
    collect()


def _signalled(attempt_id: str, session: int | None, number: signal.Signals) -> bool:
    found = leftovers(attempt_id, session)
    for pid in found:
        _send(pid, number, attempt_id, session)
    return bool(found)


def _send(pid: int, number: signal.Signals, attempt_id: str, session: int | None) -> None:
    """Through a pidfd that was opened before the last look, so that a reused number isn't hit."""
    with suppress(OSError):
        try:
            handle = os.pidfd_open(pid)
        except AttributeError:
            os.kill(pid, number)
            return
        try:
            if belonging([pid], attempt_id, session):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _gone(attempt_id: str, session: int | None, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while leftovers(attempt_id, session):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_S)
    return True


def leftovers(attempt_id: str, session: int | None = None) -> list[int]:
    """Every living process of the attempt: a look at all of /proc, some milliseconds."""
    try:
        names = [path.name for path in Path("/proc").iterdir()]
    except OSError:
        return []
    return belonging((int(name) for name in names if name.isdigit()), attempt_id, session)


def belonging(pids: Iterable[int], attempt_id: str, session: int | None) -> list[int]:
    mark = f"{ID_VARIABLE}={attempt_id}".encode()
    own = os.getpid()
    return [pid for pid in pids if pid != own and _belongs(pid, mark, session)]


def _belongs(pid: int, mark: bytes, session: int | None) -> bool:
    if _carries(pid, mark):
        return _state(pid) not in {"Z", "X", ""}
    if session is None:
        return False
    fields = stat_fields(pid)
    return len(fields) > 3 and fields[3] == str(session) and fields[0] not in {"Z", "X"}


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _state(pid: int) -> str:
    fields = stat_fields(pid)
    return fields[0] if fields else ""
