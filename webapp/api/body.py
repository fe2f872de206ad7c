"""Read a request's body, or say what is wrong with it. Nothing is done before this has passed."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import RequestEntityTooLarge

from webapp.errors import Invalid, TooLarge, WrongType

DEPTH = 32
M = TypeVar("M", bound="Body")
Q = TypeVar("Q", bound="Query")


# Characters that a terminal or a browser would obey instead of showing: C0 and C1 controls, line separators, bidi controls.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """For a validator: text as a name or a label's words may be. Returns it without spaces around."""
    if _OBEYED.search(text):
        raise ValueError("must have no line ends and no control characters")
    return text.strip()


class Body(BaseModel):
    """What a person's program sends: exact types, and a name we don't know is a typing error to be told of."""

    model_config = ConfigDict(strict=True, extra="forbid")


class AgentBody(Body):
    """What an agent sends: a newer agent may say more than we understand."""

    model_config = ConfigDict(strict=True, extra="ignore")


def cleaned(text: str, most: int) -> str:
    """For text that nobody is refused for, because others wrote it: as one line of at most so many characters."""
    return _OBEYED.sub(" ", text)[: most * 2].strip()[:most]


def example(**body: Any) -> ConfigDict:
    """For a body's `model_config`: what one looks like. The document shows it, and the page in its line to paste."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class Query(BaseModel):
    """What may stand behind the `?`: text, so read leniently. A name we don't know is passed over."""

    model_config = ConfigDict(extra="ignore")


def parse_query(model: type[Q]) -> Q:
    """The request's query as this model. Raises Invalid. A value left empty, as forms send it, isn't there."""
    return model.model_validate({name: value for name, value in request.args.items() if value})


def parse(model: type[M], limit: int | None = None) -> M:
    """The JSON body as this model. Raises TooLarge (413), WrongType (415) or Invalid (422)."""
    return model.model_validate(read_json(limit))


def parse_optional(model: type[M]) -> M:
    """The same for a body that may be left out."""
    return parse(model) if read_bytes() else model()


def read_json(limit: int | None = None) -> dict[str, Any]:
    if request.mimetype and not request.is_json:  # without a type it is taken for what it should be
        raise WrongType(
            f"This route takes JSON, not {request.mimetype[:80]}: send Content-Type: application/json."
        )
    value = decoded(read_bytes(limit))
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    _refuse_deep(value)
    return value


def read_bytes(limit: int | None = None) -> bytes:
    """The raw body, at most `limit` bytes of it (default: the app's own limit)."""
    if limit is not None:
        request.max_content_length = limit
    most = request.max_content_length
    try:
        raw = request.get_data()
    except RequestEntityTooLarge as error:
        raise _too_large(most) from error
    if request.content_length is None and most is not None and len(raw) >= most:
        raise _too_large(most)  # sent in chunks, it was cut off there
    return raw


def _too_large(most: int | None) -> TooLarge:
    return TooLarge(f"The body is larger than the {most} bytes that this route takes. Send less.")


def decoded(raw: bytes) -> Any:
    """JSON that can be stored, from a request or a socket. Raises Invalid."""
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The body isn't valid JSON: {str(error)[:200] or type(error).__name__}") from error
    if b"\\u" in raw and not all(map(_is_storable, _strings(value))):
        raise Invalid("The body contains a NUL character or half of a surrogate pair.")
    return value


def _is_storable(text: str) -> bool:
    """PostgreSQL can't store NUL, nor can a path or an argument hold it; half a surrogate pair has no UTF-8."""
    return _UNSTORABLE.search(text) is None


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _strings(value: Any) -> Iterator[str]:
    """All strings in it, names of members included; without recursion, because its depth isn't checked yet."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is more than a number here can be")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_deep(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise Invalid(f"The body is nested deeper than {DEPTH} levels.")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
