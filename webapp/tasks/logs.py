"""Logs: bytes by offset. Each chunk is one gzip member in the attempt's file, its place in the database.

The member is written at the committed end of the file first, and counts from the moment its row is committed. What a
crash leaves behind that end is written over by the next chunk.

An over-long log has a hole: its agent says which bytes of the middle it leaves out, and the rows of those that came
nevertheless go. Offsets count the whole log, the hole included.
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
from sqlalchemy import Row, func, select

from webapp import clock
from webapp.database import after_commit, release, run
from webapp.errors import LeaseLost, LogGap, TooLarge, Unavailable
from webapp.extensions import db
from webapp.offload import offload
from webapp.tasks import holes, statements
from webapp.tasks.holes import Holes, Span
from webapp.tasks.models import Attempt, LogChunk


class StorageFull(Unavailable):
    """The server can't write logs. Nothing was stored: try again."""

    slug = "storage-full"


CHUNK_LIMIT = 1024 * 1024
COMPRESSION = 3
# Hashing less than this is quicker than handing it to a thread.
INLINE_BYTES = 256 * 1024
# Of a log's index at once, where it is read to the end: one that was written for days has hundreds of thousands.
INDEX_ROWS = 256

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
    log_missing: int


@dataclass(frozen=True)
class Staged:
    """A chunk that lies in the file and waits for its row; `dropped`: what its agent leaves out of the log before it.

    `start` is behind the log's end where the bytes between are among those. `size` is 0 where all was there already.
    """

    end: LogEnd
    start: int
    size: int
    lines: int
    blob_size: int
    dropped: Span | None = None

    @property
    def log_size(self) -> int:
        return self.start + self.size


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
    return LogEnd(
        attempt.attempt_id, attempt.log_size, attempt.log_lines, attempt.blob_size, attempt.log_missing
    )


def path_of(attempt_id: str) -> Path:
    """The end of an id is random: it spreads the files over 256 folders."""
    return folder_of(attempt_id[-2:]) / f"{attempt_id}.gz"


def folder_of(ending: str) -> Path:
    """Where the logs of the attempts lie whose ids end so."""
    return Path(current_app.instance_path) / "logs" / ending


def stage(
    end: LogEnd, offset: int, data: bytes, dropped: Span | None = None, *, durable: bool = False
) -> Staged | None:
    """Write what is new of these bytes to the file. None when there is nothing to commit: all of it is there already.

    Raises LogGap when bytes before it miss that aren't `dropped`, TooLarge when the attempt would keep too many.
    `durable`: wait until the disk has it, because a report is about to say that the log is complete.
    """
    start, new = new_part(end, offset, data, dropped)
    if new:
        _keep_to_the_cap(end, len(new), dropped)
    member = gzip.compress(new, COMPRESSION, mtime=0) if new else b""
    if new or (durable and end.log_size):
        try:
            _write(path_of(end.attempt_id), end.blob_size, member, durable)
        except OSError as error:
            raise StorageFull(
                f"The server can't write logs: {error.strerror}. Nothing was stored: try again."
            ) from error
    if not new and not dropped:
        return None
    return Staged(end, start, len(new), new.count(b"\n"), len(member), dropped)


def new_part(end: LogEnd, offset: int, data: bytes, dropped: Span | None) -> tuple[int, bytes]:
    """What of these bytes isn't stored, and where in the log it goes. Raises LogGap."""
    if offset <= end.log_size:
        return end.log_size, data[end.log_size - offset :]
    if dropped is None or not dropped.start <= end.log_size < offset <= dropped.end:
        raise LogGap(f"The log ends at {end.log_size}, this begins at {offset}.", next_offset=end.log_size)
    return (offset, data) if data else (end.log_size, b"")


def _keep_to_the_cap(end: LogEnd, more: int, dropped: Span | None) -> None:
    """The agent caps its logs itself. This is for one that doesn't."""
    most = current_app.config["SETTINGS"].log_bytes
    kept = end.log_size - end.log_missing + more
    if kept > most and dropped:
        kept -= run(statements.SIZE_WITHIN, **_within(end, dropped)).scalar_one()
    if kept > most:
        raise TooLarge(
            f"At most {most} bytes of an attempt's log are kept here. Leave out its middle and say so: "
            "X-Log-Dropped: from-to."
        )


def _within(end: LogEnd, dropped: Span) -> dict[str, Any]:
    return {"of_attempt_id": end.attempt_id, "span_start": dropped.start, "span_end": dropped.end}


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
        new_size=staged.log_size,
        new_lines=end.log_lines + staged.lines,
        new_blob_size=end.blob_size + staged.blob_size,
        more_missing=staged.start - end.log_size,
        lease_ms=clock.lease_ms(lease_s),
    )
    if not grown.rowcount:
        raise LeaseLost("This attempt has ended: its log takes no more.")
    if staged.dropped:
        _forget(end, staged.dropped)
    if staged.size:
        run(
            statements.NEW_CHUNK,
            attempt_id=end.attempt_id,
            offset=staged.start,
            size=staged.size,
            lines_before=end.log_lines,
            blob_offset=end.blob_size,
            blob_size=staged.blob_size,
        )


def _forget(end: LogEnd, dropped: Span) -> None:
    """Remove the chunks that lie wholly in there; their space comes back after the commit, or never, after a crash."""
    gone = run(statements.FORGET_CHUNKS, **_within(end, dropped)).all()
    if not gone:
        return
    run(statements.MISS_MORE, of_attempt_id=end.attempt_id, more_missing=sum(row.size for row in gone))
    spans = holes.merged(Span(row.blob_offset, row.blob_offset + row.blob_size) for row in gone)
    path = path_of(end.attempt_id)
    after_commit(lambda: offload(holes.punch, path, spans))


def chunks(
    attempt_id: str, start: int = 0, end: int | None = None, most: int | None = None
) -> Sequence[LogChunk]:
    """The chunks that hold the bytes from `start` to `end`, in order; the first `most` of them."""
    query = select(LogChunk).where(LogChunk.attempt_id == attempt_id, LogChunk.offset + LogChunk.size > start)
    if end is not None:
        query = query.where(LogChunk.offset < end)
    return db.session.scalars(query.order_by(LogChunk.offset).limit(most)).all()


def read(attempt_id: str, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, as far as they are there. For pieces, not for whole logs."""
    return b"".join(stream(attempt_id, start, end))


def stream(attempt_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The same, a chunk at a time. The index is read at once, so that the database is free while a slow reader reads."""
    return (
        data[max(0, start - chunk.offset) : None if end is None else end - chunk.offset]
        for chunk, data in members(attempt_id, start, end)
    )


def marked(attempt_id: str, size: int) -> Iterator[bytes]:
    """The whole log for people to read: a line says where bytes were left out."""
    return _marked(members(attempt_id, 0, size), size)


def _marked(found: Iterator[tuple[LogChunk, bytes]], size: int) -> Iterator[bytes]:
    at, last = 0, b""
    for chunk, data in found:
        if chunk.offset > at:
            yield _cut(last) + holes.mark(chunk.offset - at)
        last = data[: size - chunk.offset]
        yield last
        at = chunk.offset + len(last)
    if at < size:
        yield _cut(last) + holes.mark(size - at)


def _cut(before: bytes) -> bytes:
    """Ends the line that a hole begins in."""
    return b"" if not before or before.endswith(b"\n") else b"\n"


def exactly(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    """So many bytes, as a header has promised, or an answer that breaks off: what a reader is about to read may go."""
    for data in body:
        size -= len(data)
        yield data
    if size:
        raise Unavailable("A part of this log was removed while it was read. Ask again.")


def members(attempt_id: str, start: int = 0, end: int | None = None) -> Iterator[tuple[LogChunk, bytes]]:
    """The chunks that hold these bytes, each with all of its own, in order."""
    found = chunks(attempt_id, start, end)
    for chunk in found:
        db.session.expunge(chunk)
    path = path_of(attempt_id)
    return _members(path, found)


def members_to_end(attempt_id: str, start: int) -> Iterator[tuple[LogChunk, bytes]]:
    """The same to the log's end, however many there are: the database is free while they are read."""
    path = path_of(attempt_id)
    while found := chunks(attempt_id, start, most=INDEX_ROWS):
        release()
        yield from _members(path, found)
        start = found[-1].offset + found[-1].size


def _members(path: Path, found: Sequence[LogChunk]) -> Iterator[tuple[LogChunk, bytes]]:
    """Nothing where the file has gone: retention took it a moment ago, or it is missing, which `retention.why_gone` says."""
    if not found:
        return
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened as file:
        for chunk in found:
            packed = os.pread(file.fileno(), chunk.blob_size, chunk.blob_offset)
            if any(packed[:2]) or not packed:
                yield chunk, zlib.decompress(packed, zlib.MAX_WBITS | 16)
            # Else zeros: its agent left it out a moment ago, after the index was read.


def holes_of(attempt: Attempt) -> Holes:
    """What its log leaves out, from what the index misses."""
    if not attempt.log_missing:
        return Holes()
    found = run(statements.HOLES, of_attempt_id=attempt.id).all()
    spans = [Span(row.hole_start, row.hole_end) for row in found]
    last = db.session.scalar(
        select(func.max(LogChunk.offset + LogChunk.size)).where(LogChunk.attempt_id == attempt.id)
    )
    if (last or 0) < attempt.log_size:
        spans.append(Span(last or 0, attempt.log_size))
    return Holes(tuple(spans))


def sha256_of(attempt_id: str, size: int, tail: bytes = b"") -> str:
    """Of the stored log and a tail that isn't yet, in hex; in a thread where that takes long."""
    found = chunks(attempt_id) if size else []
    for chunk in found:
        db.session.expunge(chunk)
    path = path_of(attempt_id)
    return _hash(path, found, tail) if size <= INLINE_BYTES else offload(_hash, path, found, tail)


def _hash(path: Path, found: Sequence[LogChunk], tail: bytes) -> str:
    sha = hashlib.sha256()
    for _, data in _members(path, found):
        sha.update(data)
    sha.update(tail)
    return sha.hexdigest()
