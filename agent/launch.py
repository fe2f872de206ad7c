"""Becomes the task, as its account: run by a Python of its own, between the wrapper, which stays root and writes the exit
code, and the command.

Its only argument is a file: `{argv, env, uid, gid, groups}`. The wrapper and this program get nothing of what a task may
say, or LD_PRELOAD would run as root. Knows nothing of the agent: its text is handed to `python -c`, also out of a zipapp.
"""

import ctypes
import errno
import json
import os
import signal
import sys

NO_NEW_PRIVILEGES = 38


def become(said: dict) -> None:  # type: ignore[type-arg]
    """No way back: neither by these ids nor by a program that is setuid."""
    os.setgroups(said["groups"])
    os.setresgid(said["gid"], said["gid"], said["gid"])
    os.setresuid(said["uid"], said["uid"], said["uid"])
    if sys.platform.startswith("linux") and ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError("prctl failed")
    # What Python ignores, what it starts would ignore as well.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes longer to import than all else here
        said = json.load(file)
    os.unlink(path)  # noqa: PTH108
    argv = said["argv"]
    try:
        become(said)
        try:
            os.execve(argv[0], argv, said["env"])  # noqa: S606
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execve("/bin/sh", ["/bin/sh", *argv], said["env"])  # noqa: S606 - a script that doesn't say what runs it
    except OSError as error:
        print(f"{argv[0]} can't be started: {error.strerror or error}", flush=True)
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
