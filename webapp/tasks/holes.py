"""What an over-long log leaves out of its middle, and the disk space that comes back with it."""

import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True)
class Span:
    """The bytes from `start` up to, not with, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def span_of(pair: Sequence[int] | None) -> Span | None:
    return Span(pair[0], pair[1]) if pair else None


@dataclass(frozen=True)
class Holes:
    """Where a log has no bytes, in order. Translates between places in the whole log and among the bytes that are kept."""

    spans: tuple[Span, ...] = ()

    def kept(self, offset: int) -> int:
        """How many kept bytes come before this place."""
        return offset - sum(min(offset, span.end) - span.start for span in self.spans if span.start < offset)

    def place(self, kept: int) -> int:
        """Where the byte lies that has so many kept ones before it."""
        for span in self.spans:
            if span.start <= kept:
                kept += span.size
        return kept

    def ending_at(self, offset: int) -> Span | None:
        return next((span for span in self.spans if span.end == offset), None)

    def stretch(self, start: int, end: int) -> Span:
        """The first kept bytes from `start` on that have no hole between them, none of them behind `end`."""
        for span in self.spans:
            if span.start <= start < span.end:
                start = span.end
            elif start < span.start:
                end = min(end, span.start)
        return Span(start, max(start, end))

    def within(self, start: int, end: int) -> list[Span]:
        """The holes that bytes from `start` to `end` would touch."""
        return [span for span in self.spans if span.start < end and start < span.end]


def mark(size: int) -> bytes:
    """Stands in a download where so many bytes were left out."""
    return b"[\xe2\x80\xa6 %d bytes left out \xe2\x80\xa6]\n" % size


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same bytes with as few spans as possible."""
    made: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if made and made[-1].end == span.start:
            made[-1] = Span(made[-1].start, span.end)
        else:
            made.append(span)
    return made


# The agent does the same with its file: neither may import the other.
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


def punch(path: Path, spans: Sequence[Span]) -> None:
    """Give these bytes of a file back to the disk: they read as zeros, nothing moves.

    Where the system can't, or the file has gone, nothing happens: it only costs space.
    """
    if _fallocate is None:
        return
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        for span in spans:
            _fallocate(file, _PUNCH_HOLE_KEEP_SIZE, span.start, span.size)
    finally:
        os.close(file)
