"""An attempt's log: bytes by offset, and how far the server has them.

The file is the truth. Secrets are masked between the file and these offsets (agent.masked): offsets, sizes and
checksums all count what is sent. Of a log that is longer than its cap the middle is neither sent nor kept here; offsets
and sizes count it nevertheless.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from agent import clock
from agent.cap import Cap, punch

CHUNK_BYTES = 512 * 1024
TAIL_BYTES = 64 * 1024
OUTPUT_BYTES = 4096
_HASH_BYTES = 1024 * 1024


class Source(Protocol):
    def size(self) -> int:
        """Bytes there are now; 0 where there is nothing."""

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes; empty at the end."""

    def forget(self, start: int, end: int) -> None:
        """Nobody reads these bytes any more: their space may go back to the disk. Their size stays."""

    @property
    def gone(self) -> int:
        """The end of what was forgotten up to now."""


class FileSource:
    """No open file is kept: ended attempts may wait here for days."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.gone = 0

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self, offset: int, limit: int) -> bytes:
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(limit) or b""
        except OSError:
            return b""

    def forget(self, start: int, end: int) -> None:
        punch(self._path, start, end)
        self.gone = max(self.gone, end)


class MemorySource:
    """The log of a tool that runs inside the agent, which says little: it is kept whole."""

    def __init__(self) -> None:
        self._content = bytearray()
        self.gone = 0

    def append(self, content: bytes) -> None:
        self._content += content

    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, limit: int) -> bytes:
        return bytes(self._content[offset : offset + limit])

    def forget(self, start: int, end: int) -> None:
        self.gone = max(self.gone, end)


@dataclass(frozen=True)
class Piece:
    """What is to be sent next. `dropped`: the bytes before it that the server shall not wait for, and not keep."""

    offset: int
    content: bytes
    dropped: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        return self.offset + len(self.content)

    @property
    def is_jump(self) -> bool:
        """The server misses what was dropped right before it, or some of that."""
        return self.dropped is not None and self.dropped[1] == self.offset


class Owner(Protocol):
    """Whose log it is: told what the answers to chunks say."""

    def cancel_asked(self) -> None: ...
    def lease_lost(self) -> None: ...
    def lease_renewed(self, sent_at: float) -> None: ...


@dataclass(eq=False)
class AttemptLog:
    """`sent` is the next offset that the server wants. Times by clock.now()."""

    task_id: str
    attempt_id: str
    source: Source
    owner: Owner
    sent: int = 0
    cap: Cap = field(default_factory=Cap)
    started_at: float = field(default_factory=clock.now)
    grown_at: float = field(default_factory=clock.now)
    ended_at: float = 0.0
    is_refused: bool = False  # the server takes no more of it
    _seen: int = 0
    _declared: int = 0  # the server knows that the log has a hole up to here
    _hashed: int = 0
    _hash: Any = field(default_factory=sha256)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def notice_growth(self) -> int:
        """The size now; remembers when it last changed. What is too much for the cap goes from the disk, sent or not."""
        size = self.source.size()
        if size != self._seen:
            self._seen = size
            self.grown_at = clock.now()
        floor = self.cap.floor_by_steps(size)
        if floor > max(self.cap.head, self.source.gone):
            with self._lock:  # nobody reads there at this moment
                self.source.forget(self.cap.head, floor)
        return size

    def unsent(self) -> int:
        """Bytes that the server is still to get."""
        size = self.source.size()
        head = max(0, min(size, self.cap.head) - self.sent)
        return head + max(0, size - max(self.sent, self._floor(size)))

    def is_split(self) -> bool:
        """Whether the server is still to get bytes on both sides of the hole."""
        return self.sent < self.cap.head < self._floor(self.source.size())

    def _floor(self, size: int) -> int:
        return max(self.cap.floor(size), self.source.gone)

    def piece(self, limit: int) -> Piece | None:
        """The next bytes for the server, at most `limit`; None where there are none. Jumps over what is left out."""
        with self._lock:
            begin, floor = self.sent, self._floor(self.source.size())
            if begin < self.cap.head < floor:
                limit = min(limit, self.cap.head - begin)
            is_jump = self.cap.head <= begin < floor
            if is_jump:
                begin = floor
            content = self.source.read(begin, min(limit, self.cap.tail))
        if not content:
            return None
        to = begin if is_jump else self.cap.floor_by_steps(begin + len(content))
        is_new = is_jump or to > max(self.cap.head, self._declared)
        return Piece(begin, content, (self.cap.head, to) if is_new else None)

    def arrived(self, piece: Piece, next_offset: int | None) -> None:
        """The server has it, and wants to go on at `next_offset`, where it says so: perhaps it has more already."""
        self.sent = piece.end if next_offset is None else next_offset
        if piece.dropped:
            self._declared = max(self._declared, piece.dropped[1])

    def checksum(self) -> tuple[int, str | None]:
        """Size and SHA-256 of everything; reads on from where the last call stopped, piece by piece.

        No SHA-256 of a log that is longer than its cap: nobody has all of it.
        """
        size = self.source.size()
        if size > self.cap.total or self.source.gone:
            return size, None
        with self._lock:
            while piece := self.source.read(self._hashed, _HASH_BYTES):
                self._hash.update(piece)
                self._hashed += len(piece)
            return self._hashed, self._hash.hexdigest()

    def hash_sent(self, offset: int, content: bytes) -> None:
        """Counts in what was read for sending, where it is next, so that it isn't read again."""
        with self._lock:
            if offset == self._hashed:
                self._hash.update(content)
                self._hashed += len(content)

    def tail(self) -> dict[str, Any] | None:
        """What is left to send, in the form that rides in a report; None where nothing is left.

        `{offset, content}` where the bytes are text, else `{offset, content_base64}`; `dropped` where it follows a hole.
        """
        piece = self.piece(TAIL_BYTES)
        if piece is None:
            return None
        place = {"offset": piece.offset, **({"dropped": list(piece.dropped)} if piece.dropped else {})}
        try:
            text = piece.content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return {**place, "content_base64": base64.b64encode(piece.content).decode("ascii")}
        return {**place, "content": text}

    def last_output(self) -> str:
        """The end of the log as text, for a result."""
        size = self.source.size()
        content = self.source.read(max(0, size - OUTPUT_BYTES), OUTPUT_BYTES)
        return content.decode("utf-8", errors="replace").replace("\0", "").strip()
