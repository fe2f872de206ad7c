"""What systemd is told where it started this agent: `Type=notify`, a datagram to the socket that it names."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping

from agent.progress import Progress

log = logging.getLogger("agent")

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"
# Pings for each stretch of time in which one has to come.
_PINGS = 4


class Systemd:
    """Says nothing where it was started by something else. Raises nothing: no word to systemd is worth a task."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_s(environ)
        self._progress: Progress | None = None
        self._is_heard = True

    def tell(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in no directory.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto(text.encode(), address)
        except OSError as error:
            if self._is_heard:  # once is enough
                log.warning("systemd can't be told %s: %s", text, error)
            self._is_heard = False

    def ready(self) -> None:
        """It works, whether the server is there or not. From here on it says that it is alive."""
        self.tell(READY)
        if self._watchdog_s:
            threading.Thread(target=self._ping, name="watchdog", daemon=True).start()

    def watch(self, progress: Progress) -> None:
        """From here on the loop has to get on, or nothing more is said and systemd starts the agent anew."""
        self._progress = progress

    def _ping(self) -> None:
        was_stuck = False
        while True:
            is_stuck = self._progress is not None and self._progress.is_stuck
            if not is_stuck:
                self.tell(ALIVE)
            elif not was_stuck:
                log.error("the loop is stuck: systemd will start the agent anew, and running tasks go on")
            was_stuck = is_stuck
            threading.Event().wait(self._watchdog_s / _PINGS)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """0 where nobody waits for pings, or not for ours."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
