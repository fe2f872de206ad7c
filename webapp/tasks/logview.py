"""A log as a page shows it: numbered lines of HTML, never more than a window of them.

Where bytes were left out of an over-long log a line says so. Numbers count the line ends that are known: behind bytes that
the server never saw they are too low.
"""

import time
from dataclasses import dataclass, field

from markupsafe import Markup, escape
from sqlalchemy import ColumnElement, select

from webapp.extensions import db
from webapp.tasks import logs
from webapp.tasks.ansi import Style, plain, to_html
from webapp.tasks.models import Attempt, LogChunk

WINDOW = 2000
# What a browser gets of one line, and of one window; the download has everything.
LINE_CHARACTERS = 4000
WINDOW_BYTES = 1024 * 1024
# Pieces of colour in one window: what comes behind them is shown without, or a browser would be busy for seconds.
WINDOW_SPANS = 30_000
# What one append sends: a page that fell behind catches up in several.
YIELD_LINES = 50
APPEND_BYTES = 512 * 1024


@dataclass(frozen=True)
class Line:
    """Without a number it is the rest of a numbered line that has a hole, or the hole itself: `missing` bytes."""

    number: int | None
    html: Markup = field(default_factory=Markup)
    missing: int = 0


@dataclass(frozen=True)
class Window:
    """`offset`: the first byte after the last whole line, where an append goes on. `partial`: what follows it so far.

    `following`: the number of the first line after it.
    """

    lines: list[Line] = field(default_factory=list)
    first: int = 1
    offset: int = 0
    partial: Markup | None = None
    total_lines: int = 0
    following: int = 1

    @property
    def last(self) -> int:
        """The number of the last line, 0 where there is none."""
        return max((line.number for line in self.lines if line.number), default=0)


@dataclass
class _Stretch:
    """Bytes without a hole between them; `line` is the one that the first belongs to."""

    offset: int
    line: int
    data: bytearray

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


def tail(attempt: Attempt, lines: int = WINDOW) -> Window:
    """The last lines, and what follows the last line end."""
    end = attempt.log_lines
    return _window(attempt, max(1, end - lines + 1), end + 1, keep=max(1, end), to_end=True)


def before(attempt: Attempt, line: int, count: int = WINDOW) -> Window:
    """The lines before this one."""
    last = min(line, attempt.log_lines + 1)
    if (cut := _line_cut(attempt, last)) is not None:
        line = last = min(last, cut + 1)  # those between were left out
    return _window(attempt, max(1, line - count), last, keep=last - 1)


def around(attempt: Attempt, line: int) -> Window:
    """A window with this line in its middle; the tail where that is the same."""
    if line > attempt.log_lines - WINDOW:
        window = tail(attempt)
        if window.first <= line:
            return window
    cut = _line_cut(attempt, line)
    if cut is not None and _line_at(attempt, start_of(attempt, line)) != line:
        line = cut  # it was left out: show where
    last = min(line + WINDOW // 2, attempt.log_lines + 1)
    return _window(attempt, max(1, line - WINDOW // 2), last, keep=min(line, attempt.log_lines))


def after(attempt: Attempt, offset: int) -> Window:
    """What has come since `offset`, which is the start of a line."""
    start = _kept_from(attempt, offset)
    end = min(attempt.log_size, start + APPEND_BYTES)
    found = _stretches(attempt, start, end)
    if not found:
        return Window(offset=offset, total_lines=attempt.log_lines)
    if attempt.log_lines - found[0].line >= WINDOW:
        return tail(attempt)  # a page keeps only the last window: what lies between would come and go unseen
    shown = _Shown(offset)
    shown.add_all(found)
    partial, rest = _html(shown.rest, shown.style, len(shown.rest)) if shown.rest else None, len(shown.rest)
    if end < attempt.log_size:
        # One line longer than all that we read: go on behind it, or the page would never get further.
        partial, rest = None, rest if shown.lines else 0
    first = found[0].line
    return Window(shown.lines, first, found[-1].end - rest, partial, attempt.log_lines)


def _window(attempt: Attempt, first: int, last: int, keep: int, to_end: bool = False) -> Window:
    """Lines `first` up to but not `last`. Where that is more than a window may be, as many as fit, `keep` among them."""
    if attempt.log_size == 0 or (first >= last and not to_end):
        return Window(total_lines=attempt.log_lines)
    holes = logs.holes_of(attempt)
    start, end = start_of(attempt, first), attempt.log_size if to_end else start_of(attempt, last)
    if holes.kept(end) - holes.kept(start) > WINDOW_BYTES:
        low = min(holes.kept(start_of(attempt, keep)) - WINDOW_BYTES // 2, holes.kept(end) - WINDOW_BYTES)
        if low > holes.kept(start):
            first = min(_line_at(attempt, holes.place(low - 1)) + 1, keep)
            start = start_of(attempt, first)
    stop = min(end, holes.place(holes.kept(start) + WINDOW_BYTES))
    hole = holes.ending_at(start)
    shown = _Shown(hole.start if hole else start, first)
    shown.add_all(_stretches(attempt, start, stop))
    if (
        shown.rest and not to_end and shown.rest_number == keep
    ):  # the line that is wanted is itself more than a window
        shown.cut(start_of(attempt, keep + 1) - start_of(attempt, keep) - 1)
    following = shown.rest_number
    if stop > shown.at:
        shown.skip_to(stop)
        following = _line_at(attempt, stop)
    return Window(
        shown.lines,
        shown.first,
        stop - len(shown.rest),
        _html(shown.rest, shown.style, len(shown.rest)) if shown.rest and to_end else None,
        attempt.log_lines,
        following,
    )


class _Shown:
    """Lines as they are added; `rest` is what follows the last line end, `at` the place in the log after it."""

    def __init__(self, at: int, first: int = 1) -> None:
        self.lines: list[Line] = []
        self.at, self.first = at, first
        self.rest, self.rest_number = b"", first
        self.style = Style()
        self.spans = 0

    def add_all(self, stretches: list[_Stretch]) -> None:
        if stretches:
            self.first = stretches[0].line
        for stretch in stretches:
            if stretch.offset > self.at:
                self.skip_to(stretch.offset)
            self._add(stretch)

    def _add(self, stretch: _Stretch) -> None:
        *whole, self.rest = bytes(stretch.data).split(b"\n")
        for index, line in enumerate(whole):
            self._line(stretch.line + index, line, len(line))
            if index % YIELD_LINES == 0:
                time.sleep(0)  # others go on meanwhile: a window may take some hundred milliseconds
        self.rest_number = stretch.line + len(whole)
        self.at = stretch.end

    def skip_to(self, offset: int) -> None:
        """A hole up to here. It cuts the line that it begins in."""
        self.cut(len(self.rest))
        self.lines.append(Line(None, missing=offset - self.at))
        self.at, self.style = offset, Style()

    def cut(self, size: int) -> None:
        """Show the line that isn't whole as it is."""
        if self.rest:
            self._line(self.rest_number, self.rest, size)
            self.rest = b""

    def _line(self, number: int, line: bytes, size: int) -> None:
        """A number is shown once, though a line may be there twice: before a hole and behind it."""
        is_taken = any(shown.number == number for shown in self.lines[-2:])
        html = _html(line, self.style, size, is_plain=self.spans > WINDOW_SPANS)
        self.spans += html.count("<span")
        self.lines.append(Line(None if is_taken else number, html))


def _stretches(attempt: Attempt, start: int, stop: int) -> list[_Stretch]:
    """The bytes that are kept from `start` to `stop`."""
    found: list[_Stretch] = []
    for chunk, data in logs.members(attempt.id, start, stop):
        skipped = max(0, start - chunk.offset)
        part = data[skipped : stop - chunk.offset]
        if not found or found[-1].end != chunk.offset:
            line = chunk.lines_before + data[:skipped].count(b"\n") + 1
            found.append(_Stretch(chunk.offset + skipped, line, bytearray()))
        found[-1].data += part
    return found


def start_of(attempt: Attempt, line: int) -> int:
    """The byte at which a line starts: behind the line end before it, wherever the chunks' borders are.

    Of a line whose beginning was left out it is the first byte behind the hole.
    """
    if line <= 1:
        return 0
    chunk = _chunk_at(attempt, LogChunk.lines_before < line - 1)
    if chunk is None:
        return _kept_from(attempt, 0)
    data, at = logs.read(attempt.id, chunk.offset, chunk.offset + chunk.size), 0
    for _ in range(line - 1 - chunk.lines_before):
        found = data.find(b"\n", at)
        if found < 0:
            return _kept_from(attempt, chunk.offset + chunk.size)
        at = found + 1
    return chunk.offset + at


def _line_at(attempt: Attempt, offset: int) -> int:
    """The line that a byte belongs to; of one that was left out, the line that the hole begins in."""
    chunk = _chunk_at(attempt, LogChunk.offset <= offset)
    if chunk is None:
        return 1
    return chunk.lines_before + logs.read(attempt.id, chunk.offset, offset).count(b"\n") + 1


def _line_cut(attempt: Attempt, line: int) -> int | None:
    """Where the beginning of this line was left out: the line that the hole begins in."""
    hole = logs.holes_of(attempt).ending_at(start_of(attempt, line))
    return _line_at(attempt, hole.start) if hole else None


def _kept_from(attempt: Attempt, offset: int) -> int:
    """The first place from here on that has a byte; the log's end where there is none."""
    query = select(LogChunk.offset).where(
        LogChunk.attempt_id == attempt.id, LogChunk.offset + LogChunk.size > offset
    )
    found = db.session.scalar(query.order_by(LogChunk.offset).limit(1))
    return attempt.log_size if found is None else max(offset, found)


def _chunk_at(attempt: Attempt, condition: ColumnElement[bool]) -> LogChunk | None:
    query = select(LogChunk).where(LogChunk.attempt_id == attempt.id, condition)
    return db.session.scalar(query.order_by(LogChunk.offset.desc()).limit(1))


def _html(line: bytes, style: Style, size: int, is_plain: bool = False) -> Markup:
    """What a terminal would show of it: after the last carriage return, without what it would obey."""
    line = line.rstrip(b"\r")
    line = line[line.rfind(b"\r") + 1 :]
    text = line[: LINE_CHARACTERS * 4].decode("utf-8", "replace")
    text_shown = text[:LINE_CHARACTERS]
    html = escape(plain(text_shown)) if is_plain else to_html(text_shown, style)
    if len(line) > LINE_CHARACTERS * 4 or len(text) > LINE_CHARACTERS:
        html += Markup('<span class="a2"> … cut here, {} bytes in all: download the log</span>').format(size)
    return html
