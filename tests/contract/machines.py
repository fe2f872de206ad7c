"""Another machine, as far as one can have it here: a Python without packages, a home of its own, and, where the tests run as
root, another user."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from tests.stack import end_leftovers, eventually

OLDEST = (3, 10)
NAME = re.compile(r"python(3(\.\d+)?)?")
ASK = "import sys; print(*sys.version_info[:2])"


def other_user() -> str | None:
    """Whom root becomes; None for somebody who can become nobody else."""
    return "nobody" if os.geteuid() == 0 else None


def version(python: str, user: str | None = None) -> tuple[int, ...]:
    """Empty where it doesn't start, or this user can't reach it."""
    try:
        asked = subprocess.run(
            [python, "-I", "-S", "-c", ASK],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=user,
            cwd="/",
        )
    except OSError:
        return ()
    return tuple(map(int, asked.stdout.split())) if asked.returncode == 0 else ()


def pythons() -> dict[tuple[int, ...], str]:
    """One of each version that this machine has."""
    places = {
        Path("/usr/bin"): "python3*",
        Path("/usr/local/bin"): "python3*",
        Path("~/.pyenv/versions").expanduser(): "*/bin/python3",
    }
    paths = [path for place, pattern in places.items() for path in sorted(place.glob(pattern))]
    found: dict[tuple[int, ...], str] = {}
    for path in (Path(sys.executable), *paths):
        if NAME.fullmatch(path.name):
            found.setdefault(version(str(path)), str(path))
    found.pop((), None)
    return found


class Machine:
    """`PATH` has a `python3` that has nothing installed. Use as a context manager."""

    def __init__(self, python: str | None = None, user: str | None = None) -> None:
        self.user = user
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))  # pytest's own folders are closed to others
        self.folder.chmod(0o755)
        self.home, self.scratch = self.folder / "home", self.folder / "tmp"
        for made in (self.home, self.scratch):
            made.mkdir()
            self.give(made)
        base = python or self._base()
        subprocess.run(
            [base, "-I", "-m", "venv", "--without-pip", self.folder / "python"], check=True, cwd="/"
        )
        self.said = self.folder / "terminal"
        self._started: list[subprocess.Popen[bytes]] = []

    def _base(self) -> str:
        wanted = [
            path for path in ("/usr/bin/python3", *pythons().values()) if version(path, self.user) >= OLDEST
        ]
        assert wanted, f"no Python that {self.user} can start"
        return wanted[0]

    @property
    def pyz(self) -> Path:
        return self.home / ".garageswarm" / "agent.pyz"

    @property
    def output(self) -> str:
        return self.said.read_text(errors="replace") if self.said.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder}/python/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.home), "TMPDIR": str(self.scratch), "LANG": "C.UTF-8"}

    def _options(self) -> dict[str, Any]:
        group = pwd.getpwnam(self.user).pw_gid if self.user else None
        return {
            "cwd": "/",
            "env": self.environment,
            "user": self.user,
            "group": group,
            "stdin": subprocess.DEVNULL,
        }

    def give(self, path: Path) -> None:
        """To its user."""
        if self.user:
            shutil.chown(path, self.user)

    def paste(self, line: str, shell: str = "sh") -> subprocess.Popen[bytes]:
        """Into a terminal of this machine; it goes on by itself."""
        with self.said.open("ab") as file:
            started = subprocess.Popen(
                [shell, "-c", line], stdout=file, stderr=file, start_new_session=True, **self._options()
            )
        self._started.append(started)
        return started

    def agent(self, shell: subprocess.Popen[bytes]) -> psutil.Process:
        """What a pasted line has become: some shells wait for it, others make way."""
        family = psutil.Process(shell.pid)
        return eventually(
            lambda: next(
                (each for each in (family, *family.children()) if str(self.pyz) in each.cmdline()[:4]), None
            ),
            what=f"the agent: {self.output}",
        )

    def run(self, line: str, shell: str = "sh", seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """The same for what ends by itself."""
        return subprocess.run(
            [shell, "-c", line],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **self._options(),
        )

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        for started in self._started:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        for attempt in self.home.glob(".garageswarm/jobs/*/"):
            end_leftovers(attempt.name)
        shutil.rmtree(self.folder)
