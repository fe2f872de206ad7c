"""The OpenAPI document: made once a process of what the routes say of themselves, when somebody first asks for it.

What goes over the wire is described by the classes that check it: pydantic makes the schemas.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, current_app
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from werkzeug.routing import Rule

from webapp import __version__, errors
from webapp.api import PREFIX
from webapp.api.answers import Problem
from webapp.api.documented import TEXT, Documented
from webapp.api.examples import IDS, SHAPE, Examples, problem
from webapp.api.idempotency import HEADER, REPLAYED, KeyReused
from webapp.errors import GarageError

if TYPE_CHECKING:
    from pydantic_core import core_schema

REF = SHAPE + "{model}"
RESPONSES = "#/components/responses/"
ARGUMENT = re.compile(r"<(?:(\w+):)?(\w+)>")
GROUPS = {
    "Tasks": "Submit, watch, cancel and repeat tasks; read their logs.",
    "Workers": "The machines, and what admins decide about them.",
    "Projects": "Repositories and where they are placed; what opens their remotes, and what remotes tell of pushes.",
    "Locks": "Names of which one task at a time runs.",
    "Agents": "What the program on a machine calls, with the worker's own key.",
    "About": "The API itself.",
}
DESCRIPTION = """\
Times are RFC 3339 in UTC with milliseconds, sizes bytes, durations by suffix (`_s`, `_ms`). Errors are problem \
documents (RFC 9457); `detail` says what to do. 429 and 503 carry `Retry-After`. Nothing is half-stored when a request \
fails. A list says in `next` what to send as `after` for its next page. With an `Idempotency-Key` a request that is sent \
again makes nothing again."""

SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A person's API token, gst_…. It acts as its person in one organisation.",
    },
    "workerKey": {
        "type": "apiKey",
        "name": "X-Worker-API-Key",
        "in": "header",
        "description": "A worker's own key, gsw_…, from its registration.",
    },
}
# Said once, and named by the operations that may answer with nothing else under this status.
SHARED_ERRORS = (
    errors.BadRequest,
    errors.NotSignedIn,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.TooLarge,
    errors.WrongType,
    errors.Invalid,
    errors.TooMany,
    errors.Broken,
    errors.Unavailable,
)
Json = dict[str, Any]
REPEAT_KEY: Json = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "The same key with the same request within 24 hours gets the first answer, and makes nothing again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

REPLAYED_HEADER: Json = {"description": "true on an answer that is sent again", "schema": {"const": "true"}}


@dataclass(frozen=True)
class Route:
    """A method of a rule of the API, with its view's marks."""

    rule: Rule
    method: str
    guard: str
    says: Documented
    words: str
    # With an Idempotency-Key: "once" where the first answer is kept, "never" where that can't be, else "".
    repeats: str = ""

    @property
    def path(self) -> str:
        return ARGUMENT.sub(r"{\2}", self.rule.rule.removeprefix(PREFIX))

    @property
    def group(self) -> str:
        """By its path, unless it says so itself; what only a worker's key opens is for agents."""
        if self.says.group:
            return self.says.group
        return "Agents" if self.guard == "worker" else self.path.split("/")[1].capitalize()

    @property
    def role(self) -> str:
        """The role that it needs of a person's program."""
        return self.says.needs or self.guard.partition(":")[2]


def routes(app: Flask) -> Iterator[Route]:
    """What the document is about: all of the API except sockets. Raises LookupError for a route that says nothing."""
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(f"{PREFIX}/") or rule.websocket:
            continue
        view = inspect.unwrap(app.view_functions[rule.endpoint])
        says: Documented | None = getattr(view, "documented", None)
        if says is None:
            raise LookupError(f"{rule.rule} isn't documented")
        guard: str = getattr(app.view_functions[rule.endpoint], "guard")  # noqa: B009
        words = " ".join((inspect.getdoc(view) or "").split())
        repeats: str = getattr(app.view_functions[rule.endpoint], "repeats", "")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Route(rule, method, guard, says, words, repeats)


def document() -> Json:
    """The app's document, as it is served."""
    kept = current_app.extensions
    if "openapi" not in kept:
        kept["openapi"] = make(current_app._get_current_object())  # type: ignore[attr-defined]
    return cast(Json, kept["openapi"])


def make(app: Flask) -> Json:
    found = sorted(routes(app), key=lambda route: (route.path, route.method))
    schemas = Schemas(found)
    paths: Json = {}
    for route in found:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "GarageSwarm", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": PREFIX}],
        "tags": [{"name": name, "description": words} for name, words in GROUPS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions,
            "responses": {kind.__name__: _error([kind], schemas) for kind in SHARED_ERRORS},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


class Schemas:
    """The components of the document: a schema for each class that routes name, and for those that these name."""

    def __init__(self, found: list[Route]) -> None:
        kinds: set[Any] = {Problem}
        for route in found:
            kinds |= {kind for kind in (route.says.answer, *route.says.bodies) if isinstance(kind, type)}
        ordered = sorted(kinds, key=lambda kind: kind.__name__)
        refs, made = TypeAdapter.json_schemas(
            [(kind, "validation", TypeAdapter(kind)) for kind in ordered],
            ref_template=REF,
            schema_generator=InWords,
        )
        self.definitions: Json = made["$defs"]
        self._refs = {kind: schema["$ref"] for (kind, _), schema in refs.items()}
        self._examples = Examples(self.definitions)

    def _name(self, kind: Any) -> str:
        return str(self._refs[kind]).removeprefix(SHAPE)

    def content(self, kind: Any) -> Json:
        if kind in self._refs:
            media = "application/problem+json" if kind is Problem else "application/json"
            return {
                media: {"schema": {"$ref": self._refs[kind]}, "example": self._examples.of(self._name(kind))}
            }
        is_text = kind == TEXT
        return {kind: {"schema": {"type": "string"}, "example": "hello\n"} if is_text else {"schema": {}}}


class InWords(GenerateJsonSchema):
    """Pydantic's schemas with the docstrings of TypedDicts, and without titles that repeat a field's name."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Json:
        made = super().typed_dict_schema(schema)
        said = vars(schema["cls"]).get("__doc__")  # its own: getdoc() would find that of dict
        return {"description": " ".join(said.split()), **made} if said else made

    def sort(self, value: Json, parent_key: str | None = None) -> Json:
        return value  # as the class has them: what matters first

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


# ---- one operation


def _operation(route: Route, schemas: Schemas) -> Json:
    words = [route.words, f"Needs the role {route.role}." if route.role else ""]
    parameters = [*_path_parameters(route), *_parameters(route.says.query, "query")]
    parameters += _parameters(route.says.headers, "header")
    parameters += [REPEAT_KEY] if route.repeats == "once" else []
    made = {
        "tags": [route.group],
        "operationId": f"{route.rule.endpoint.replace('.', '_')}",
        "summary": route.says.summary,
        "description": " ".join(filter(None, words)),
        "parameters": parameters,
        "requestBody": _body(route, schemas),
        "responses": dict(_responses(route, schemas)),
    }
    return {name: part for name, part in made.items() if part} | {"security": _security(route.guard)}


def _path_parameters(route: Route) -> Iterator[Json]:
    for kind, name in ARGUMENT.findall(route.rule.rule):
        schema = {"type": "string", **({"format": "uuid"} if kind == "id" else {"minLength": 1})}
        yield {"name": name, "in": "path", "required": True, "schema": schema, "example": IDS[name]}


def _parameters(model: type[BaseModel] | None, place: str) -> Iterator[Json]:
    if model is None:
        return
    made = model.model_json_schema(schema_generator=InWords)
    [shown] = made.get("examples", [{}])
    for name, schema in made["properties"].items():
        said = _without_null(schema)
        words = {"description": said.pop("description")} if "description" in said else {}
        words |= {"example": shown[name]} if name in shown else {}
        yield {
            "name": name,
            "in": place,
            "required": name in made.get("required", []),
            **words,
            "schema": said,
        }


def _without_null(schema: Json) -> Json:
    """A parameter that isn't there is None to us, but nobody can send null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and value not in (None, "")}
    return {**kinds[0], **rest} if kinds else rest


def _body(route: Route, schemas: Schemas) -> Json | None:
    if not route.says.bodies:
        return None
    content = {media: part for kind in route.says.bodies for media, part in schemas.content(kind).items()}
    return {"content": content, "required": not route.says.is_body_optional}


def _responses(route: Route, schemas: Schemas) -> Iterator[tuple[str, Json]]:
    says = route.says
    content = {} if says.answer is None else {"content": schemas.content(says.answer)}
    headers = {"headers": {REPLAYED: REPLAYED_HEADER}} if route.repeats == "once" else {}
    for status, words in {says.status: "The answer" if content else "Done", **says.also}.items():
        yield str(status), {"description": words, **headers, **content}
    kinds: dict[int, dict[type[GarageError], None]] = {}
    for error in _errors_of(route):
        kinds.setdefault(error.status, {})[error] = None
    for status, found in sorted(kinds.items()):
        [first, *others] = found
        known = not others and first in SHARED_ERRORS
        yield str(status), {"$ref": f"{RESPONSES}{first.__name__}"} if known else _error(list(found), schemas)


def _error(kinds: list[type[GarageError]], schemas: Schemas) -> Json:
    """One response for all errors of a status: what each means, and `Retry-After` where they carry it."""
    words = dict.fromkeys((kind.__doc__ or "").strip().splitlines()[0] for kind in kinds)
    [(media, part)] = schemas.content(Problem).items()
    content = {media: {**part, "example": problem(kinds[0])}}
    made: Json = {"description": " Or: ".join(words), "content": content}
    if any(kind.retry_after_s is not None for kind in kinds):
        header = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        made["headers"] = {"Retry-After": header}
    return made


def _errors_of(route: Route) -> Iterator[type[GarageError]]:
    """What follows from the rule, the guard and what is read; the route's own; and what anything may meet with."""
    if route.guard != "public":
        yield from (errors.NotSignedIn, errors.Forbidden)
    if route.rule.arguments:
        yield errors.NotFound
    if route.says.bodies:
        yield from (errors.TooLarge, errors.WrongType)
    if route.says.bodies or route.says.query or route.says.headers:
        yield errors.Invalid
    if route.repeats == "once":
        yield KeyReused
    yield from route.says.errors
    yield from (errors.BadRequest, errors.TooMany, errors.Broken, errors.Unavailable)


def _security(guard: str) -> list[Json]:
    """Raises KeyError for a kind of guard that isn't known here."""
    token: Json = {"token": []}
    key: Json = {"workerKey": []}
    known = {"public": [], "worker": [key], "token": [token], "either": [token, key]}
    return known[guard.partition(":")[0]]
