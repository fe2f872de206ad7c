"""Runs git: with an environment made from nothing, settings that nobody else has a part in, and an eye on the disk."""

from __future__ import annotations

import itertools
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from agent.git.failures import Failed, GitFailed, Stopped
from agent.git.progress import Reporter, Said

MAX_ANSWER = 64 * 1024**2
_TICK_S = 0.2
_GRACE_S = 5.0
_READ = 64 * 1024
OLDEST = (2, 25)

# Stronger than the config of the repository that git works in, which a task may have written.
SETTINGS = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "credential.helper=",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=300",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "diff.ignoreSubmodules=none",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    # Writing small files is waiting for the disk: more at once than there are processors.
    f"checkout.workers={max(2, min(8, 2 * (os.cpu_count() or 1)))}",
    "log.showSignature=false",
    "merge.verifySignatures=false",
    "merge.autoStash=false",
    "commit.gpgSign=false",
    "safe.bareRepository=explicit",
    "filter.lfs.clean=",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
]
# How this machine reaches others and whom it trusts: its owner’s affair.
OF_THE_MACHINE = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# Which of our calls of git a program belongs to.
CALL = "GARAGESWARM_GIT_CALL"
# A task’s own, which orphans of it are found by.
_OF_THE_TASK = "GARAGESWARM_"


class Git:
    """`home` is an empty folder of ours. `look` is called about once a second while git runs, and may raise."""

    def __init__(self, search: str, home: Path, reporter: Reporter, look: Callable[[], None]) -> None:
        program = shutil.which("git", path=search)
        if program is None:
            raise Failed("git isn’t installed on this worker: install it, then try again")
        self.program = str(Path(program).absolute())
        self.reporter = reporter
        self._look = look
        self._search = search
        self.home = home
        self._calls = itertools.count(1)
        self._stop = threading.Event()
        self.held: list[int] = []  # locks, which hold for as long as one of git’s programs still runs

    def find(self, program: str) -> str | None:
        return shutil.which(program, path=self._search)

    def stop(self, *_: object) -> None:
        """For a signal handler: what runs is ended, nothing more is begun."""
        self._stop.set()

    def check(self) -> None:
        """Raises Stopped, or what `look` raises."""
        if self._stop.is_set():
            raise Stopped
        self._look()

    def wait(self, seconds: float) -> None:
        """Raises Stopped."""
        if self._stop.wait(seconds):
            raise Stopped

    def run(
        self,
        *arguments: str,
        at: Path | None = None,
        tree: Path | None = None,
        settings: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        is_logged: bool = True,
        most: int = MAX_ANSWER,
    ) -> bytes:
        """→ its stdout, of no more than `most` bytes. `at` is the git folder, `tree` the files that belong to it. Raises
        GitFailed, Failed, Stopped."""
        self.check()
        argv = [self.program]
        for setting in [
            *SETTINGS,
            *settings,
            *([f"safe.directory={at}", f"safe.directory={tree}"] if at else []),
        ]:
            argv += ["-c", setting]
        argv += [f"--git-dir={at}"] if at else []
        argv += [f"--work-tree={tree}"] if tree else []
        environment = {**self._environment(protocols), **(variables or {})}
        said = Said(self.reporter, is_logged=is_logged)
        child = _start([*argv, *arguments], environment, tree or self.home, self.held)
        try:
            answer = self._until_end(child, said, most)
        finally:
            _end(child)
        if child.returncode != 0:
            raise GitFailed(child.returncode, said.lines)
        return answer

    def text(self, *arguments: str, at: Path, tree: Path | None = None) -> str:
        """What it says, for a question that costs little and isn’t logged."""
        return decoded(self.run(*arguments, at=at, tree=tree, is_logged=False)).strip()

    def ask(self, *arguments: str, at: Path, tree: Path | None = None) -> str | None:
        """As `text`; None where git says no."""
        try:
            return self.text(*arguments, at=at, tree=tree)
        except GitFailed:
            return None

    def _environment(self, protocols: Sequence[str]) -> dict[str, str]:
        own = {
            name: text
            for name, text in os.environ.items()
            if name in OF_THE_MACHINE or name.startswith(_OF_THE_TASK)
        }
        return {
            **own,
            "PATH": self._search,
            "HOME": str(self.home),
            CALL: str(next(self._calls)),
            # Were there a repository in a folder above, git would go by its settings.
            "GIT_CEILING_DIRECTORIES": str(self.home.parent),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": "/bin/false",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PROGRESS_DELAY": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(protocols) or "none",
        }

    def _until_end(self, child: subprocess.Popen[bytes], said: Said, most: int) -> bytes:
        answer = bytearray()
        looked_at = time.monotonic()
        with _pipes(child) as pipes:
            while pipes.get_map():
                for key, _ in pipes.select(_TICK_S):
                    data = os.read(key.fd, _READ)
                    if not data:
                        pipes.unregister(key.fileobj)
                    elif key.fileobj is child.stderr:
                        said.feed(data)
                    else:
                        answer += data
                if len(answer) > most:
                    raise Failed("git lists more files, branches or tags than can be handled here")
                if self._stop.is_set():
                    raise Stopped
                if time.monotonic() - looked_at >= 1.0:
                    looked_at = time.monotonic()
                    self._look()
        said.close()
        while child.poll() is None:
            self.wait(_TICK_S / 20)
        return bytes(answer)


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def version(search: str) -> str:
    """As `2.39.5`. Raises Failed where there is none that can be used."""
    program = shutil.which("git", path=search)
    if program is None:
        raise Failed("git isn’t installed")
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"{program} doesn’t work: {error}") from None
    number = decoded(done.stdout).strip().removeprefix("git version ").split(" ")[0]
    if numbers(number) < OLDEST:
        raise Failed(f"git {number} is too old: 2.25 or newer is needed")
    return number


def numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())


def _start(
    argv: list[str], environment: Mapping[str, str], directory: Path, held: Sequence[int]
) -> subprocess.Popen[bytes]:
    """A group of its own, so that it can be ended with all that it started. Should this program be killed, the agent
    finds it by the attempt’s id in its environment."""
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=directory,
            start_new_session=True,
            pass_fds=held,
        )
    except OSError as error:
        raise Failed(f"git can’t be started: {error.strerror or error}") from None


def _pipes(child: subprocess.Popen[bytes]) -> selectors.BaseSelector:
    pipes = selectors.DefaultSelector()
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            pipes.register(pipe, selectors.EVENT_READ)
    return pipes


def _end(child: subprocess.Popen[bytes]) -> None:
    """Where it hasn’t ended by itself, its whole group: first so that git removes its temporary files, then for good."""
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
        _signal(child, signal.SIGKILL)
        child.wait()
    for pipe in (child.stdout, child.stderr):
        _close(pipe)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(OSError):
        os.killpg(child.pid, number)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()
