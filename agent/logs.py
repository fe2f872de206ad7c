"""An attempt's log: bytes by offset, and how far the server has them.

The file is the truth. Secrets are masked between the file and these offsets (agent.masked): offsets, sizes and
checksums all count what is sent.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from agent import clock

CHUNK_BYTES = 512 * 1024
TAIL_BYTES = 64 * 1024
OUTPUT_BYTES = 4096
_HASH_BYTES = 1024 * 1024


class Source(Protocol):
    def size(self) -> int:
        """Bytes there are now; 0 where there is nothing."""

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes; empty at the end."""


class FileSource:
    """No open file is kept: ended attempts may wait here for days."""

    def __init__(self, path: Path) -> None:
        self._path = path

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


class MemorySource:
    """The log of a tool that runs inside the agent, which says little."""

    def __init__(self) -> None:
        self._content = bytearray()

    def append(self, content: bytes) -> None:
        self._content += content

    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, limit: int) -> bytes:
        return bytes(self._content[offset : offset + limit])


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
    started_at: float = field(default_factory=clock.now)
    grown_at: float = field(default_factory=clock.now)
    ended_at: float = 0.0
    is_refused: bool = False  # the server takes no more of it
    _seen: int = 0
    _hashed: int = 0
    _hash: Any = field(default_factory=sha256)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def notice_growth(self) -> int:
        """The size now; remembers when it last changed."""
        size = self.source.size()
        if size != self._seen:
            self._seen = size
            self.grown_at = clock.now()
        return size

    def unsent(self) -> int:
        return max(0, self.source.size() - self.sent)

    def checksum(self) -> tuple[int, str]:
        """Size and SHA-256 of everything; reads on from where the last call stopped, piece by piece."""
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

        `{offset, content}` where the bytes are text, else `{offset, content_base64}`.
        """
        content = self.source.read(self.sent, TAIL_BYTES)
        if not content:
            return None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return {"offset": self.sent, "content_base64": base64.b64encode(content).decode("ascii")}
        return {"offset": self.sent, "content": text}

    def last_output(self) -> str:
        """The end of the log as text, for a result."""
        size = self.source.size()
        content = self.source.read(max(0, size - OUTPUT_BYTES), OUTPUT_BYTES)
        return content.decode("utf-8", errors="replace").replace("\0", "").strip()
