"""A log as it may leave this machine: bytes counted after secrets were replaced."""

from __future__ import annotations

import sys
import threading
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple

from agent import durable
from agent.logs import Source
from agent.mask import Masker

# What is masked in one go, and between two marks. Twice the longest form at least, or it would get no further.
_PIECE_BYTES = 64 * 1024
# One look masks no more, so that whoever asks for the size is soon answered.
_PIECES_A_LOOK = 16


class _Mark(NamedTuple):
    """The same place, in the raw log and in the masked one. Never inside a secret: what follows can be masked
    without a look at what stood before."""

    raw: int
    masked: int


class _Hole(NamedTuple):
    """The raw bytes from one mark to another are zeros now: nobody can mask them again."""

    begin: _Mark
    end: _Mark


class MaskedSource:
    """Shows nothing before `know`, and the last bytes, which may be half a secret, only after `finish`.

    No copy is kept, only how far it is from raw to masked at a mark here and there: between them the raw log is
    masked again for who reads it. So the next agent shows the same bytes, a full disk does no harm, and whatever a
    task does to its own log, nothing is read that isn't masked in the same moment.

    What was forgotten can't be masked again. `hole_path` keeps its marks, for the next agent.
    """

    def __init__(self, raw: Source, hole_path: Path | None = None) -> None:
        self._raw = raw
        self._hole_path = hole_path
        self._hole = _stored(hole_path)
        self._masker: Masker | None = None
        self._raw_limit: int | None = None  # once it is finished; nothing after it counts
        self._scanned = 0  # raw bytes looked at; those beyond `_end` are undecided
        self._marks = [_Mark(0, 0)]
        self._end = _Mark(0, 0)
        self._lock = threading.Lock()

    def know(self, masker: Masker) -> None:
        with self._lock:
            self._masker = masker

    def finish(self) -> None:
        """Nothing is written any more. Takes as long as it takes to mask what is left."""
        with self._lock:
            self._raw_limit = self._raw.size()
            self._scan_all()

    def size(self) -> int:
        """Of what was masked up to now: a long log that isn't finished shows piece by piece, more at each call."""
        with self._lock:
            if self._raw_limit is None:
                self._scan_all(_PIECES_A_LOOK)
            else:
                self._scan_all()
            return self._end.masked

    def read(self, offset: int, limit: int) -> bytes:
        parts: list[bytes] = []
        with self._lock:
            while limit > 0 and offset < self._end.masked:
                part = self._read_to_mark(offset, limit)
                if not part:
                    break
                parts.append(part)
                offset, limit = offset + len(part), limit - len(part)
        return b"".join(parts)

    @property
    def gone(self) -> int:
        return self._hole.end.masked if self._hole else 0

    def forget(self, start: int, end: int) -> None:
        """As far as there are marks within."""
        with self._lock:
            first = bisect_left(self._marks, start, key=lambda mark: mark.masked)
            last = bisect_right(self._marks, end, key=lambda mark: mark.masked) - 1
            begin = self._hole.begin if self._hole else self._marks[min(first, last)]
            hole = _Hole(begin, self._marks[last])
            if hole.end.raw <= max(begin.raw, self._hole.end.raw if self._hole else 0):
                return
            if self._hole_path is not None:
                try:
                    durable.write_json(self._hole_path, {"marks": hole})
                except OSError:
                    return  # the next agent wouldn't know what it reads: better to keep it, and to try again
            self._raw.forget(self._hole.end.raw if self._hole else begin.raw, hole.end.raw)
            self._hole = hole
            self._marks = [mark for mark in self._marks if not begin < mark < hole.end]

    def _scan_all(self, pieces: int = sys.maxsize) -> None:
        while pieces > 0 and self._scan():
            pieces -= 1

    def _scan(self) -> bool:
        """Mask the next piece. → whether that led any further."""
        size = self._raw.size()
        is_over = self._raw_limit is not None
        if self._raw_limit is not None:
            size = min(size, self._raw_limit)
        if size < self._scanned:  # somebody cut it short: marks of what stood there would mislead
            self._scanned, self._marks, self._end = 0, [_Mark(0, 0)], _Mark(0, 0)
            self._hole = None if self._hole and size < self._hole.end.raw else self._hole
        decided = self._end.raw if is_over else self._scanned
        if self._masker is None or size == decided:
            return False
        if self._hole and self._end.raw == self._hole.begin.raw:
            self._end = self._hole.end
            self._scanned = self._end.raw
            self._marks += self._hole
            return True
        piece_bytes = max(_PIECE_BYTES, 2 * self._masker.longest)
        border = self._hole.begin.raw if self._hole and self._end.raw < self._hole.begin.raw else size
        text = self._raw.read(self._end.raw, min(piece_bytes, border - self._end.raw))
        self._scanned = self._end.raw + len(text)
        is_last = self._scanned >= border and (is_over or border < size)
        done, masked = self._masker.step(text, is_last=is_last)
        self._end = _Mark(self._end.raw + done, self._end.masked + len(masked))
        if self._end.raw - self._marks[-1].raw >= _PIECE_BYTES:
            self._marks.append(self._end)
        return done > 0

    def _read_to_mark(self, offset: int, limit: int) -> bytes:
        """From `offset` on at most to the next mark."""
        if self._masker is None:
            return b""
        number = bisect_right(self._marks, offset, key=lambda mark: mark.masked)
        begin = self._marks[number - 1]
        end = self._marks[number] if number < len(self._marks) else self._end
        if self._hole and begin == self._hole.begin:
            return b""
        masked = self._masker.whole(self._raw.read(begin.raw, end.raw - begin.raw))
        return masked[offset - begin.masked :][:limit]


def _stored(path: Path | None) -> _Hole | None:
    """What an earlier agent forgot."""
    content = durable.read_json(path) if path else None
    try:
        begin, end = (_Mark(int(raw), int(masked)) for raw, masked in (content or {})["marks"])
    except (KeyError, TypeError, ValueError):
        return None
    return _Hole(begin, end) if 0 <= begin.raw < end.raw and begin.masked <= end.masked else None
