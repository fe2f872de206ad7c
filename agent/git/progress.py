"""Git's progress, out of what it writes to stderr: steps in percent for the server, whole lines for the log."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.5
KEPT_STEPS = 12
KEPT_LINES = 60
MAX_LINE = 8 * 1024

_LINE = re.compile(
    r"(?P<step>(?:remote: )?[A-Z][A-Za-z ]*?):\s+(?:(?P<percent>\d+)% \(\d+/\d+\)|(?P<count>\d+))(?:, (?P<rest>.*))?"
)
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
# ssh ends its lines with both; of a carriage return that came last nobody knows yet what follows.
_END = re.compile(rb"(\r?\n|\r(?=[^\n]))")
# What git calls it → the stage, and the step’s id and name.
_STEPS = {
    "remote: Enumerating objects": ("fetching", "counting", "Counting objects"),
    "remote: Counting objects": ("fetching", "counting", "Counting objects"),
    "remote: Compressing objects": ("fetching", "compressing", "Compressing objects"),
    "Receiving objects": ("fetching", "receiving", "Receiving objects"),
    "Unpacking objects": ("fetching", "receiving", "Receiving objects"),
    "Resolving deltas": ("resolving", "resolving", "Resolving deltas"),
    "Updating files": ("checking out", "checking_out", "Checking out files"),
    "Checking out files": ("checking out", "checking_out", "Checking out files"),
    "Downloading LFS objects": ("fetching", "lfs", "Downloading large files"),
    "Filtering content": ("checking out", "checking_out", "Checking out files"),
}


@dataclass(frozen=True)
class Step:
    stage: str
    step_id: str
    step: str
    progress: int | None = None
    message: str = ""


class Reporter:
    """Where progress goes: `progress.json`, replaced whole. With the steps before, which may have been over too soon for
    anybody to see."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: Step | None = None
        self._said_at = float("-inf")
        self._before: list[Step] = []
        self._note = ""

    def note(self, text: str) -> None:
        """Said after each step’s own message from here on: which part of a longer fetch it is."""
        self._note = text

    def say(
        self, stage: str, step_id: str, step: str, progress: int | None = None, message: str = ""
    ) -> None:
        text = ", ".join(one for one in (message, self._note) if one)
        self._write(Step(stage, step_id, step, progress, text[:200]))

    def line(self, line: str) -> bool:
        """→ whether it was progress."""
        match = _LINE.fullmatch(line)
        known = _STEPS.get(match["step"]) if match else None
        if match is None or known is None:
            return match is not None
        percent = None if match["percent"] is None else min(100, int(match["percent"]))
        message = (match["rest"] or "").removesuffix("done.").rstrip(", ").replace(" | ", ", ")
        self.say(*known, percent, message)
        return True

    def _write(self, step: Step) -> None:
        is_next = self._said is None or step.step_id != self._said.step_id
        is_due = is_next or step.progress == 100 or time.monotonic() - self._said_at >= EVERY_S
        if step == self._said or not is_due:
            return
        if is_next and self._said is not None:
            self._before = [*self._before[1 - KEPT_STEPS :], self._said]
        self._said, self._said_at = step, time.monotonic()
        beside = self._path.with_name("progress.json.tmp")
        try:
            beside.write_bytes(json.dumps({**vars(step), "before": list(map(vars, self._before))}).encode())
            beside.replace(self._path)
        except OSError:  # the disk is full: what is shown stands still, the work needn’t
            beside.unlink(missing_ok=True)


class Said:
    """One command’s stderr as it comes. What git overwrites on a terminal isn’t logged, only what remains there."""

    def __init__(self, reporter: Reporter, *, is_logged: bool = True) -> None:
        self._reporter = reporter
        self._is_logged = is_logged
        self._rest = b""
        self.lines: list[str] = []  # the last ones that weren’t progress

    def feed(self, data: bytes) -> None:
        *whole, self._rest = _END.split(self._rest + data)
        for text, end in zip(whole[::2], whole[1::2], strict=True):
            self._take(text, is_kept=end != b"\r")
        if len(self._rest) > MAX_LINE:
            self.close()

    def close(self) -> None:
        rest, self._rest = self._rest, b""
        self._take(rest, is_kept=True)

    def _take(self, raw: bytes, *, is_kept: bool) -> None:
        line = _ESCAPES.sub(b"", raw[:MAX_LINE]).decode("utf-8", "replace").strip()
        is_progress = bool(line) and self._reporter.line(line)
        if not line or not is_kept:
            return
        if not is_progress:
            self.lines = [*self.lines[1 - KEPT_LINES :], line]
        if self._is_logged and (not is_progress or line.endswith("done.")):
            log(line)


def log(line: str) -> None:
    """A line of the task’s log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
