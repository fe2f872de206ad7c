"""How this program was started: from a checkout, or as one file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import agent
from agent.config import DEFAULT_STORAGE


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


def typed(words: str = "", storage: Path | None = None) -> str:
    """As a person types it; `storage` is named where it isn't the usual one."""
    packed = archive()
    start = f"python3 {shlex.quote(str(packed))}" if packed else "python3 -m agent"
    where = f"--storage {shlex.quote(str(storage))}" if storage not in {None, DEFAULT_STORAGE} else ""
    return " ".join(part for part in (start, words, where) if part)


def _python() -> str:
    """Absolute. Links are left as they are: a virtual environment is one."""
    return sys.executable or "/usr/bin/python3"
