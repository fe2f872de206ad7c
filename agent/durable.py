"""Files that survive a crash whole: written beside, synced, renamed into place."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger("agent")


def sync_directory(path: Path) -> None:
    """A new name is only durable once its directory is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Put `content` at `path` with mode 0600: readers see the old file or the new one, never a part.

    `sync=False` still survives the end of this program, not a power cut.
    """
    beside = path.with_name(f"{path.name}.tmp")
    handle = _create(beside)
    try:
        _write_all(handle, content)
        if sync:
            os.fsync(handle)
    except OSError:
        with suppress(OSError):
            beside.unlink()  # half of it is of no use, and takes room where there is none
        raise
    finally:
        os.close(handle)
    beside.replace(path)
    if sync:
        sync_directory(path.parent)


def _create(path: Path) -> int:
    """A new file, never one that somebody else put there or that an earlier agent left half-written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, 0o600)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def write_json(path: Path, content: dict[str, Any], *, sync: bool = True) -> None:
    write(path, json.dumps(content).encode(), sync=sync)


def look_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is none that can be read. Changes nothing, a damaged file neither."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is no file, or where it is damaged: that one is set aside."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        set_aside(path, str(error))
        return None
    if not isinstance(content, dict):
        set_aside(path, "not a JSON object")
        return None
    return content


def set_aside(path: Path, why: str) -> None:
    """A damaged file is kept for a person to look at, and never stops the agent."""
    log.warning("%s is damaged (%s): set aside as %s.bad", path, why, path.name)
    try:
        path.replace(path.with_name(f"{path.name}.bad"))
    except OSError as error:
        log.warning("could not set %s aside: %s", path, error)
