"""A line of a terminal as HTML: colours become fixed classes, everything else that a terminal would obey is dropped."""

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

# CSI, OSC and other string sequences, and single-character escapes. None goes beyond its line: many lines at once give the
# same as each alone.
_ESCAPES = (
    r"\x1b\[(?P<parameters>[0-9;:?<=>]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
# And control characters but the tab.
_SEQUENCE = re.compile(_ESCAPES + r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(_ESCAPES)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROLS = dict.fromkeys([*range(9), *range(0x0B, 0x20), 0x7F])
# Characters that reorder or hide what follows: shown as what they are, never obeyed.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_PLAIN = {1: "a1", 2: "a2", 3: "a3", 4: "a4", 7: "a7"}
_OFF = {22: ("a1", "a2"), 23: ("a3",), 24: ("a4",), 27: ("a7",)}

# More colours than that in one line are drawn in the last one: a page has to stay small.
SPANS_OF_A_LINE = 200


@dataclass
class Style:
    """The classes in force. Kept from line to line, since a program may colour many lines at once."""

    marks: frozenset[str] = frozenset()
    colour: str = ""

    @property
    def classes(self) -> str:
        return " ".join([*sorted(self.marks), *([self.colour] if self.colour else [])])


def to_html(line: str, style: Style) -> Markup:
    """One line without its end. `style` goes on from the line before and is changed in place."""
    out: list[Markup] = []
    at = 0
    for match in _SEQUENCE.finditer(line):
        _add(out, line[at : match.start()], style)
        at = match.end()
        if match["final"] == "m" and len(out) < SPANS_OF_A_LINE:
            _apply(match["parameters"], style)
    _add(out, line[at:], style)
    return Markup("").join(out)


def plain(text: str) -> str:
    """Many lines as text alone: without colours, and without what a terminal would obey.

    A step at a time is ten times as fast as all of it in one expression: searching reads whole logs.
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if text.isascii():
        return text.translate(_CONTROLS)
    return _shown(_CONTROL.sub("", text))


def _shown(text: str) -> str:
    return _BIDI.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def _add(out: list[Markup], text: str, style: Style) -> None:
    if not text:
        return
    safe = escape(_shown(text))
    out.append(Markup('<span class="{}">{}</span>').format(style.classes, safe) if style.classes else safe)


def _apply(parameters: str, style: Style) -> None:
    """SGR, ECMA-48 8.3.117: what we have no class for changes nothing."""
    if parameters[:1] in ("<", "=", ">", "?"):
        return  # a private sequence that only ends in the same letter
    codes = parameters.split(";")
    at = 0
    while at < len(codes):
        code, *rest = codes[at].split(":")  # after a colon come arguments of this code alone
        at += 1
        if code in ("38", "48", "58"):  # 256 colours and true colour carry their arguments with them
            if not rest:
                at += {"5": 2, "2": 4}.get(codes[at] if at < len(codes) else "", 0)
        elif code == "4" and rest[:1] == ["0"]:
            _apply_one(24, style)
        elif not code or (code.isdecimal() and len(code) < 4):
            _apply_one(int(code or 0), style)


def _apply_one(code: int, style: Style) -> None:
    if code == 0:
        style.marks, style.colour = frozenset(), ""
    elif code in _PLAIN:
        style.marks |= {_PLAIN[code]}
    elif code in _OFF:
        style.marks -= set(_OFF[code])
    elif 30 <= code <= 37 or 90 <= code <= 97:
        style.colour = f"a{code if code < 90 else code - 60}"
    elif code == 39:
        style.colour = ""
    elif 40 <= code <= 47 or 100 <= code <= 107:
        style.marks |= {"a7"}
    elif code == 49:
        style.marks -= {"a7"}
