"""The OpenAPI document as people read it: its operations in groups, types in words, a line to paste for each.

The lines name ids and keys as a shell's variables, and `setting` gives the one line before them that says what these are.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from webapp.api.examples import IDS, SHAPE
from webapp.api.openapi import RESPONSES, Json

# What any operation may answer with: said once, at the head of the page.
ANYWHERE = {"400", "401", "403", "413", "415", "422", "429", "500", "503"}
KEYS = {"GSW_TOKEN": "gst_…", "GSW_WORKER_KEY": "gsw_…", "SIGNATURE": "…"}
CREDENTIALS = {
    "token": "Authorization: Bearer $GSW_TOKEN",
    "workerKey": "X-Worker-API-Key: $GSW_WORKER_KEY",
}


# What a line can't say itself: it follows from the body and a secret.
SIGNED = {"X-GSW-Signature-256": "$SIGNATURE"}


@dataclass(frozen=True)
class Field:
    """A parameter or a member. `shapes`: the names of the shapes that its type names."""

    name: str
    kind: str
    shapes: list[str]
    words: str
    is_required: bool
    default: str


@dataclass(frozen=True)
class Shape:
    name: str
    words: str
    fields: list[Field]


@dataclass(frozen=True)
class Call:
    """One operation. `answers` and `errors` are (status, words, name of the answer's shape)."""

    id: str
    verb: str
    path: str
    summary: str
    words: str
    curl: str
    # What the good answer looks like, as JSON; empty where it has none.
    example: str
    parameters: list[Field]
    body: Shape | None
    answers: list[tuple[str, str, str]]
    errors: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Group:
    name: str
    words: str
    calls: list[Call]
    shapes: list[Shape]


def group_names(document: Json) -> list[str]:
    return [tag["name"] for tag in document["tags"]]


def group(document: Json, name: str, origin: str) -> Group:
    """The operations of one tag, and the shapes that their answers name, each once."""
    schemas = document["components"]["schemas"]
    found = [
        _call(document, verb, path, operation, origin)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
        if name in operation["tags"]
    ]
    named = [shape for call in found for _, _, shape in call.answers if shape]
    named += [shape for call in found if call.body for field in call.body.fields for shape in field.shapes]
    shapes = [_shape(each, schemas[each]) for each in _reached(named, schemas)]
    words = next(tag["description"] for tag in document["tags"] if tag["name"] == name)
    return Group(name, words, found, shapes)


def _reached(named: list[str], schemas: Json) -> list[str]:
    """These, and what they name, in the order of a reader's questions."""
    found: dict[str, None] = {}
    left = list(dict.fromkeys(named))
    while left:
        name = left.pop(0)
        if name not in found:
            found[name] = None
            left += [each for field in _shape(name, schemas[name]).fields for each in field.shapes]
    return list(found)


def _call(document: Json, verb: str, path: str, operation: Json, origin: str) -> Call:
    said = []
    for status, part in operation["responses"].items():
        response = _resolved(document, part)
        said.append((status, response["description"], _answer_shape(response)))
    schemas = document["components"]["schemas"]
    body = _json_body(operation)
    return Call(
        operation["operationId"],
        verb.upper(),
        path,
        operation["summary"],
        _plain(operation.get("description", "")),
        _curl(document, verb, path, operation, origin),
        _example(operation),
        [_parameter(each) for each in operation.get("parameters", [])],
        _shape(body, schemas[body]) if body else None,
        [row for row in said if row[0] < "400"],
        [row for row in said if row[0] >= "400" and row[0] not in ANYWHERE],
    )


def _resolved(document: Json, response: Json) -> Json:
    name = str(response.get("$ref", "")).removeprefix(RESPONSES)
    return cast(Json, document["components"]["responses"][name]) if name else response


def _answer_shape(response: Json) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(SHAPE)


def _json_body(operation: Json) -> str:
    return _answer_shape(operation.get("requestBody", {}))


def _parameter(said: Json) -> Field:
    schema = said["schema"]
    name = f"{said['name']}" if said["in"] != "header" else f"{said['name']} (header)"
    words = _plain(said.get("description", ""))
    return Field(name, in_words(schema), [], words, said["required"], _default(schema))


def _shape(name: str, schema: Json) -> Shape:
    required = schema.get("required", [])
    fields = [
        Field(
            member,
            in_words(said),
            sorted(_named(said)),
            _plain(said.get("description", "")),
            member in required,
            _default(said),
        )
        for member, said in schema.get("properties", {}).items()
    ]
    return Shape(name, _plain(schema.get("description", "")), fields)


def _plain(words: str) -> str:
    """Words of a docstring: what stands in backticks there is as clear without them."""
    return words.replace("`", "")


def _default(schema: Json) -> str:
    value = schema.get("default")
    return "" if value in (None, "", [], {}) else json.dumps(value)


def _named(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(SHAPE)
        for part in schema.values():
            yield from _named(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _named(part)


# ---- types in words


def in_words(schema: Json) -> str:
    """A JSON Schema as a person would say it: `whole number, 1 to 200`, `list of Offer`, `time or null`."""
    for key, say in _BY_KEYWORD.items():
        if key in schema:
            return say(schema)
    say_type = _BY_TYPE.get(schema.get("type", ""))
    return say_type(schema) if say_type else "anything"


def _list(schema: Json) -> str:
    return f"list of {in_words(schema.get('items', {}))}{_most(schema, 'maxItems')}"


def _object(schema: Json) -> str:
    inner = schema.get("additionalProperties")
    return f"object of {in_words(inner)}" if isinstance(inner, dict) and inner else "object"


def _text(schema: Json) -> str:
    named = {"uuid": "id", "date-time": "time"}.get(schema.get("format", ""))
    return named or f"text{_most(schema, 'maxLength')}" + " characters" * ("maxLength" in schema)


def _most(schema: Json, key: str) -> str:
    return f", at most {schema[key]}" if key in schema else ""


def _span(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {_number(least)} to {_number(most)}"
    if least is not None:
        return f", {_number(least)} or more"
    return "" if most is None else f", at most {_number(most)}"


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


_BY_KEYWORD: dict[str, Callable[[Json], str]] = {
    "$ref": lambda schema: str(schema["$ref"].removeprefix(SHAPE)),
    "anyOf": lambda schema: " or ".join(map(in_words, schema["anyOf"])),
    "enum": lambda schema: ", ".join(map(str, schema["enum"])),
    "const": lambda schema: str(schema["const"]),
}
_BY_TYPE: dict[str, Callable[[Json], str]] = {
    "array": _list,
    "object": _object,
    "integer": lambda schema: "whole number" + _span(schema),
    "number": lambda schema: "number" + _span(schema),
    "string": _text,
    "boolean": lambda _: "true or false",
    "null": lambda _: "null",
}


# ---- a line to paste


def _curl(document: Json, verb: str, path: str, operation: Json, origin: str) -> str:
    """For a POSIX shell. Keys and ids are its variables."""
    words = ["curl"] if verb == "get" else ["curl", "-X", verb.upper()]
    kinds = [name for each in operation["security"] for name in each]
    if kinds:
        words += ["-H", f'"{CREDENTIALS[kinds[0]]}"']
    for name, value in _examples(operation, "header"):
        words += ["-H", f'"{name}: {SIGNED.get(name, value)}"']
    if _json_body(operation):
        example = json.dumps(operation["requestBody"]["content"]["application/json"]["example"])
        words += ["-H", "'Content-Type: application/json'", "-d", _with_variables(shlex.quote(example))]
    address = origin + document["servers"][0]["url"] + re.sub(r"\{(\w+)\}", _variable, path)
    return " ".join([*words, f'"{address}{_query(operation)}"'])


def _variable(argument: re.Match[str]) -> str:
    name = argument[1].upper()
    return "$WORKER_ID" if name == "AGENT_ID" else f"${name}"


def _with_variables(quoted: str) -> str:
    """The ids in a word between single quotes, as variables outside of them."""
    for name in ("task_id", "attempt_id", "worker_id"):
        quoted = quoted.replace(IDS[name], f"'\"${name.upper()}\"'")
    return quoted


def _query(operation: Json) -> str:
    asked = _examples(operation, "query")
    return f"?{urlencode(asked)}" if asked else ""


def _examples(operation: Json, place: str) -> list[tuple[str, Any]]:
    """(name, example) of the parameters there that have one."""
    return [
        (each["name"], each["example"])
        for each in operation.get("parameters", [])
        if each["in"] == place and "example" in each
    ]


def _example(operation: Json) -> str:
    """Of the first good answer."""
    good = operation["responses"][min(operation["responses"])]
    shown = good.get("content", {}).get("application/json", {}).get("example")
    return "" if shown is None else json.dumps(shown, indent=2, ensure_ascii=False)


def setting(calls: Iterable[Call], known: Mapping[str, str]) -> str:
    """The line to paste before theirs: the variables that they name. `known`: {TASK_ID: a task of this organisation}."""
    named = sorted({name for call in calls for name in re.findall(r"\$([A-Z_]+)", call.curl)})
    samples = {name.upper(): value for name, value in IDS.items()} | KEYS
    keys_first = sorted(named, key=lambda name: name not in KEYS)
    return " ".join(["export", *(f"{name}={known.get(name, samples[name])}" for name in keys_first)])
