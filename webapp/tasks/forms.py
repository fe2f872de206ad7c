"""A form from a tool's input schema, and what a person filled in back as a Submission."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from webapp.errors import Invalid, invalid_from
from webapp.tasks import service
from webapp.tasks.models import Task
from webapp.tasks.schemas import Submission
from webapp.workers.models import Tool
from webapp.workers.rules import labels_text, parse_labels

Kind = Literal[
    "text", "secret", "textarea", "lines", "pairs", "integer", "number", "boolean", "choice", "json"
]
PREFIX = "input."
# Where a person reads an error: a field of a Submission → the form's field.
FORM_FIELDS = {
    "timeout_s": "timeout",
    "no_output_timeout_s": "silence",
    "worker_id": "worker",
    "project_id": "project",
}


@dataclass(frozen=True)
class Field:
    """One property of the tool's input, as a form shows it."""

    name: str
    kind: Kind
    label: str
    help: str
    is_required: bool
    schema: Mapping[str, Any]
    group: str = ""

    @property
    def id(self) -> str:
        return PREFIX + self.name

    @property
    def example(self) -> str:
        examples = self.schema.get("examples") or [""]
        return to_text(self.kind, examples[0])

    @property
    def default(self) -> str:
        return to_text(self.kind, self.schema["default"]) if "default" in self.schema else ""


@dataclass
class TaskForm:
    """The form of a tool: its fields, what is in them (all text), and what is wrong with it."""

    tool: Tool
    fields: list[Field]
    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[list[Field]]:
        """Fields of which exactly one is filled in stand together; every other one alone."""
        found: dict[str, list[Field]] = {}
        for each in self.fields:
            found.setdefault(each.group or each.name, []).append(each)
        return list(found.values())

    def fail(self, error: Invalid) -> None:
        """Put each complaint beside its field; what belongs to none stands above the form under ''."""
        for row in error.extra.get("errors") or [{"field": "", "message": error.detail}]:
            name = str(row["field"])
            if name == "input":
                name = "oneOf" if any(each.group for each in self.fields) else ""
            elif name.startswith(PREFIX):
                name = ".".join(name.split(".")[:2])
            else:
                name = name.split(".")[0]
            self.errors.setdefault(FORM_FIELDS.get(name, name), _sentence(str(row["message"])))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def blank(tool: Tool) -> TaskForm:
    """An empty form with the schema's defaults and ours."""
    fields = fields_of(tool)
    values = {each.id: each.default for each in fields}
    values |= {"where": "any", "timeout": "60", "max_retries": "3", "priority": "0", "on_lost": "fail"}
    return TaskForm(tool, fields, values)


def from_task(tool: Tool, task: Task) -> TaskForm:
    """Filled in as the task was. Secrets aren't: left empty they stay as they were."""
    form = blank(tool)
    wish = service.submission_of(task, task.input)
    for each in form.fields:
        form.values[each.id] = to_text(each.kind, wish.input[each.name]) if each.name in wish.input else ""
    form.values |= {
        "name": wish.name,
        "labels": labels_text(wish.labels),
        "worker": wish.worker_id or "",
        "where": "worker" if wish.worker_id else "any",
        "project": wish.project_id or "",
        "reads_only": "true" if wish.project_reads_only else "",
        "timeout": _minutes(wish.timeout_s),
        "silence": _minutes(wish.no_output_timeout_s),
        "max_retries": str(wish.max_retries),
        "priority": str(wish.priority),
        "locks": " ".join(wish.locks),
        "on_lost": wish.on_lost,
    }
    return form


def _minutes(seconds: int | None) -> str:
    return "" if seconds is None else f"{seconds / 60:g}"


def filled(tool: Tool, said: Mapping[str, str]) -> TaskForm:
    """What came back: every field as text, also those that make no sense."""
    form = blank(tool)
    for name in list(form.values):
        form.values[name] = ""
    form.values |= {name: text.replace("\r\n", "\n") for name, text in said.items() if name != "csrf_token"}
    return form


# ---- from the schema


def fields_of(tool: Tool) -> list[Field]:
    schema = tool.schema
    choices = {name for choice in schema.get("oneOf", []) for name in choice.get("required", [])}
    required = set(schema.get("required", []))
    return [
        Field(
            name,
            kind_of(part),
            part.get("title") or name,
            part.get("description", ""),
            name in required,
            part,
            "oneOf" if name in choices else "",
        )
        for name, part in schema.get("properties", {}).items()
    ]


def kind_of(part: Mapping[str, Any]) -> Kind:
    """How a form shows a property. What has no field of its own is JSON."""
    if "enum" in part:
        return "choice"
    if part.get("type") == "string":
        if part.get("x-widget") == "textarea":
            return "textarea"
        return "secret" if part.get("x-secret") else "text"
    if part.get("type") == "array":
        return "lines" if part.get("items", {}).get("type") == "string" else "json"
    if part.get("type") == "object":
        values = part.get("additionalProperties")
        is_flat = isinstance(values, dict) and values.get("type") == "string" and "properties" not in part
        return "pairs" if is_flat else "json"
    plain: dict[Any, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean"}
    return plain.get(part.get("type"), "json")


# ---- values to text, and back


def to_text(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    if kind == "lines" and isinstance(value, list):
        return "\n".join(map(str, value))
    if kind == "pairs" and isinstance(value, dict):
        return "\n".join(f"{name}={text}" for name, text in value.items())
    if kind == "boolean":
        return "true" if value else ""
    return value if isinstance(value, str) else json.dumps(value, indent=2 if kind == "json" else None)


def from_text(kind: Kind, text: str, schema: Mapping[str, Any]) -> Any:
    """The value that somebody meant. Raises ValueError with what is wrong."""
    if kind == "choice":
        return next((choice for choice in schema["enum"] if to_text(kind, choice) == text), text)
    read = _READERS.get(kind)
    return read(text) if read else text


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _pairs(text: str) -> dict[str, str]:
    return dict(_pair(line) for line in text.split("\n") if line.strip())


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"write NAME=value, one a line; {line[:40]!r} isn’t that")
    return name.strip(), value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("must be a whole number") from error


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError("must be a number") from error
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def _seconds(minutes: str) -> int:
    seconds = round(_number(minutes) * 60)
    if seconds < 1:
        raise ValueError("must be more than 0 minutes")
    return seconds


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("must be JSON") from error


_READERS: dict[Kind, Callable[[str], Any]] = {
    "lines": _lines,
    "pairs": _pairs,
    "integer": _whole,
    "number": _number,
    "json": _json,
}


# ---- the Submission


def submission(form: TaskForm, kept: Mapping[str, Any] | None = None) -> Submission:
    """What the form asks for. Raises Invalid. `kept`: secret parts that an empty field leaves as they were."""
    errors: list[dict[str, str]] = []
    said = {
        "tool": form.tool.name,
        "input": _input(form, errors, kept or {}),
        "name": form.values.get("name", "").strip(),
    }
    said |= _where(form.values, errors)
    said |= project_of(form.values)
    said |= _advanced(form.values, errors)
    wish = None
    try:
        wish = Submission.model_validate(said)
    except ValidationError as error:
        errors += invalid_from(error).extra["errors"]
    if errors or wish is None:
        raise Invalid(errors[0]["message"], errors=errors)
    return wish


def _input(form: TaskForm, errors: list[dict[str, str]], kept: Mapping[str, Any]) -> dict[str, Any]:
    value = dict(kept)
    for each in form.fields:
        text = form.values.get(each.id, "")
        if each.kind == "boolean":
            value[each.name] = text == "true"
        elif text.strip():
            try:
                value[each.name] = from_text(each.kind, text, each.schema)
            except ValueError as error:
                errors.append({"field": each.id, "message": str(error)})
        elif each.is_required and each.name not in value:
            errors.append({"field": each.id, "message": "this is needed"})
    return value


def project_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Without a project there is nothing to read, whatever is ticked."""
    project_id = values.get("project") or None
    is_ticked = values.get("reads_only") == "true"
    return {"project_id": project_id, "project_reads_only": project_id is not None and is_ticked}


def _where(values: Mapping[str, str], errors: list[dict[str, str]]) -> dict[str, Any]:
    if values.get("where") != "worker":
        return {"labels": parse_labels(values.get("labels", ""))}
    if not values.get("worker"):
        errors.append({"field": "worker", "message": "choose a worker, or let any take it"})
    return {"worker_id": values.get("worker") or None}


def _advanced(values: Mapping[str, str], errors: list[dict[str, str]]) -> dict[str, Any]:
    """Numbers that stay out when their field is empty, so that the defaults hold; and the names of locks."""
    said: dict[str, Any] = {"on_lost": values.get("on_lost") or "fail"}
    said["locks"] = values.get("locks", "").replace(",", " ").split()
    for name, wanted, read in (
        ("timeout", "timeout_s", _seconds),
        ("silence", "no_output_timeout_s", _seconds),
        ("max_retries", "max_retries", _whole),
        ("priority", "priority", _whole),
    ):
        text = values.get(name, "").strip()
        if text:
            try:
                said[wanted] = read(text)
            except ValueError as error:
                errors.append({"field": name, "message": str(error)})
    return said
