"""Secrets never leave: what is sent of a log, an error and a result went through here.

A secret is looked for by its forms (agent.secret_forms), of which there may be thousands. Every form has at least six
bytes, so one of the words at each fourth byte lies in it: a set of words rules out nearly all of a log at the
speed of C, and only what is left is compared. One regular expression of all forms would be simpler, and with 500
secrets a thousand times slower. Where there are few forms, as without secrets of the task's own, each is searched for.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from agent.secret_forms import MIN_BYTES, forms

MASK = b"***"
_WORD = 4
_WORDS_AT_ONCE = 4096
_FEW_HEADS = 16


class _Family:
    """Forms that begin alike. `shorter[i]` is the longest form that form i begins with, -1 for none."""

    def __init__(self, members: Iterable[bytes]) -> None:
        self.forms = sorted(members)
        self.longest = max(map(len, self.forms))
        self.shorter: list[int] = []
        for number, form in enumerate(self.forms):
            self.shorter.append(self._beginning_of(form, number - 1))

    def _beginning_of(self, text: bytes, number: int) -> int:
        while number >= 0 and not text.startswith(self.forms[number]):
            number = self.shorter[number]
        return number

    def length_at(self, text: bytes, at: int) -> int:
        """Of the longest form that stands there; 0 for none."""
        here = text[at : at + self.longest]
        number = self._beginning_of(here, bisect_right(self.forms, here) - 1)
        return len(self.forms[number]) if number >= 0 else 0

    def goes_on_after(self, text: bytes, at: int) -> bool:
        """Whether a form begins with all that is left, and has more."""
        if len(text) - at >= self.longest:
            return False
        rest = text[at:]
        number = bisect_right(self.forms, rest)
        return number < len(self.forms) and self.forms[number].startswith(rest)


class Masker:
    """Replaces secrets by `***`: of those that overlap the leftmost, of those that begin together the longest.

    Without state, so that the same bytes always become the same, whoever asks, and however often.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        families: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._beginnings: set[bytes] = set()  # too short for a family
        self._words: set[int] = set()
        self.longest = 0
        for form in {form for secret in secrets for form in forms(secret)}:
            families[form[:MIN_BYTES]].add(form)
            self._beginnings.update(form[:end] for end in range(1, MIN_BYTES))
            self._words.update(_words_of(form))
            self.longest = max(self.longest, len(form))
        self._families = {head: _Family(members) for head, members in families.items()}

    def step(self, text: bytes, *, is_last: bool) -> tuple[int, bytes]:
        """→ how many bytes of `text` are done with, and what became of them.

        The others, fewer than `longest`, may be the beginning of a secret: to be given again with what follows.
        With `is_last` nothing follows, and none are left. Where the text is cut makes no difference.
        """
        done, end = 0, len(text)
        undecided = len(text) if is_last else max(0, len(text) - self.longest)
        parts: list[bytes] = []
        for at in self._places(text):
            if at < done:
                continue
            if at >= undecided and self._goes_on_after(text, at):
                end = at
                break
            family = self._families.get(text[at : at + MIN_BYTES])
            length = 0 if family is None else family.length_at(text, at)
            if length:
                parts += (text[done:at], MASK)
                done = at + length
        parts.append(text[done:end])
        return end, b"".join(parts)

    def _places(self, text: bytes) -> Iterator[int]:
        """Where a secret may begin, in order, some of them twice."""
        if len(self._families) <= _FEW_HEADS:
            yield from sorted(at for head in self._families for at in _found(text, head))
        else:
            yield from self._places_by_words(text)
        # A secret that has only begun may be too short to be found.
        yield from range(max(0, len(text) - MIN_BYTES), len(text))

    def _places_by_words(self, text: bytes) -> Iterator[int]:
        words = memoryview(text + bytes(-len(text) % _WORD)).cast("I")
        for begin in range(0, len(words), _WORDS_AT_ONCE):
            some = words[begin : begin + _WORDS_AT_ONCE]
            if self._words.isdisjoint(some):
                continue
            for number, word in enumerate(some, begin):
                if word in self._words:
                    for at in range(max(0, _WORD * number - _WORD + 1), _WORD * number + 1):
                        if text[at : at + MIN_BYTES] in self._families:
                            yield at

    def _goes_on_after(self, text: bytes, at: int) -> bool:
        if len(text) - at < MIN_BYTES:
            return text[at:] in self._beginnings
        family = self._families.get(text[at : at + MIN_BYTES])
        return family is not None and family.goes_on_after(text, at)

    def whole(self, text: bytes) -> bytes:
        return self.step(text, is_last=True)[1]

    def text(self, text: str) -> str:
        masked = self.whole(text.encode("utf-8", "surrogatepass"))
        try:
            return masked.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a piece of a long secret may end within a character
            return masked.decode("utf-8", "replace")

    def value(self, value: Any) -> Any:
        """Anything that JSON can carry, with its strings masked at any depth, and numbers that show a secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        if isinstance(value, int | float) and self.text(digits := json.dumps(value)) != digits:
            return MASK.decode("ascii")
        return value


def _found(text: bytes, head: bytes) -> Iterator[int]:
    at = text.find(head)
    while at >= 0:
        yield at
        at = text.find(head, at + 1)


def _words_of(form: bytes) -> Iterator[int]:
    """Of four words that follow each other by one byte, one stands at a multiple of four. The last of a form of six
    bytes reaches beyond it: there any byte may follow."""
    for at in range(_WORD):
        word = form[at : at + _WORD]
        ends = [b""] if len(word) == _WORD else [bytes([one]) for one in range(256)]
        yield from (int.from_bytes(word + end, sys.byteorder) for end in ends)
