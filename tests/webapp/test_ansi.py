"""A line of a terminal as HTML: colours as classes, nothing else obeyed, nothing unescaped."""

from __future__ import annotations

import html
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.tasks.ansi import Style, plain, to_html

SPAN = re.compile(r'<span class="(a\d+)( a\d+)*">|</span>')
OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown(line: str, style: Style | None = None) -> str:
    return str(to_html(line, style or Style()))


def text_of(markup: str) -> str:
    return html.unescape(SPAN.sub("", markup))


@pytest.mark.parametrize(
    ("line", "markup"),
    [
        ("plain", "plain"),
        ("a\tb", "a\tb"),
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("\x1b[31mred\x1b[0m on", '<span class="a31">red</span> on'),
        ("\x1b[31mred\x1b[m on", '<span class="a31">red</span> on'),
        ("\x1b[91mbright", '<span class="a31">bright</span>'),
        ("\x1b[1;4;31mall", '<span class="a1 a4 a31">all</span>'),
        ("\x1b[1mbold\x1b[22moff", '<span class="a1">bold</span>off'),
        ("\x1b[31mred\x1b[39mplain", '<span class="a31">red</span>plain'),
        ("\x1b[31m\x1b[32mgreen", '<span class="a32">green</span>'),
        ("\x1b[41mon red\x1b[49m", '<span class="a7">on red</span>'),
        ("\x1b[38;5;1mpalette", "palette"),
        ("\x1b[38;5;31;1mbold", '<span class="a1">bold</span>'),
        ("\x1b[38;2;1;31;4mtrue", "true"),
        ("\x1b[48;2;1;31;4;3mitalic", '<span class="a3">italic</span>'),
        ("\x1b[38;5mcut short", "cut short"),
        ("\x1b[38mcut short", "cut short"),
        ("\x1b[38:2::255:0:1mcolons", "colons"),
        ("\x1b[31m\x1b[38:5:1mkept", '<span class="a31">kept</span>'),
        ("\x1b[4:3mcurly", '<span class="a4">curly</span>'),
        ("\x1b[4m\x1b[31m\x1b[4:0mnot underlined", '<span class="a31">not underlined</span>'),
        ("\x1b[58;5;1mline colour", "line colour"),
        ("\x1b[58:2::1:4:7mline colour", "line colour"),
        ("\x1b[31m\x1b[>4;2mprivate", '<span class="a31">private</span>'),
        ("\x1b[31m\x1b[?25mprivate", '<span class="a31">private</span>'),
        ("\x1b[999999999mhuge", "huge"),
        ("\x1b[;;1mbold", '<span class="a1">bold</span>'),
        ("\x1b[2K\x1b[1Gcleared", "cleared"),
        ("\x1b[10;20Hmoved\x1b[?1049h", "moved"),
        ("\x1b]8;;https://evil.example/\x07link\x1b]8;;\x07", "link"),
        ("\x1b]8;;https://evil.example/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]52;c;cm0gLXJm\x07text", "text"),
        ("\x1bP1$r0m\x1b\\text", "text"),
        ("\x1bcreset\x1b(Bcharset", "resetcharset"),
        ("bell\x07 back\x08 null\x00 c1\x9b31m", "bell back null c131m"),
        ("\x1b", ""),
        ("\x1b[", ""),
        ("\x1b]0;never ends", ""),
        ("abc\u202etxt.exe", "abc&lt;U+202E&gt;txt.exe"),
        ("\u2066\u061c", "&lt;U+2066&gt;&lt;U+061C&gt;"),
        ("Grüße 你好 🚗", "Grüße 你好 🚗"),
    ],
)
def test_what_a_terminal_says_becomes(line: str, markup: str) -> None:
    assert shown(line) == markup


def test_a_style_goes_on_to_the_next_line_until_it_is_reset() -> None:
    style = Style()
    assert shown("\x1b[1;31mone", style) == '<span class="a1 a31">one</span>'
    assert shown("two\x1b[0m", style) == '<span class="a1 a31">two</span>'
    assert shown("three", style) == "three"


# Text made of what terminals and attackers send.
PIECES = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.sampled_from(
            [
                "\x1b",
                "\x1b[",
                "\x1b[31m",
                "\x1b[0m",
                "\x1b[38;5;",
                "\x1b]8;;",
                "\x07",
                "\x1b\\",
                "<",
                ">",
                "&",
                '"',
                "'",
            ]
        ),
        st.sampled_from(
            ["<script>", "</span>", "<span class=", "m", ";", ":", "\u202e", "\x9b", "\r", "\x00", "\x7f"]
        ),
        st.integers(0, 120).map(lambda code: f"\x1b[{code}m"),
        st.lists(st.integers(0, 300), max_size=6).map(lambda codes: f"\x1b[{';'.join(map(str, codes))}m"),
    ),
    max_size=30,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=4))
def test_whatever_comes_only_our_own_spans_are_markup_and_no_control_character_is_left(
    lines: list[str],
) -> None:
    style = Style()
    for line in lines:
        markup = shown(line, style)
        without = SPAN.sub("", markup)
        assert "<" not in without
        assert ">" not in without
        assert '"' not in without
        assert not OBEYED.search(markup)
        assert markup.count("<span") == markup.count("</span>")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf")), max_size=50))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert text_of(shown(text)) == text


def test_a_line_of_ten_megabytes_of_escapes_takes_no_longer_than_it_is_long() -> None:
    for piece in ("\x1b[31m", "\x1b]", "\x1b[1;", "\x1b", "\x1b[38;5;", "a\x1b[0m"):
        began = time.thread_time()
        to_html(piece * (300_000 // len(piece)), Style())
        assert time.thread_time() - began < 10, piece


def test_many_lines_as_text_alone_keep_their_ends_and_nothing_else() -> None:
    said = "\x1b[31mred\x1b[0m\n\x1b]0;title\x07two\tthree\r\n\u202eexe"
    assert plain(said) == "red\ntwo\tthree\n<U+202E>exe"
