"""A log as a page shows it: numbered lines of HTML, never more than a window of them."""

import time
from dataclasses import dataclass, field

from markupsafe import Markup
from sqlalchemy import ColumnElement, select

from webapp.extensions import db
from webapp.tasks import logs
from webapp.tasks.ansi import Style, to_html
from webapp.tasks.models import Attempt, LogChunk

WINDOW = 2000
# What a browser gets of one line, and of one window; the download has everything.
LINE_CHARACTERS = 4000
WINDOW_BYTES = 1024 * 1024
# What one append sends: a page that fell behind catches up in several.
YIELD_LINES = 50
APPEND_BYTES = 512 * 1024


@dataclass(frozen=True)
class Line:
    number: int
    html: Markup


@dataclass(frozen=True)
class Window:
    """`offset`: the first byte after the last whole line, where an append goes on. `partial`: what follows it so far."""

    lines: list[Line] = field(default_factory=list)
    first: int = 1
    offset: int = 0
    partial: Markup | None = None
    has_older: bool = False
    total_lines: int = 0


def tail(attempt: Attempt, lines: int = WINDOW) -> Window:
    """The last lines, and what follows the last line end."""
    end = attempt.log_lines
    return _window(attempt, max(1, end - lines + 1), end + 1, keep=max(1, end), to_end=True)


def before(attempt: Attempt, line: int, count: int = WINDOW) -> Window:
    """The lines before this one."""
    last = min(line, attempt.log_lines + 1)
    return _window(attempt, max(1, line - count), last, keep=last - 1)


def around(attempt: Attempt, line: int) -> Window:
    """A window with this line in its middle; the tail where that is the same."""
    if line > attempt.log_lines - WINDOW:
        window = tail(attempt)
        if window.first <= line:
            return window
    last = min(line + WINDOW // 2, attempt.log_lines + 1)
    return _window(attempt, max(1, line - WINDOW // 2), last, keep=min(line, attempt.log_lines))


def after(attempt: Attempt, offset: int) -> Window:
    """What has come since `offset`, which is the start of a line."""
    chunk = _chunk_at(attempt, LogChunk.offset <= offset)
    if chunk is None or offset >= attempt.log_size:
        return Window(offset=offset, total_lines=attempt.log_lines)
    end = min(attempt.log_size, offset + APPEND_BYTES)
    data = logs.read(attempt.id, chunk.offset, end)
    skipped = offset - chunk.offset
    first = chunk.lines_before + data[:skipped].count(b"\n") + 1
    if attempt.log_lines - first >= WINDOW:
        return tail(attempt)  # a page keeps only the last window: what lies between would come and go unseen
    lines, rest, partial = _lines(data[skipped:], first)
    if end < attempt.log_size:
        # One line longer than all that we read: go on behind it, or the page would never get further.
        partial, rest = None, rest if lines else b""
    return Window(lines, first, end - len(rest), partial, first > 1, attempt.log_lines)


def _window(attempt: Attempt, first: int, last: int, keep: int, to_end: bool = False) -> Window:
    """Lines `first` up to but not `last`. Where that is more than a window may be, as many as fit, `keep` among them."""
    if attempt.log_size == 0 or (first >= last and not to_end):
        return Window(total_lines=attempt.log_lines)
    start, end = _start_of(attempt, first), attempt.log_size if to_end else _start_of(attempt, last)
    if end - start > WINDOW_BYTES:
        low = min(_start_of(attempt, keep) - WINDOW_BYTES // 2, end - WINDOW_BYTES)
        if low > start:
            first = min(_line_at(attempt, low - 1) + 1, keep)
            start = _start_of(attempt, first)
    stop = min(end, start + WINDOW_BYTES)
    lines, rest, partial = _lines(logs.read(attempt.id, start, stop), first)
    if (
        rest and not to_end and first + len(lines) == keep
    ):  # the line that is wanted is itself more than a window
        size = _start_of(attempt, keep + 1) - _start_of(attempt, keep) - 1
        lines.append(Line(keep, _html(rest, Style(), size)))
    return Window(lines, first, stop - len(rest), partial if to_end else None, first > 1, attempt.log_lines)


def _start_of(attempt: Attempt, line: int) -> int:
    """The byte at which a line starts: behind the line end before it, wherever the chunks' borders are."""
    if line <= 1:
        return 0
    chunk = _chunk_at(attempt, LogChunk.lines_before < line - 1)
    if chunk is None:
        return attempt.log_size
    data, at = logs.read(attempt.id, chunk.offset, chunk.offset + chunk.size), 0
    for _ in range(line - 1 - chunk.lines_before):
        at = data.find(b"\n", at) + 1
    return chunk.offset + at


def _line_at(attempt: Attempt, offset: int) -> int:
    """The line that a byte belongs to."""
    chunk = _chunk_at(attempt, LogChunk.offset <= offset)
    if chunk is None:
        return 1
    return chunk.lines_before + logs.read(attempt.id, chunk.offset, offset).count(b"\n") + 1


def _chunk_at(attempt: Attempt, condition: ColumnElement[bool]) -> LogChunk | None:
    query = select(LogChunk).where(LogChunk.attempt_id == attempt.id, condition)
    return db.session.scalar(query.order_by(LogChunk.offset.desc()).limit(1))


def _lines(data: bytes, first: int) -> tuple[list[Line], bytes, Markup | None]:
    """Whole lines as HTML, and what follows the last one, as it is and as HTML."""
    *whole, rest = data.split(b"\n")
    style = Style()
    lines = []
    for index, line in enumerate(whole):
        lines.append(Line(first + index, _html(line, style, len(line))))
        if index % YIELD_LINES == 0:
            time.sleep(0)  # others go on meanwhile: a window may take some hundred milliseconds
    return lines, rest, _html(rest, style, len(rest)) if rest else None


def _html(line: bytes, style: Style, size: int) -> Markup:
    """What a terminal would show of it: after the last carriage return, without what it would obey."""
    line = line.rstrip(b"\r")
    line = line[line.rfind(b"\r") + 1 :]
    text = line[: LINE_CHARACTERS * 4].decode("utf-8", "replace")
    html = to_html(text[:LINE_CHARACTERS], style)
    if len(line) > LINE_CHARACTERS * 4 or len(text) > LINE_CHARACTERS:
        html += Markup('<span class="a2"> … cut here, {} bytes in all: download the log</span>').format(size)
    return html
