"""The program itself: reads what is asked, does it, says how it went."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.git import room
from agent.git import wish as wishes
from agent.git.failures import DiskLow, Failed, Stopped, cleaned
from agent.git.operations import OPERATIONS, Work
from agent.git.progress import Reporter, log
from agent.git.runs import Git
from agent.git.source import Source
from agent.git.wish import Wish

DONE, FAILED, BAD_WISH, DISK_LOW, TERMINATED = 0, 1, 2, 3, 143
_HIDDEN = "***"


def main(directory: Path) -> int:
    try:
        wish = wishes.read(directory)
    except (wishes.BadWish, OSError) as error:
        _write(directory, {"operation": "", "success": False, "message": str(error), "failure_class": None})
        log(f"Failed: {error}")
        return BAD_WISH
    try:
        return _run(directory, wish)
    except Stopped:
        return TERMINATED


def _run(directory: Path, wish: Wish) -> int:
    home = directory / "home"
    room.remove(home)
    home.mkdir(mode=0o700)
    work = None
    try:
        git = Git(wish.search, home, Reporter(directory / "progress.json"), _guard(wish))
        signal.signal(signal.SIGTERM, git.stop)
        work = Work(wish, git, Source(git, home, wish))
        said = OPERATIONS[wish.operation](work)
        return _tell(directory, wish, work, said, None)
    except Failed as failed:
        return _tell(directory, wish, work, str(failed), failed)
    except OSError as error:
        return _tell(directory, wish, work, *_of_system(error))
    finally:
        room.remove(home)


def _guard(wish: Wish) -> Callable[[], None]:
    """A look, and what makes room, are done on a full disk too."""
    if wish.operation in {"status", "delete"}:
        return lambda: None
    return room.guard([wish.root, wish.mirrors], wish.disk_floor_bytes)


def _of_system(error: OSError) -> tuple[str, Failed]:
    text = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    failed: Failed = DiskLow(text) if room.is_full(error) else Failed(text)
    return text, failed


def _tell(directory: Path, wish: Wish, work: Work | None, said: str, failed: Failed | None) -> int:
    message = _masked(wish, cleaned(said))
    message = message[:1].upper() + message[1:]
    facts: dict[str, Any] = dict(work.facts) if work else {}
    facts |= {"operation": wish.operation, "success": failed is None, "message": message}
    facts["failure_class"] = failed.failure_class if failed else None
    if failed and failed.refused:
        facts["refused"] = failed.refused
    if work and wish.operation != "branches":
        facts["host_keys"] = work.source.learned
    log(message if failed is None else f"Failed: {message}")
    _write(directory, facts)
    if failed is None:
        return DONE
    return DISK_LOW if failed.failure_class == "disk_low" else FAILED


def _masked(wish: Wish, text: str) -> str:
    """A remote may say what it was given. The agent masks all that it sends, in every form; this is the plain one."""
    secret = wish.credential.secret.strip() if wish.credential else ""
    return text.replace(secret, _HIDDEN) if secret else text


def _write(directory: Path, facts: dict[str, Any]) -> None:
    path = directory / "facts.json"
    beside = path.with_name("facts.json.tmp")
    beside.write_text(json.dumps(facts), encoding="utf-8")
    beside.replace(path)


def start() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a log is UTF-8, whatever the machine’s language
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main(Path(sys.argv[1]).absolute()))
