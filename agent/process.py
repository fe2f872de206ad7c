"""A child in its own session, that outlives the agent: output to a file, exit code in a file."""

from __future__ import annotations

import fcntl
import inspect
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agent import durable, files, launch
from agent.account import Account
from agent.journal import Place

# $0 is the attempt's directory, $1 how many files may be open, the rest is the command. The trap keeps the wrapper
# alive through a signal to its group, so that it can still write the exit code; a caught signal is reset in what it
# starts. The wrapper's own stderr goes nowhere, and the command's is set in a subshell (which becomes the command, so it
# costs no process), or the shell's "Terminated" would stand in the task's log.
WRAPPER = (
    'ulimit -Sn "$1"; shift; trap : HUP INT TERM; echo $$ >"$0/began"; '
    '("$@" 2>&1); code=$?; echo $code >"$0/exit"; exit $code'
)
# For what works elsewhere than in the attempt's own folder, $0: the wrapper stays there. What `cd` came to is compared, so
# that a link which was laid in the way meanwhile leads nowhere.
ENTER = 'cd -P -- "$0" && [ "$PWD" = "$0" ] || { echo "$0 is not there any more"; exit 126; }; exec "$@"'
# As it is now: the file may be another one by the time it is needed.
_LAUNCH = inspect.getsource(launch)
# Without pidfd, how often to look.
_LOOK_S = 0.05


class Process:
    """One running wrapper. Its pid is only ever signalled after its start time was found unchanged."""

    def __init__(self, pid: int, start_time: int | None, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.start_time = start_time
        self._child = child
        self._pidfd = _pidfd_open(pid)

    @property
    def is_own(self) -> bool:
        """Whether this agent started it; what it leaves behind then becomes this agent's child."""
        return self._child is not None

    def wait(self, timeout_s: float, wake_fd: int) -> bool:
        """True when it has ended; False after `timeout_s`, or as soon as `wake_fd` can be read."""
        if self._pidfd is None:
            return self._wait_by_looking(timeout_s, wake_fd)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(wake_fd, select.POLLIN)
        ready = poll.poll(max(0.0, timeout_s) * 1000)
        return any(fd == self._pidfd for fd, _ in ready)

    def _wait_by_looking(self, timeout_s: float, wake_fd: int) -> bool:
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(wake_fd, select.POLLIN)
        while not self.has_ended():
            left = until - time.monotonic()
            if left <= 0 or poll.poll(1000 * min(left, _LOOK_S)):
                return False
        return True

    def has_ended(self) -> bool:
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(0))
        if self._child is not None:
            return self._child.poll() is not None
        return not is_same(self.pid, self.start_time)

    def signal_group(self, number: int) -> None:
        """To the whole group, as long as its leader is there: then the number can't be anybody else's."""
        if not self.has_ended() and is_same(self.pid, self.start_time):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """Without a look first: too many files may be open for one. A child's number is its own until it was waited for."""
        if self._child is None:
            self.signal_group(signal.SIGKILL)
        elif self._child.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def collect(self) -> int | None:
        """After its end: its own status as subprocess gives it, None for one that was adopted."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        return None if self._child is None else self._child.wait()


def start_as(
    account: Account,
    command: Sequence[str],
    environment: Mapping[str, str],
    own: Mapping[str, str],
    place: Place,
    work: Path | None = None,
) -> Process:
    """The wrapper stays what the agent is, and its environment is `own`, which the task has no part in: only the command
    becomes the account's, with `environment`, in `work`. Raises OSError."""
    said = {"argv": _within(work, command), "env": dict(environment), "uid": account.uid, "gid": account.gid}
    durable.write_json(place.launch, {**said, "groups": list(account.groups)}, sync=False)
    return start([sys.executable, "-I", "-S", "-c", _LAUNCH, str(place.launch)], own, place)


def start(
    command: Sequence[str], environment: Mapping[str, str], place: Place, work: Path | None = None
) -> Process:
    """In `work`, or else in the attempt's own folder. Raises OSError where the system refuses to start it."""
    output = os.open(place.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        _lock(output)
        child = subprocess.Popen(
            ["/bin/sh", "-c", WRAPPER, str(place.path), files.of_tasks(), *_within(work, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd=place.work,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(output)
    return Process(child.pid, start_time_of(child.pid), child)


def _within(work: Path | None, command: Sequence[str]) -> list[str]:
    return list(command) if work is None else ["/bin/sh", "-c", ENTER, str(work), *command]


def is_output_held(place: Place) -> bool:
    """Whether anything that was started, or is just being started, still has the attempt's output open.

    Also true for a child between fork and exec, which nothing else tells apart from the agent that forked it: the
    lock belongs to the open file, and so to whoever inherited that.
    """
    try:
        output = os.open(place.output, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(output)
    finally:
        os.close(output)


def _lock(handle: int) -> bool:
    """→ whether nobody else has it. Where a file system knows no locks nobody ever has."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def attach(pid: int, start_time: int | None) -> Process | None:
    """The process that an earlier agent started; None where it is gone or its number is another's now."""
    process = Process(pid, start_time, None)
    # Only after the pidfd was opened: what it holds is then the process that was looked at.
    if start_time is not None and is_same(pid, start_time) and not process.has_ended():
        return process
    process.collect()
    return None


def is_same(pid: int, start_time: int | None) -> bool:
    """Whether `pid` is still the process with that start time. Without /proc there is no way to tell."""
    return start_time_of(pid) == start_time


def start_time_of(pid: int) -> int | None:
    """Clock ticks since boot; None for no such process, and where the system has no /proc."""
    fields = stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def is_session_leader(pid: int) -> bool:
    fields = stat_fields(pid)
    return len(fields) > 3 and fields[3] == str(pid)


def stat_fields(pid: int) -> list[str]:
    """/proc/<pid>/stat from the third field (state) on: the second may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _pidfd_open(pid: int) -> int | None:
    """None where the system can't, a sandbox forbids it, or the process is gone already."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
