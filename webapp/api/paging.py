"""Lists in pages. A page is asked for by where the one before ended: what is added or removed meanwhile shifts nothing."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema

from webapp.api.body import Query

T = TypeVar("T")
Place = TypeVar("Place")
MOST = 200
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("isn't the next of a page: send that as it was, or leave it out for the first page")
    return text


Limit = Annotated[int, Field(ge=1, le=MOST, description="At most so many")]
IdCursor = Annotated[
    str,
    AfterValidator(_id),
    WithJsonSchema({"type": "string", "format": "uuid"}),
]
AFTER = "The next of the page before"


class ByIdQuery(Query):
    """A page of a list in the order of ids, which is that of time."""

    limit: Limit = MOST
    after: IdCursor | None = Field(None, description=AFTER)


class ByNameQuery(Query):
    """A page of a list in the order of names."""

    limit: Limit = MOST
    after: str = Field("", max_length=255, description=AFTER)


def cut(found: Sequence[T], limit: int, place: Callable[[T], Place]) -> tuple[Sequence[T], Place | None]:
    """A page of what was found, and its `next`. One more than the limit was asked for, to know whether there is another."""
    page = found[:limit]
    return page, place(page[-1]) if len(found) > limit else None
