"""Decisions about workers: their status, their labels, which tool declarations are acceptable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

ShownStatus = Literal[
    "pending", "online", "busy", "draining", "quarantined", "unreachable", "offline", "archived", "revoked"
]

# What a task takes of a worker: a slot; one of its `plan_limit` plans; or its only exclusive place (applies).
SlotClass = Literal["task", "plan", "exclusive"]

# Of the wire, as this server speaks it. The one before is served too, so that agents are updated one by one, and the one
# after, so that the server may come last.
PROTOCOL = 2

SLOTS_MOST = 1000
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}")
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
LABEL_VALUE = re.compile(r"[^\x00-\x1f\x7f\s=]{0,255}")
MAX_LABELS = 64
TOOL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")

# The vocabulary of a tool's input schema. No `$ref` (it would be fetched) and no `pattern` (it could be made to hang).
SCHEMA_KEYWORDS = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "title",
        "description",
        "default",
        "enum",
        "examples",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "items",
        "minItems",
        "maxItems",
        "oneOf",
        "x-widget",
        "x-secret",
    }
)
SCHEMA_TYPES = frozenset({"object", "string", "integer", "number", "boolean", "array"})
SCHEMA_DEPTH = 6
# Checking a schema takes time in the event loop: so many parts, of all tools that one agent declares together.
SCHEMA_PARTS = 2000


@dataclass(frozen=True)
class Facts:
    """What a worker's status follows from. `seen_at` None: never."""

    status: str
    seen_at: datetime | None
    busy_with: int = 0
    is_draining: bool = False
    quarantined_until: datetime | None = None
    created_at: datetime | None = None


def shown_status(
    facts: Facts, now: datetime, offline_after_s: float, archive_after_days: int = 0
) -> ShownStatus:
    """What people see. Silent with work is unreachable: nothing is decided yet, and it gets no new work.

    Silent for `archive_after_days` (0: never) without any is archived: out of everybody's way until it is seen again.
    """
    if facts.status == "pending":
        return "pending"
    if facts.status == "revoked":
        return "revoked"
    if facts.seen_at is None or now - facts.seen_at > timedelta(seconds=offline_after_s):
        return "unreachable" if facts.busy_with else _silent(facts, now, archive_after_days)
    if facts.is_draining:
        return "draining"
    if facts.quarantined_until is not None and facts.quarantined_until > now:
        return "quarantined"
    return "busy" if facts.busy_with else "online"


def _silent(facts: Facts, now: datetime, archive_after_days: int) -> ShownStatus:
    last = facts.seen_at or facts.created_at
    is_old = last is not None and now - last > timedelta(days=archive_after_days)
    return "archived" if is_old and archive_after_days else "offline"


def is_draining(requested_at: datetime | None, until: datetime | None, now: datetime) -> bool:
    """Whether the wish stands. One with a time limit ends by itself."""
    return requested_at is not None and (until is None or until > now)


def drain_words(until: datetime | None, note: str | None, now: datetime) -> str:
    """`draining until 14:00 UTC: new disk`, as far as that was said."""
    same_day = until is not None and until.date() == now.date()
    end = f" until {until.strftime('%H:%M' if same_day else '%d %b %H:%M')} UTC" if until else ""
    return f"draining{end}: {note}" if note else f"draining{end}"


def protocol_problem(protocol: int) -> str | None:
    """Why an agent that speaks this protocol can't be served, or None."""
    if protocol < PROTOCOL - 1:
        return (
            f"This agent speaks protocol {protocol}; the server needs {PROTOCOL - 1} or newer. Update the agent: "
            "fetch agent.pyz anew with the line of the page “Add a worker”, or update its checkout."
        )
    if protocol > PROTOCOL + 1:
        return (
            f"This agent speaks protocol {protocol}; the server knows {PROTOCOL} and is too old for it. Update the "
            "server, or take the agent that the server gives away: its page “Add a worker” has the line."
        )
    return None


def protocol_notice(protocol: int) -> str | None:
    """What the owner of an agent that is served, but not for ever, should know."""
    if protocol >= PROTOCOL:
        return None
    return (
        f"this agent speaks protocol {protocol}, the server {PROTOCOL}: it is served until the next one. "
        "Update it soon: `agent.pyz update` on its machine, or a newer checkout"
    )


def is_older(version: str, than: str) -> bool:
    """Whether `0.9.1` comes before `0.10.0`. What isn't made of numbers can't be compared: False."""
    mine, other = _numbers(version), _numbers(than)
    return bool(mine and other) and mine < other


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")] if VERSION.fullmatch(version) else []


# An agent refuses new work below this, where its owner hasn't said otherwise.
DISK_FLOOR_BYTES, DISK_FLOOR_SHARE = 2 * 1024**3, 0.05


def is_disk_low(free: float, total: float | None) -> bool:
    return free < max(DISK_FLOOR_BYTES, (total or 0) * DISK_FLOOR_SHARE)


def label_problem(labels: Mapping[str, Any]) -> str | None:
    """Why these can't be labels, or None."""
    if len(labels) > MAX_LABELS:
        return f"at most {MAX_LABELS} labels"
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            return (
                f"{key[:80]!r} is no label: letters, digits and . _ / -, at most 63, a letter or digit first"
            )
        if value is not None and not (
            isinstance(value, str) and value.isprintable() and LABEL_VALUE.fullmatch(value)
        ):
            return f"the value of {key} has spaces, '=' or control characters, or is longer than 255"
    return None


def parse_labels(text: str) -> dict[str, str | None]:
    """`gpu=3060 site=attic quiet`, separated by spaces or commas. A label without `=` has the value None."""
    labels: dict[str, str | None] = {}
    for word in text.replace(",", " ").split():
        key, equals, value = word.partition("=")
        labels[key] = value if equals else None
    return labels


def checked_label(text: str) -> str:
    """A label to look for: a key, or `key=value`. Raises ValueError for what can't be one."""
    key, equals, value = text.partition("=")
    if problem := label_problem({key: value if equals else None}) if text else None:
        raise ValueError(problem)
    return text


def labels_text(labels: Mapping[str, str | None]) -> str:
    return " ".join(key if value is None else f"{key}={value}" for key, value in sorted(labels.items()))


def parts_of(schema: Any) -> int:
    """How many values it is made of, at any depth, as far as it matters."""
    level, count = [schema], 0
    while level and count <= SCHEMA_PARTS:
        count += len(level)
        inner = [list(part.values()) if isinstance(part, dict) else part for part in level]
        level = [value for values in inner if isinstance(values, list) for value in values]
    return count


def schema_problem(schema: Any, depth: int = 0, is_property: bool = False) -> str | None:
    """Why a tool's input schema isn't one that we show and check, or None."""
    if not isinstance(schema, dict):
        return "a schema is an object"
    if depth == 0 and schema.get("type") != "object":
        return "the input's type must be object"
    if depth > SCHEMA_DEPTH:
        return f"nested deeper than {SCHEMA_DEPTH} levels"
    return _keywords_problem(schema, is_property) or _parts_problem(schema, depth)


def _keywords_problem(schema: dict[str, Any], is_property: bool) -> str | None:
    unknown = set(schema) - SCHEMA_KEYWORDS
    if unknown:
        return f"unknown keyword {sorted(unknown)[0][:40]}"
    if "type" in schema and not (isinstance(schema["type"], str) and schema["type"] in SCHEMA_TYPES):
        return "unknown type"
    if not isinstance(schema.get("x-widget", ""), str):
        return "x-widget is a name"
    if "x-secret" in schema and not (is_property and isinstance(schema["x-secret"], bool)):
        return "x-secret is true or false, on a property of the input itself: only there it is kept secret"
    return None


def _parts_problem(schema: dict[str, Any], depth: int) -> str | None:
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        return "properties is an object"
    parts = [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    if "items" in schema and not isinstance(schema["items"], dict):
        return "items is a schema"
    choices = schema.get("oneOf", [])
    if not isinstance(choices, list):
        return "oneOf is a list"
    for choice in choices:
        if not isinstance(choice, dict) or set(choice) - {"required", "title"}:
            return "oneOf only names required properties"
    found = [schema_problem(part, depth + 1, is_property=depth == 0) for part in properties.values()]
    found += [schema_problem(part, depth + 1) for part in parts]
    return next((problem for problem in found if problem), None)
