from __future__ import annotations

import base64
import json
import random
import threading
import time
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import masked
from agent.logs import MemorySource
from agent.mask import Masker
from agent.masked import MaskedSource
from agent.secret_forms import MAX_BYTES, forms, secrets_of

SECRET = 'p@ss/wörd "1"&2'
# Few letters, so that secrets overlap, repeat and begin alike; no star, which is what a mask is made of.
LETTERS = "ab/ %\nö"
SECRETS = st.lists(st.text(LETTERS, min_size=6, max_size=14), min_size=1, max_size=4)


def in_pieces(masker: Masker, text: bytes, cuts: list[int]) -> bytes:
    """Masked as it grows: looked at at each of `cuts`, and at the end."""
    out, begin = b"", 0
    for end in sorted(min(cut, len(text)) for cut in cuts):
        done, some = masker.step(text[begin:end], is_last=False)
        begin, out = begin + done, out + some
    return out + masker.whole(text[begin:])


@st.composite
def logs_with_secrets(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Secrets, and a text made of them, of their forms, of halves of those, and of other things."""
    secrets = draw(SECRETS)
    every = sorted({form for secret in secrets for form in forms(secret)})
    part = st.one_of(
        st.sampled_from(every),
        st.builds(lambda form, end: form[:end], st.sampled_from(every), st.integers(1, 13)),
        st.text(LETTERS, max_size=5).map(str.encode),
        st.binary(max_size=5),
    )
    return secrets, b"".join(draw(st.lists(part, max_size=12)))


@given(logs_with_secrets(), st.lists(st.integers(0, 120), max_size=15))
def test_wherever_a_log_is_cut_the_same_comes_out(case: tuple[list[str], bytes], cuts: list[int]) -> None:
    secrets, text = case
    masker = Masker(secrets)
    assert in_pieces(masker, text, cuts) == masker.whole(text)


@given(logs_with_secrets())
def test_no_form_of_a_secret_is_left(case: tuple[list[str], bytes]) -> None:
    secrets, text = case
    out = Masker(secrets).whole(text)
    assert [form for secret in secrets for form in forms(secret) if form in out] == []


@given(logs_with_secrets())
def test_what_is_no_secret_stays(case: tuple[list[str], bytes]) -> None:
    """Every replacement stands for a form, and the rest is what it was: found again by the simplest search."""
    secrets, text = case
    every = sorted({form for secret in secrets for form in forms(secret)}, key=len, reverse=True)
    expected, at = b"", 0
    while at < len(text):
        length = next((len(form) for form in every if text.startswith(form, at)), 0)
        expected += b"***" if length else text[at : at + 1]
        at += length or 1
    assert Masker(secrets).whole(text) == expected


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET).replace("%C3%B6", "%c3%b6"),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1].replace("&", "\\u0026"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"{SECRET}\n".encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_masked_in_each_of_its_forms(form: str) -> None:
    assert Masker([SECRET]).text(f"before {form} after") == "before *** after"


@pytest.mark.parametrize("before", ["", "x", "c", "xy", "\0\0", "xyz", "user:"])
@pytest.mark.parametrize("after", ["", "~", "~?", "@host"])
def test_a_secret_inside_of_what_was_encoded_is_masked(before: str, after: str) -> None:
    """Exactly the characters that hold bits of nothing else; at the end of all, the last ones too."""
    encoded = base64.b64encode(f"{before}{SECRET}{after}".encode())
    begin = -(-8 * len(before) // 6)
    end = 8 * len(f"{before}{SECRET}".encode()) // 6 if after else len(encoded)
    assert Masker([SECRET]).whole(encoded) == encoded[:begin] + b"***" + encoded[end:]


@pytest.mark.parametrize("url_safe", [False, True])
def test_long_base64_is_masked_where_it_is_broken_into_lines(url_safe: bool) -> None:
    secret = "".join(random.Random(1).choices("abcdefgh+/=0123", k=500))
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    for content in (secret, f"{secret}\n"):
        for width in (64, 76):
            encoded = encode(content.encode())
            wrapped = b"\n".join(encoded[at : at + width] for at in range(0, len(encoded), width))
            assert set(Masker([secret]).whole(wrapped)) <= set(b"*\n")


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    secret = "-----BEGIN KEY-----\n  c2VjcmV0b25l\nshort\nc2VjcmV0dHdv\n"
    masker = Masker([secret])
    assert masker.text(f"<{secret}>") == "<***>"
    assert masker.text("1: c2VjcmV0b25l\r\n2: short\n3: c2VjcmV0dHdv") == "1: ***\r\n2: short\n3: ***"
    assert masker.whole(base64.b64encode(b"c2VjcmV0dHdv")) == b"***"


def test_shorter_ones_than_six_characters_are_left_alone() -> None:
    assert Masker(["12345", "", "ab\ncd"]).text("12345 ab\ncd") == "12345 ab\ncd"
    assert Masker(["123456"]).text("12345 123456") == "12345 ***"


def test_of_secrets_that_begin_alike_the_longest_is_masked() -> None:
    assert Masker(["secret", "secret-one", "secret-one-two"]).text("secret-one-three") == "***-three"


def test_a_secret_may_consist_of_what_masks_are_made_of() -> None:
    masker = Masker(["*" * 6, "hunter22"])
    assert masker.text("****** hunter22 ***") == "*** *** ***"
    assert in_pieces(masker, b"*" * 13, list(range(14))) == masker.whole(b"*" * 13) == b"*" * 7


def test_a_very_long_secret_is_masked_and_holds_little_back() -> None:
    secret = "".join(random.Random(2).choices("abcdef 0123456789", k=5 * MAX_BYTES))
    masker = Masker([secret])
    assert masker.longest <= MAX_BYTES
    assert set(masker.text(secret)) == {"*"}


def test_only_what_may_become_a_secret_is_held_back() -> None:
    masker = Masker(["hunter22"])
    assert masker.step(b"first\n", is_last=False) == (6, b"first\n")
    assert masker.step(b"a hunt", is_last=False) == (2, b"a ")
    assert masker.step(b"a hunter2", is_last=False) == (2, b"a ")
    assert masker.step(b"a hunt", is_last=True) == (6, b"a hunt")


def test_as_long_as_it_may_become_a_secret_all_of_it_is_held_back() -> None:
    masker = Masker([SECRET])
    for form in forms(SECRET):
        for end in range(1, len(form)):
            assert masker.step(form[:end], is_last=False) == (0, b"")


def test_many_short_secrets_are_found_wherever_they_stand() -> None:
    secrets = [f"{number:03}xyz" for number in range(40)]
    masker = Masker(secrets)
    for secret in secrets:
        for at in range(8):
            for after in ("", "\n", "\0", "\xff", "ö"):
                assert masker.text(at * "-" + secret + after) == at * "-" + "***" + after


def test_a_result_is_masked_at_any_depth() -> None:
    masker = Masker(["hunter22", "1234567"])
    value = {"a": ["x hunter22", 7, None, True, {"hunter22": 91234567}], "b": 1.5}
    assert masker.value(value) == {"a": ["x ***", 7, None, True, {"***": "***"}], "b": 1.5}


def test_a_piece_of_a_long_secret_that_ends_within_a_character_is_masked() -> None:
    secret = "x" + "é" * MAX_BYTES
    assert Masker([secret]).text(secret[:-100] + "!").startswith("***")


def test_five_hundred_secrets_do_not_stop_a_log() -> None:
    """A busy machine needs a tenth of that time; comparing each secret at each place takes minutes."""
    chance = random.Random(3)
    secrets = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20)) for _ in range(500)]
    lines = b"".join(b"2026-11-21 worker %d looks at file %d\n" % (n % 7, n) for n in range(100_000))
    masker = Masker(secrets)
    began = time.monotonic()
    assert masker.whole(lines + secrets[-1].encode()) == lines + b"***"
    assert time.monotonic() - began < 20


SCHEMA = {"properties": {"env": {"x-secret": True}, "pin": {"x-secret": True}, "script": {}}}


def test_what_the_tool_calls_secret_and_what_the_task_brings_along_is_secret() -> None:
    task_input = {
        "env": {"TOKEN": "hunter22", "SHORT": "12345", "deep": [{"x": "deeper-still"}, None, True]},
        "pin": 1234567,
        "script": "echo not secret",
        "unknown": "not known to the tool",
    }
    data = {"task": {"input": task_input}, "secrets": {"vault": "from-the-vault"}}
    assert secrets_of(data, SCHEMA) == ["1234567", "deeper-still", "from-the-vault", "hunter22"]


@pytest.mark.parametrize("data", [{"task": {}}, {"task": {"input": {"env": None}}, "secrets": None}])
def test_a_task_may_have_no_secrets(data: dict[str, Any]) -> None:
    assert secrets_of(data, SCHEMA) == []


# A source that grows.


def known(raw: MemorySource, *secrets: str) -> MaskedSource:
    source = MaskedSource(raw)
    source.know(Masker(secrets))
    return source


def test_nothing_of_a_log_shows_before_its_secrets_are_known() -> None:
    raw = MemorySource()
    raw.append(b"hunter22")
    source = MaskedSource(raw)
    assert (source.size(), source.read(0, 100)) == (0, b"")
    source.finish()
    assert (source.size(), source.read(0, 100)) == (0, b"")


def test_half_a_secret_shows_only_once_nothing_can_follow() -> None:
    raw = MemorySource()
    source = known(raw, "hunter22")
    raw.append(b"first\nhunt")
    assert (source.size(), source.read(0, 100)) == (6, b"first\n")
    source.finish()
    raw.append(b"er22")
    assert (source.size(), source.read(0, 100)) == (10, b"first\nhunt")


def long_log(secret: bytes) -> bytes:
    """Secrets across all places where pieces of the size that is masked at once may end, and many more."""
    chance = random.Random(4)
    text = bytearray(chance.randbytes(9 * masked._PIECE_BYTES))
    for at in range(masked._PIECE_BYTES, len(text), masked._PIECE_BYTES):
        text[at - 4 : at - 4 + len(secret)] = secret
    for _ in range(500):
        at = chance.randrange(len(text) - len(secret))
        text[at : at + len(secret)] = secret
    return bytes(text)


def test_what_showed_once_shows_again_to_whoever_asks() -> None:
    """So the next agent goes on where this one was killed."""
    raw, text, chance = MemorySource(), long_log(b"hunter22"), random.Random(5)
    expected = Masker(["hunter22"]).whole(text)
    source, seen = known(raw, "hunter22"), b""
    cuts = [0, *sorted(chance.randrange(len(text)) for _ in range(40)), len(text)]
    for begin, end in pairwise(cuts):
        raw.append(text[begin:end])
        for one in (source, known(raw, "hunter22")):
            size = one.size()
            assert one.read(0, size + 1) == expected[:size]
        seen += source.read(len(seen), chance.randrange(200_000))
        assert expected.startswith(seen)
    source.finish()
    assert source.size() == len(expected)
    for _ in range(50):
        at, limit = chance.randrange(len(expected)), chance.randrange(200_000)
        assert source.read(at, limit) == expected[at : at + limit]


def test_a_log_that_was_cut_short_is_looked_at_anew() -> None:
    raw = MemorySource()
    source = known(raw, "hunter22")
    raw.append(b"hunter22 and more")
    assert source.size() == len(b"*** and more")
    raw._content[:] = b"now hunter22"
    assert source.read(0, source.size()) == b"now ***"
    source.finish()
    raw._content[:] = b"cut"
    assert (source.size(), source.read(0, 100)) == (3, b"cut")


def test_threads_that_look_at_a_growing_log_see_the_same() -> None:
    raw, text = MemorySource(), long_log(b"hunter22")
    expected = Masker(["hunter22"]).whole(text)
    source, seen, over = known(raw, "hunter22"), [b"", b"", b""], threading.Event()

    def look(number: int) -> None:
        while not over.is_set() or len(seen[number]) < source.size():
            seen[number] += source.read(len(seen[number]), 50_000)
            source.size()

    threads = [threading.Thread(target=look, args=(number,), daemon=True) for number in range(len(seen))]
    for thread in threads:
        thread.start()
    for at in range(0, len(text), 7001):
        raw.append(text[at : at + 7001])
    source.finish()
    over.set()
    for thread in threads:
        thread.join()
    assert [one == expected for one in seen] == [True] * 3
