"""Room on the disk: how much is taken, and when to stop before there is none."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from agent.git.failures import DiskLow, Failed

# However little the owner asks to be left: with less than this even the failure can’t be written down.
LEAST_BYTES = 16 * 1024**2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def guard(paths: Iterable[Path], floor_bytes: int) -> Callable[[], None]:
    """A look that raises DiskLow as soon as less than the floor is free on one of the disks."""
    watched = [next(one for one in [path, *path.parents] if one.is_dir()) for path in paths]
    wanted = max(floor_bytes, LEAST_BYTES)

    def look() -> None:
        for path in watched:
            with suppress(OSError):
                free = shutil.disk_usage(path).free
                if free < wanted:
                    raise DiskLow(
                        f"disk low: stopped with {size(free)} free of {size(wanted)} that stay free on this worker. "
                        "Make room there, then try again"
                    )

    return look


def size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def taken(folder: Path) -> int:
    """Bytes on the disk; what can’t be looked at, or vanishes meanwhile, counts as nothing."""
    total = 0
    folders = [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return total


def remove(folder: Path) -> None:
    """All of it, links not followed, and folders that were made read-only too. Raises Failed where something stays."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
        return
    _remove_tree(folder)
    if (
        folder.exists() and os.geteuid() != 0
    ):  # whom no mode stops, and who would follow a link put in the way
        _make_writable(folder)
        _remove_tree(folder)
    if folder.exists():
        raise Failed(
            f"{folder} can’t be removed: files in it belong to another account of the worker. Remove it by hand"
        )


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # before Python 3.13: a folder in a folder, a thousand times
        subprocess.run(
            ["rm", "-rf", "--", folder], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )


def _make_writable(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            Path(path).chmod(0o700)
