"""How this program was started: from a checkout, or as one file."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import agent
from agent.account import Account
from agent.config import DEFAULT_STORAGE
from agent.environment import DEFAULT_PATH

OLDEST_PYTHON = (3, 10)
PATIENCE_S = 30.0


def archive() -> Path | None:
    """The agent.pyz that this program runs from; None in a checkout."""
    inside = Path(agent.__file__).absolute()
    return next((path for path in inside.parents if path.is_file()), None)


def argv() -> list[str]:
    """What starts it again, from whatever directory; in a checkout only from `directory()`."""
    packed = archive()
    return [_python(), str(packed)] if packed else [_python(), "-m", "agent"]


def directory() -> Path:
    """Where `argv()` works."""
    packed = archive()
    return packed.parent if packed else Path(agent.__file__).absolute().parents[1]


def python_for(account: Account) -> str | None:
    """One that this account can start, which may not get to the agent's own; None where there is none."""
    known = (sys.executable, shutil.which("python3", path=DEFAULT_PATH), shutil.which("python3"))
    return next((each for each in known if each and _starts(each, account)), None)


def _starts(python: str, account: Account) -> bool:
    try:
        tried = subprocess.run(
            [python, "-I", "-S", "-c", f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"],
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
            cwd="/",
            env={},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def typed(words: str = "", storage: Path | None = None) -> str:
    """As a person types it; `storage` is named where it isn't the usual one."""
    packed = archive()
    start = f"python3 {shlex.quote(str(packed))}" if packed else "python3 -m agent"
    where = f"--storage {shlex.quote(str(storage))}" if storage not in {None, DEFAULT_STORAGE} else ""
    return " ".join(part for part in (start, words, where) if part)


def _python() -> str:
    """Absolute. Links are left as they are: a virtual environment is one."""
    return sys.executable or "/usr/bin/python3"
