"""Which values of a task are secret, and in what forms they may show."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, quote_plus

# Shorter ones aren't masked: they would blacken half of every log, and could be guessed from it.
MIN_CHARACTERS = 6
MIN_BYTES = 6  # of a form; none has more than this:
MAX_BYTES = 1024
_NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})

# How many bytes of something else stand before the secret in its group of three, and how many characters of the
# encoding hold bits of those.
_ALIGNMENTS = ((0, 0), (1, 2), (2, 3))
# Where `base64` and `openssl base64` break their lines.
_WIDTHS = (76, 64)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PERCENT = re.compile(rb"%[0-9A-F]{2}")
# Go writes these so, also where nothing asks for it.
_GO = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def secrets_of(
    data: Mapping[str, Any], schema: Mapping[str, Any], is_open: Mapping[str, Collection[str]] = _NOTHING
) -> list[str]:
    """The secrets in a task's data: of `secrets` all, of the input what `schema` marks with `x-secret`; of an object that is
    marked, without the members that `is_open` names for it."""
    task_input = (data.get("task") or {}).get("input") or {}
    parts = schema.get("properties", {})
    marked = [
        _without(value, is_open.get(name, ()))
        for name, value in task_input.items()
        if parts.get(name, {}).get("x-secret")
    ]
    found = {text for part in [*marked, data.get("secrets")] for text in _leaves(part)}
    return sorted(text for text in found if len(text) >= MIN_CHARACTERS)


def _without(value: Any, members: Collection[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: one for name, one in value.items() if name not in members}


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield json.dumps(value)


def forms(secret: str) -> set[bytes]:
    """Every text that gives the secret away, a secret of several lines also by each of its lines.

    What is longer than MAX_BYTES comes in pieces, because the longest form is what a log holds back.
    """
    found: set[bytes] = set()
    for text in {secret, *(line.strip() for line in secret.splitlines())}:
        if len(text) >= MIN_CHARACTERS:
            content = text.encode("utf-8", "surrogatepass")
            found |= {content, *_in_url(content), *_in_json(text), *_in_base64(content)}
    return {piece for form in found if len(form) >= MIN_BYTES for piece in _pieces(form)}


def _pieces(form: bytes) -> list[bytes]:
    """Of nearly the same size, so that the last isn't too short."""
    count = -(-len(form) // MAX_BYTES)
    cuts = [len(form) * number // count for number in range(count + 1)]
    return [form[begin:end] for begin, end in pairwise(cuts)]


def _in_url(content: bytes) -> Iterator[bytes]:
    for encoded in (quote(content), quote(content, safe=""), quote_plus(content)):
        upper = encoded.encode("ascii")
        yield upper
        yield _PERCENT.sub(lambda found: found[0].lower(), upper)


def _in_json(text: str) -> Iterator[bytes]:
    """As Python, JavaScript and Go escape it."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    for escaped in (json.dumps(text)[1:-1], plain, "".join(_GO.get(one, one) for one in plain)):
        yield escaped.encode("utf-8", "surrogatepass")


def _in_base64(content: bytes) -> Iterator[bytes]:
    for form in {*_inside_base64(content), *_lines_of_base64(content), *_lines_of_base64(content + b"\n")}:
        yield form
        yield form.translate(_URL_SAFE)


def _inside_base64(content: bytes) -> Iterator[bytes]:
    """In whatever place of a longer text, or at its end. A character that the secret shares with what stands
    beside it stays: it holds at most four bits."""
    for before, foreign in _ALIGNMENTS:
        encoded = base64.b64encode(bytes(before) + content)
        yield encoded[foreign : 8 * (before + len(content)) // 6]
        yield encoded[foreign:].rstrip(b"=")
        yield encoded[foreign:]


def _lines_of_base64(content: bytes) -> Iterator[bytes]:
    encoded = base64.b64encode(content)
    for width in _WIDTHS:
        yield from (encoded[at : at + width] for at in range(0, len(encoded), width))
