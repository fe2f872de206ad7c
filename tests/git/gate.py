"""A `git` that waits until it is let go on: a moment in the middle of any operation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# The real program, but not before somebody opens the gate.
WAITS_AT_THE_GATE = """#!/bin/sh
case " $* " in *" {before}"*)
    while [ -e {gate} ]; do echo $$ > {seen}.$$; mv {seen}.$$ {seen}; sleep 0.05; done
esac
exec {git} "$@"
"""


class Gate:
    """For an agent's PATH. While the gate is shut git waits: any, or the one that has the words `before` in its command."""

    def __init__(self, folder: Path, before: str = "") -> None:
        self._shut, self._seen, self.programs = folder / "shut", folder / "seen", folder / "programs"
        self.programs.mkdir(parents=True)
        script = WAITS_AT_THE_GATE.format(
            gate=self._shut, seen=self._seen, git=shutil.which("git"), before=before
        )
        (self.programs / "git").write_text(script)
        (self.programs / "git").chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.programs}:{os.environ['PATH']}"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": self.path}

    def shut(self) -> None:
        self._seen.unlink(missing_ok=True)
        self._shut.touch()

    def open(self) -> None:
        self._shut.unlink()

    def is_waited_at(self) -> bool:
        return self._seen.exists()

    @property
    def waiting(self) -> int:
        """The process that waits at it."""
        return int(self._seen.read_text())
