"""Types that answers share. An answer's shape is a TypedDict: mypy checks who makes it, and the document shows it."""

from typing import Annotated

from pydantic import Field, WithJsonSchema
from typing_extensions import NotRequired, TypedDict

# Text, as it goes over the wire; the document says what it holds.
Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


Next = Annotated[str | None, Field(description="Send it as `after` for the next page; null on the last one")]
NextId = Annotated[Id | None, Field(description="Send it as `after` for the next page; null on the last one")]


class FieldProblem(TypedDict):
    field: Annotated[str, Field(description="Where, as a path like input.script")]
    message: str


class Problem(TypedDict):
    """What is wrong (RFC 9457). Some errors say more, like `next_offset` of a gap in a log."""

    type: Annotated[str, Field(description="urn:garageswarm:error:… — what a program tells errors apart by")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What to do next")]
    error_id: Annotated[str, Field(description="Look for it in the server's log")]
    errors: NotRequired[
        Annotated[list[FieldProblem], Field(description="Of what doesn't validate, at most 20")]
    ]
