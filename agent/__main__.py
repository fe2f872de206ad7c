"""`python -m agent`: arguments, logging, signals, exit codes.

Exit codes: 0 ended as asked, 1 the server refuses to enrol it, 2 a setting is wrong, 3 another agent uses the
storage.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import clock, config, identity, orphans
from agent.config import BadConfig, Config
from agent.enrol import enrol
from agent.server import Refused
from agent.session import Session

log = logging.getLogger("agent")

REFUSED, BAD_CONFIG, IN_USE = 1, 2, 3
CANCEL_S = 8.0
GOODBYE_S = 5.0
_LOOK_S = 0.02
_COLLECT_S = 30.0


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname, "message": record.getMessage()}
        for name in ("task_id", "attempt_id"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Lines(logging.Formatter):
    """What a server or a task wrote can't move the cursor of whoever reads along."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        if not record.message.isprintable():
            record.message = "".join(one if one.isprintable() else "?" for one in record.message)
        return super().formatMessage(record)


class Signals:
    """SIGTERM and SIGINT, counted. The handler does no more: a byte in the pipe wakes the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(self._reader, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._noted)

    def _noted(self, *_: object) -> None:
        self.count += 1

    def wait(self, seconds: float) -> None:
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 512)


def main(arguments: Sequence[str]) -> int:
    _start_logging()
    try:
        settings = config.load(arguments, os.environ)
        for directory in (settings.storage, settings.jobs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _locked(directory):
                return _refuse(f"another agent is using {directory}", IN_USE)
        me = identity.prepare(settings.storage, settings.server_url)
    except BadConfig as error:
        return _refuse(str(error), BAD_CONFIG)
    except OSError as error:
        return _refuse(f"storage can't be used: {error}", BAD_CONFIG)
    return _work(settings, me)


def _work(settings: Config, me: identity.Identity) -> int:
    try:
        worker = me if me.is_registered else enrol(settings, me)
    except Refused as error:
        return _refuse(f"{settings.server_url} refuses to enrol this agent: {error}", REFUSED)
    except KeyboardInterrupt:
        return 0
    orphans.become_subreaper()
    signals = Signals()
    session = Session(settings, worker)
    session.start()
    while not signals.count:
        signals.wait(_COLLECT_S)
        orphans.collect()
    _wind_down(session, signals, settings.drain_s)
    return 0


def _wind_down(session: Session, signals: Signals, drain_s: float) -> None:
    """First signal: let what runs finish for a while, then leave it running. Second: cancel it."""
    session.drain()
    if not session.is_idle:
        log.info(
            "stopping: running tasks have %s s, then go on without the agent (again: cancel them)", drain_s
        )
    _wait(session, signals, drain_s, until_count=2)
    if signals.count >= 2 and not session.is_idle:
        log.info("cancelling")
        session.cancel_all()
        _wait(session, signals, CANCEL_S, until_count=3)
    if session.is_idle:
        session.part(GOODBYE_S)
    session.end()


def _wait(session: Session, signals: Signals, seconds: float, until_count: int) -> None:
    until = clock.now() + seconds
    while not session.is_idle and signals.count < until_count and clock.now() < until:
        signals.wait(_LOOK_S)


def _locked(directory: Path) -> bool:
    """Whether this process holds the directory from here on: the descriptor stays open on purpose."""
    lock = os.open(directory / "agent.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def _refuse(text: str, code: int) -> int:
    sys.stderr.write(f"agent: {text}\n")
    return code


def _start_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    is_json = os.environ.get("AGENT_LOG") == "json"
    handler.setFormatter(JsonLines() if is_json else Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    sys.stderr.flush()
    # Threads wait for the server; Python would stop them in an orderly way first, and may hang on it.
    os._exit(status)
