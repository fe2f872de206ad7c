"""What a route says of itself in the OpenAPI document: beside its guard, where a change can't miss it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NewType, TypeVar

from pydantic import BaseModel

from webapp.errors import GarageError

View = TypeVar("View", bound=Callable[..., Any])

# A body or an answer that isn't JSON.
Media = NewType("Media", str)
TEXT = Media("text/plain")
BYTES = Media("application/octet-stream")


@dataclass(frozen=True)
class Documented:
    """`answer` is a TypedDict, a Media, or None for no content; `bodies` are what may be sent, one of them."""

    summary: str
    answer: Any = None
    status: int = 200
    bodies: tuple[Any, ...] = ()
    is_body_optional: bool = False
    query: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    errors: tuple[type[GarageError], ...] = ()
    also: Mapping[int, str] = field(default_factory=dict)
    group: str = ""
    needs: str = ""


def documented(
    summary: str,
    *,
    answer: Any = None,
    status: int = 200,
    body: Any = None,
    is_body_optional: bool = False,
    query: type[BaseModel] | None = None,
    headers: type[BaseModel] | None = None,
    errors: tuple[type[GarageError], ...] = (),
    also: Mapping[int, str] | None = None,
    group: str = "",
    needs: str = "",
) -> Callable[[View], View]:
    """Document a view. The docstring says more than the summary; paths, security and what every route may answer
    with (401, 404, 422 …) follow from the rule, the guard and the arguments here.

    `body`: one or several (a tuple). `errors`: those of this route's own. `also`: other good statuses with the same
    content, like 206, and what each means. `group`: where it stands, when its path doesn't say. `needs`: a higher
    role than the guard's, where the view itself refuses who only reads.
    """
    bodies = body if isinstance(body, tuple) else () if body is None else (body,)
    said = Documented(
        summary, answer, status, bodies, is_body_optional, query, headers, errors, also or {}, group, needs
    )

    def decorate(view: View) -> View:
        view.documented = said  # type: ignore[attr-defined]
        return view

    return decorate
