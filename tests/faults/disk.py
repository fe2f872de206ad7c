"""A disk that is full: a small file system of its own where the tests may mount one, else a limit that the kernel sets."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PIECE = 64 * 1024


class SmallDisk:
    """A folder with a file system of its own. Root alone may mount one, and not in every container."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last block."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (PIECE, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def free(self) -> None:
        self._filler.unlink()


class NoMoreWrites:
    """The same for one program, by the largest file that it may write: every write fails, with another reason."""

    def __init__(self, path: Path, pid: Callable[[], int]) -> None:
        self.path = path
        self._pid = pid

    def fill(self) -> None:
        self.allow(0)

    def free(self) -> None:
        self.allow(resource.RLIM_INFINITY)

    def allow(self, size: int) -> None:
        """Files up to so many bytes, for what it starts from here on as well."""
        resource.prlimit(self._pid(), resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


Disk = SmallDisk | NoMoreWrites


@contextmanager
def mounted(path: Path, size: int) -> Iterator[None]:
    """Raises CalledProcessError where that isn't allowed."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)


def may_mount() -> bool:
    if os.geteuid() != 0:
        return False
    with TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), PIECE):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
