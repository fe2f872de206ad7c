"""How much of a log is kept, and the hole in the middle of one that is longer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CAP_BYTES = 100 * 1024 * 1024
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True)
class Cap:
    """The first tenth of so many bytes, and of what follows the last nine tenths."""

    total: int = CAP_BYTES

    @property
    def head(self) -> int:
        return self.total // 10

    @property
    def tail(self) -> int:
        return self.total - self.head

    @property
    def step(self) -> int:
        """The hole grows by so much at a time: for each there is work here and on the server."""
        return self.tail // 20

    def floor(self, size: int) -> int:
        """The end of what is left out of a log of this size. Its beginning is `head`."""
        return max(self.head, size - self.tail)

    def floor_by_steps(self, size: int) -> int:
        return self.head + (self.floor(size) - self.head) // self.step * self.step


def _system_call() -> Callable[..., int] | None:
    """fallocate with 64 bits an offset: Linux alone has it."""
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is None:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    made: Callable[..., int] = call
    return made


_fallocate = _system_call()


def punch(path: Path, start: int, end: int) -> None:
    """Give these bytes of a file back to the disk: they read as zeros, nothing moves, whoever writes to it goes on.

    Where the system can't, or the file has gone, nothing happens: it only costs space.
    """
    if _fallocate is None or start >= end:
        return
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        _fallocate(file, _PUNCH_HOLE_KEEP_SIZE, start, end - start)
    finally:
        os.close(file)
