"""Another agent.pyz in the place of the one that runs: fetched, checked, tried, swapped; and taken up by a running agent."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import agent
from agent import clock, durable, exits, program
from agent.errors import Stop
from agent.server import Server

log = logging.getLogger("agent")

MOST_BYTES = 64 * 1024**2
TRY_S = 60.0
# So long a running agent waits for a moment without tasks. Then it takes no more, and leaves what runs to its successor.
IDLE_WITHIN_S = 600.0


@dataclass(frozen=True)
class Release:
    """The agent that a server gives away."""

    version: str
    protocol: int
    sha256: str
    size: int
    url: str

    @classmethod
    def parse(cls, answer: dict[str, Any]) -> Release:
        """Raises Stop for an answer that makes no sense."""
        said: dict[str, Any] = {name: answer.get(name) for name in cls.__dataclass_fields__}
        found = cls(**said)
        numbers, words = (found.protocol, found.size), (found.version, found.sha256, found.url)
        is_sound = all(type(number) is int for number in numbers) and all(
            isinstance(word, str) for word in words
        )
        if not is_sound or not 0 < found.size <= MOST_BYTES or not found.url.startswith("/"):
            raise Stop("the server doesn't say which agent it gives away", exits.REFUSED)
        return found


def fetched(server: Server, release: Release) -> bytes:
    """The file, as the release describes it. Raises Stop for any other, Unreachable and Refused."""
    content = server.agent_file(release.url, release.size)
    if len(content) != release.size or hashlib.sha256(content).hexdigest() != release.sha256:
        raise Stop(
            "what the server sent isn't the file that it names (another checksum): nothing was changed",
            exits.REFUSED,
        )
    return content


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def former(path: Path) -> Path:
    """Where the one before is kept."""
    return path.with_name(f"{path.name}.old")


def swap(path: Path, content: bytes) -> None:
    """Whoever starts the agent gets the old file or the new one, whole. Raises Stop where the new one doesn't start here,
    or can't be put there; then nothing has changed."""
    beside = path.with_name(f"{path.name}.new")
    try:
        durable.write(beside, content)
        _like(beside, path)
        _try(beside)
        durable.write(former(path), path.read_bytes())
        _like(former(path), path)
        beside.replace(path)
        durable.sync_directory(path.parent)
    except OSError as error:
        raise Stop(f"{path} can't be replaced ({error}): do it as its owner", exits.REFUSED) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _like(path: Path, model: Path) -> None:
    """Readable for whom it was readable before: root may update what another account runs."""
    known = model.stat()
    path.chmod(known.st_mode & 0o777)
    with suppress(PermissionError):
        os.chown(path, known.st_uid, known.st_gid)


def _try(path: Path) -> None:
    """A file that doesn't start on this machine, with its Python, never takes the place of one that does."""
    try:
        tried = subprocess.run(
            [sys.executable, "-I", str(path), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Stop(
            f"the new agent can't be started here ({error}): nothing was changed", exits.REFUSED
        ) from error
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["it doesn't say why"])[-1]
        raise Stop(f"the new agent doesn't start here ({said}): nothing was changed", exits.REFUSED)


class Successor:
    """Another file where the running program came from: seen by its place on the disk, not by its name."""

    def __init__(self) -> None:
        self._path = program.archive()
        # Of the file that is open, where the system can say: it may have been replaced since.
        self._own = _mark(Path(agent.__path__[0]).parent)
        self._seen_at: float | None = None

    def is_due(self, *, is_idle: bool) -> bool:
        """Whether to make way now: between tasks, or when that has taken too long."""
        if self._path is None or not self._is_there(self._path):
            self._seen_at = None
            return False
        if self._seen_at is None:
            self._seen_at = clock.now()
            log.info("there is another %s: this agent makes way for it as soon as no task runs", self._path)
        return is_idle or clock.now() - self._seen_at >= IDLE_WITHIN_S

    def _is_there(self, path: Path) -> bool:
        """Whole: somebody may just be copying it."""
        return _mark(path) not in {None, self._own} and zipfile.is_zipfile(path)

    def start(self) -> NoReturn:
        """In this very process, with the arguments and the environment that it was started with. Raises Stop."""
        log.info("starting %s", self._path)
        logging.shutdown()
        try:
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very program
        except OSError as error:
            raise Stop(f"{sys.executable} can't be started again: {error}", exits.REFUSED) from error


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
