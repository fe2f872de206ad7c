"""What a task's process tells the agent beside its log, in files of a folder that is the process's own.

`progress.json` is replaced whole as often as it likes, with `before`, the steps that it was at before; `facts.json` is there
once it ends. Both are read as what a stranger wrote: the process may be another account's, and the agent root.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from agent.tools import one_line

PROGRESS, FACTS = "progress.json", "facts.json"
MAX_PROGRESS_BYTES = 16 * 1024
MAX_STEPS = 20
MAX_FACTS_BYTES = 1024**2
# As the server takes them.
_TEXTS = {"stage": 64, "step": 255, "step_id": 64, "message": 1000}


def progress(folder: Path) -> list[dict[str, Any]]:
    """Steps, the one that it is at last: `{stage, step, step_id, message, progress}`, as far as it is said."""
    said = _read(folder / PROGRESS, MAX_PROGRESS_BYTES) or {}
    before = said.get("before")
    steps = [*(before if isinstance(before, list) else [])[-MAX_STEPS:], said]
    return [told for step in steps if isinstance(step, dict) and (told := _step(step))]


def _step(said: dict[str, Any]) -> dict[str, Any]:
    texts = {
        name: one_line(said[name], most) for name, most in _TEXTS.items() if isinstance(said.get(name), str)
    }
    told: dict[str, Any] = {name: text for name, text in texts.items() if text}
    percent = said.get("progress")
    if isinstance(percent, int | float) and not isinstance(percent, bool) and math.isfinite(percent):
        told["progress"] = min(100, max(0, percent))
    return told


def facts(folder: Path) -> dict[str, Any] | None:
    """As the tool's process says them. `message`, for people, is one line."""
    said = _read(folder / FACTS, MAX_FACTS_BYTES)
    if said is not None:
        said["message"] = one_line(str(said.get("message") or ""), _TEXTS["message"])
    return said


def _read(path: Path, most: int) -> dict[str, Any] | None:
    """The JSON object in a plain file, no link and no pipe; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > most:
            return None
        content = json.loads(os.read(handle, most))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(handle)
    return content if isinstance(content, dict) else None
