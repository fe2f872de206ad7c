"""Searching a log for plain text, as a page shows it: without colours, and without what a later part of its line hides.

A piece at a time, with time for others between; a search that takes long stops, and says from which line it goes on.
"""

import time
from dataclasses import dataclass, field

from webapp import clock
from webapp.tasks import logs, logview
from webapp.tasks.ansi import plain
from webapp.tasks.models import Attempt

FIND_CHARACTERS = 255
# Of one answer. Whoever wants more goes on from there.
HITS = 500
SEARCH_SECONDS = 0.5
# Searched before others get their turn: a few milliseconds.
PIECE = 64 * 1024
# A line that has no end after so much is searched as it comes, or it would fill the memory.
LONG_LINE = 256 * 1024
# Looked at again with what follows, so that nothing is missed between two parts of such a line.
OVERLAP = 8 * 1024
# Shown of a hit's line before the text that was found, and in all.
BEFORE, EXCERPT = 40, 200


@dataclass(frozen=True)
class Hit:
    """A line that has the text: what stands before it, the text itself as it is written there, what follows."""

    number: int
    before: str
    match: str
    behind: str


@dataclass(frozen=True)
class Found:
    """`next_line`: where a further search begins; `is_whole`: it would begin at the log's end."""

    find: str = ""
    hits: list[Hit] = field(default_factory=list)
    next_line: int = 1
    is_whole: bool = True


def asked(text: str) -> str:
    """What to search for, of what somebody typed or pasted."""
    return text.strip()[:FIND_CHARACTERS]


def search(attempt: Attempt, find: str, line: int = 1) -> Found:
    """The lines that have it, from this one on, upper and lower case alike. Gives the database back."""
    wanted = find.lower()
    if not wanted or not attempt.log_size:
        return Found(find)
    start = logview.start_of(attempt, line)
    lines, at = _Lines(wanted), start
    until, first = clock.monotonic() + SEARCH_SECONDS, 0
    for chunk, data in logs.members_to_end(attempt.id, start):
        begin = max(0, start - chunk.offset)
        if chunk.offset > at or not lines.number:
            lines.begin(chunk.lines_before + data.count(b"\n", 0, begin) + 1)
            first = first or lines.number
        at = chunk.offset + len(data)
        for piece in range(begin, len(data), PIECE):
            lines.add(data[piece : piece + PIECE])
            if lines.is_full:
                return Found(find, lines.hits, lines.hits[-1].number + 1, is_whole=False)
            if lines.is_between and lines.number > first and clock.monotonic() > until:
                return Found(find, lines.hits, lines.number, is_whole=False)
            time.sleep(0)  # others go on meanwhile
    lines.end()
    return Found(find, lines.hits, lines.number or line)


class _Lines:
    """Lines as they are added. `number` is the one of the line that `rest` begins; 0 where none was added yet."""

    def __init__(self, wanted: str) -> None:
        self.wanted, self.number = wanted, 0
        self.hits: list[Hit] = []
        self.rest = b""
        self._is_long = False
        self._of_long: Hit | None = None

    @property
    def is_between(self) -> bool:
        """A further search begins at a line's start: one without an end is searched as far as it goes."""
        return not self._is_long

    @property
    def is_full(self) -> bool:
        return len(self.hits) >= HITS

    def begin(self, number: int) -> None:
        """Go on behind a hole: it ends what was begun, though the line may have more behind it."""
        self.end()
        self.number = number

    def end(self) -> None:
        if self._is_long:
            self._end_long()
        elif self.rest:
            self._keep(self._hit_in(_shown(self.rest), self.number))
        self.rest = b""

    def add(self, data: bytes) -> None:
        if self._is_long:
            data, newline, behind = data.partition(b"\n")
            self._add_to_long(data)
            if not newline:
                return
            self._end_long()
            self.number, data = self.number + 1, behind
        whole, newline, rest = (self.rest + data).rpartition(b"\n")
        if newline:
            self._add_lines(whole)
        self.rest = rest
        if len(rest) > LONG_LINE:
            self.rest, self._is_long = b"", True
            self._add_to_long(rest)

    def _add_lines(self, whole: bytes) -> None:
        """Those that have it are found in all of them at once: most pieces have none."""
        text = _shown(whole)
        lowered = text.lower()
        if self.wanted in lowered:
            number, lines = self.number, text.split("\n")
            for line in lines:
                if self.is_full:
                    return
                self._keep(self._hit_in(line, number))
                number += 1
        self.number += whole.count(b"\n") + 1

    def _add_to_long(self, data: bytes) -> None:
        data = self.rest + data
        kept = data.rstrip(b"\r")
        if (hidden := kept.rfind(b"\r") + 1) > 0:
            self._of_long, data = None, data[hidden:]
        if self._of_long is None:
            self._of_long = self._hit_in(plain(data.decode("utf-8", "replace")), self.number)
        self.rest = data[-OVERLAP:]

    def _end_long(self) -> None:
        self._keep(self._of_long)
        self.rest, self._is_long, self._of_long = b"", False, None

    def _hit_in(self, line: str, number: int) -> Hit | None:
        at = line.lower().find(self.wanted)
        if at < 0:
            return None
        begin, end = max(0, at - BEFORE), at + len(self.wanted)
        before = ("…" if begin else "") + line[begin:at].lstrip()
        return Hit(number, before, line[at:end], line[end : begin + EXCERPT])

    def _keep(self, hit: Hit | None) -> None:
        """A line is a hit once, though a hole may have cut it in two."""
        if hit and not (self.hits and self.hits[-1].number == hit.number):
            self.hits.append(hit)


def _shown(lines: bytes) -> str:
    """What a page shows of them."""
    if b"\r" in lines:
        each = (line.rstrip(b"\r") for line in lines.split(b"\n"))
        lines = b"\n".join(line[line.rfind(b"\r") + 1 :] for line in each)
    return plain(lines.decode("utf-8", "replace"))
