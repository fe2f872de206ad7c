"""Logs: bytes by offset. Each chunk is one gzip member in the attempt's file, its place in the database.

The member is written at the committed end of the file first, and counts from the moment its row is committed. What a
crash leaves behind that end is written over by the next chunk.
"""

import gzip
import hashlib
import os
import threading
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import Row, select

from webapp import clock
from webapp.database import release, run
from webapp.errors import LeaseLost, LogGap, Unavailable
from webapp.extensions import db
from webapp.offload import offload
from webapp.tasks import statements
from webapp.tasks.models import LogChunk


class StorageFull(Unavailable):
    """The server can't write logs. Nothing was stored: try again."""

    slug = "storage-full"


CHUNK_LIMIT = 1024 * 1024
COMPRESSION = 3
# Hashing less than this is quicker than handing it to a thread.
INLINE_BYTES = 256 * 1024

# Two chunks of one attempt may cross, because an agent repeats what timed out. Between writing to the file and the commit
# of the row there is one writer an attempt, or the second would overwrite what the first one's row points at.
_writing: set[str] = set()
_changed = threading.Condition()


@dataclass(frozen=True)
class LogEnd:
    """Where an attempt's log ends."""

    attempt_id: str
    log_size: int
    log_lines: int
    blob_size: int


@dataclass(frozen=True)
class Staged:
    """A chunk that lies in the file and waits for its row."""

    end: LogEnd
    size: int
    lines: int
    blob_size: int


@contextmanager
def writing(attempt_ids: Collection[str]) -> Iterator[None]:
    """Be the one writer of these attempts' logs. All at once, so that two callers can't wait for each other.

    What was read before is forgotten: while this waited, another writer may have moved the log's end.
    """
    wanted = set(attempt_ids)
    release()
    with _changed:
        _changed.wait_for(lambda: not wanted & _writing)
        _writing.update(wanted)
    try:
        yield
    finally:
        with _changed:
            _writing.difference_update(wanted)
            _changed.notify_all()


def end_of(attempt: Row[Any]) -> LogEnd:
    return LogEnd(attempt.attempt_id, attempt.log_size, attempt.log_lines, attempt.blob_size)


def path_of(attempt_id: str) -> Path:
    """The end of an id is random: it spreads the files over 256 folders."""
    return Path(current_app.instance_path) / "logs" / attempt_id[-2:] / f"{attempt_id}.gz"


def folder_of(ending: str) -> Path:
    """Where the logs of the attempts lie whose ids end so."""
    return Path(current_app.instance_path) / "logs" / ending

    `durable`: wait until the disk has it, because a report is about to say that the log is complete.
    """
    if offset > end.log_size:
        raise LogGap(f"The log ends at {end.log_size}, this begins at {offset}.", next_offset=end.log_size)
    new = data[end.log_size - offset :]
    member = gzip.compress(new, COMPRESSION, mtime=0) if new else b""
    if new or (durable and end.log_size):
        try:
            _write(path_of(end.attempt_id), end.blob_size, member, durable)
        except OSError as error:
            raise StorageFull(
                f"The server can't write logs: {error.strerror}. Nothing was stored: try again."
            ) from error
    return Staged(end, len(new), new.count(b"\n"), len(member)) if new else None


def _write(path: Path, at: int, member: bytes, durable: bool) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        written = 0
        while written < len(member):  # a nearly full disk takes a part, and the next call says why
            written += os.pwrite(file, member[written:], at + written)
        if durable:
            offload(_sync, file, path.parent)
    finally:
        os.close(file)


def _sync(file: int, folder: Path) -> None:
    """The bytes, and the file's place in its folder, outlive a power cut."""
    os.fsync(file)
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def commit(staged: Staged, lease_s: float) -> None:
    """Make a staged chunk count, and renew the lease, in the transaction that is open.

    Raises LeaseLost when the attempt ended or its log moved meanwhile.
    """
    end = staged.end
    grown = run(
        statements.GROW_LOG,
        of_attempt_id=end.attempt_id,
        old_size=end.log_size,
        new_size=end.log_size + staged.size,
        new_lines=end.log_lines + staged.lines,
        new_blob_size=end.blob_size + staged.blob_size,
        lease_ms=clock.lease_ms(lease_s),
    )
    if not grown.rowcount:
        raise LeaseLost("This attempt has ended: its log takes no more.")
    run(
        statements.NEW_CHUNK,
        attempt_id=end.attempt_id,
        offset=end.log_size,
        size=staged.size,
        lines_before=end.log_lines,
        blob_offset=end.blob_size,
        blob_size=staged.blob_size,
    )


def chunks(attempt_id: str, start: int = 0, end: int | None = None) -> Sequence[LogChunk]:
    """The chunks that hold the bytes from `start` to `end`, in order."""
    query = select(LogChunk).where(LogChunk.attempt_id == attempt_id, LogChunk.offset + LogChunk.size > start)
    if end is not None:
        query = query.where(LogChunk.offset < end)
    return db.session.scalars(query.order_by(LogChunk.offset)).all()


def read(attempt_id: str, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, as far as they are there. For pieces, not for whole logs."""
    return b"".join(stream(attempt_id, start, end))


def stream(attempt_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The same, a chunk at a time. The index is read at once, so that the database is free while a slow reader reads."""
    found = chunks(attempt_id, start, end)
    for chunk in found:
        db.session.expunge(chunk)
    path = path_of(attempt_id)
    return _members(path, found, start, end)


def _members(path: Path, found: Sequence[LogChunk], start: int, end: int | None) -> Iterator[bytes]:
    if not found:
        return
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened as file:
        for chunk in found:
            data = _member(file.fileno(), chunk)
            first = max(0, start - chunk.offset)
            last = None if end is None else end - chunk.offset
            yield data[first:last]


def _member(file: int, chunk: LogChunk) -> bytes:
    return zlib.decompress(os.pread(file, chunk.blob_size, chunk.blob_offset), zlib.MAX_WBITS | 16)


def sha256_of(attempt_id: str, size: int, tail: bytes = b"") -> str:
    """Of the stored log and a tail that isn't yet, in hex; in a thread where that takes long."""
    found = chunks(attempt_id) if size else []
    for chunk in found:
        db.session.expunge(chunk)
    path = path_of(attempt_id)
    return _hash(path, found, tail) if size <= INLINE_BYTES else offload(_hash, path, found, tail)


def _hash(path: Path, found: Sequence[LogChunk], tail: bytes) -> str:
    sha = hashlib.sha256()
    for data in _members(path, found, 0, None):
        sha.update(data)
    sha.update(tail)
    return sha.hexdigest()
