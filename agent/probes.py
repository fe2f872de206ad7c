"""Which tools work here: looked at when the agent starts, and again now and then, because machines change."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from agent import clock, environment
from agent.tools import Finding, Tool

log = logging.getLogger("agent")

ASKED_S = 10.0
ANSWER_BYTES = 16 * 1024
# For all tools together: what hasn't come by then counts as not working until the next look.
LOOK_S = 15.0
_SLICE_S = 0.02


class NoAnswer(Exception):
    """The program couldn't be asked; the message says why."""


def first_line(argv: list[str], path: str, timeout_s: float = ASKED_S) -> str:
    """What a program says first, on stdout or stderr. Raises NoAnswer where it fails, or is silent for too long.

    Comes back in time whatever the program does, also where it leaves others behind that hold its output open.
    """
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment.base(), "PATH": path},
            start_new_session=True,
        )
    except OSError as error:
        raise NoAnswer(f"{argv[0]}: {error.strerror or error}") from error
    try:
        said = None if child.stdout is None else _said(child, child.stdout.fileno(), clock.now() + timeout_s)
    finally:
        _end(child)
    name = " ".join(argv)
    if said is None:
        raise NoAnswer(f"{name} didn't answer within {timeout_s:g} s")
    if child.returncode != 0:
        raise NoAnswer(f"{name} failed with status {child.returncode}: {_first(said)}".rstrip(": "))
    return _first(said)


def _said(child: subprocess.Popen[bytes], handle: int, until: float) -> bytes | None:
    """What it wrote until it ended; None where it didn't end in time. More than enough is read and let go."""
    kept = b""
    is_open = True
    answer = select.poll()  # select() itself takes none of the files above 1024
    answer.register(handle, select.POLLIN)
    while clock.now() < until:
        if is_open and answer.poll(1000 * _SLICE_S):
            piece = os.read(handle, ANSWER_BYTES)
            kept += piece[: ANSWER_BYTES - len(kept)]
            is_open = bool(piece)
        elif child.poll() is not None:
            return kept
        elif not is_open:
            time.sleep(_SLICE_S)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Its whole group. One that can't even be killed isn't waited for."""
    if child.returncode is None:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
    if child.stdout is not None:
        child.stdout.close()


def _first(said: bytes) -> str:
    lines = said.decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in lines if line.strip()), "")


class Prober:
    """What was found of each tool. All are looked at at the same time, each on a thread that may hang for ever."""

    def __init__(self, tools: Iterable[Tool], look_s: float = LOOK_S) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._look_s = look_s
        self._looking = threading.Lock()
        self._busy: dict[str, threading.Thread] = {}
        self._fresh: dict[str, Finding] = {}
        self.found: Mapping[str, Finding] = {}

    def now(self) -> Mapping[str, Finding]:
        """What was found the last time, or is now, the first time."""
        with self._looking:
            if not self.found:
                self._look()
            return self.found

    @property
    def all_work(self) -> bool:
        return all(finding.works for finding in self.found.values())

    def look(self) -> bool:
        """→ whether anything is otherwise than before."""
        with self._looking:
            return self._look()

    def _look(self) -> bool:
        until = clock.now() + self._look_s
        path = environment.base()["PATH"]
        for name, tool in self._tools.items():
            if name not in self._busy:  # or it still hangs since the last time
                probing = threading.Thread(
                    target=self._probe, args=(tool, path), name=f"probe-{name}", daemon=True
                )
                probing.start()
                self._busy[name] = probing
        found = {name: self._result(name, until) for name in self._tools}
        is_new, self.found = found != self.found, found
        return is_new

    def _probe(self, tool: Tool, path: str) -> None:
        try:
            self._fresh[tool.name] = tool.probe(path)
        except NoAnswer as error:
            self._fresh[tool.name] = Finding(works=False, problem=str(error))
        except Exception as error:
            log.exception("looking for tool %s failed", tool.name)
            self._fresh[tool.name] = Finding(works=False, problem=f"the look at it failed: {error}")

    def _result(self, name: str, until: float) -> Finding:
        self._busy[name].join(max(0.0, until - clock.now()))
        if self._busy[name].is_alive():
            return Finding(works=False, problem=f"no answer within {self._look_s:g} s")
        del self._busy[name]
        return self._fresh.pop(name)


def declarations(tools: Iterable[Tool], found: Mapping[str, Finding]) -> list[dict[str, Any]]:
    """As register and sync carry them: `{name, version, title, description, schema, slot_class, found}`."""
    return [{**tool.declaration(), "found": found[tool.name].to_dict()} for tool in tools]
