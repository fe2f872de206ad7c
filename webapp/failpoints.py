"""Places where a server can be told to die, so that tests see what a crash at the worst moment leaves behind.

`GSW_FAILPOINT=claim.after-commit:3` kills the whole server, gunicorn's master included, the third time it gets there.
"""

import os
import re
import signal

KNOWN = {
    "claim.before-commit": "tasks were assigned to a worker, nothing is durable",
    "claim.after-commit": "the assignment is durable, its offer was not sent",
    "chunk.before-commit": "a chunk's bytes are in the log's file, its row is not durable",
    "chunk.after-commit": "the chunk is durable, its answer was not sent",
    "result.before-commit": "a report was settled, nothing is durable",
    "result.after-commit": "the end is durable, its answer was not sent",
    "key.after-commit": "a fresh worker key is durable, its answer was not sent",
}
_FORM = re.compile(r"(?P<name>[^:]+)(:(?P<time>[1-9][0-9]{0,8}))?")


class _Armed:
    """The point that is waited for, and how many times it may still be passed. Nothing is, but in tests."""

    name = ""
    times_left = 0


def checked(value: str) -> str:
    """The setting as it is. Raises ValueError with the names that are known."""
    match = _FORM.fullmatch(value)
    if value and (match is None or match["name"] not in KNOWN):
        raise ValueError(f"must be one of {', '.join(KNOWN)}, with :3 behind it for the third time")
    return value


def arm(value: str) -> None:
    """In the process that serves, and only there: a command line passes these points unharmed."""
    match = _FORM.fullmatch(value)
    if match:
        _Armed.name, _Armed.times_left = match["name"], int(match["time"] or 1)


def reach(name: str) -> None:
    """Die here, if this is the place and the time."""
    if _Armed.name != name:
        return
    _Armed.times_left -= 1
    if _Armed.times_left == 0:
        # The master first: it would start another worker. Nothing runs in between, as nothing here yields.
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
