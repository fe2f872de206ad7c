"""What a task can run. One module each, with its instance in `TOOL`; a new file here is a new tool."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from agent.account import Account
    from agent.project import Project
    from agent.roots import Roots

Input = Mapping[str, Any]
MAX_FINDING = 200


class BadInput(Exception):
    """The task's arguments can't be used; the message says which, and why."""


class NotStartable(Exception):
    """The command isn't there or can't be executed. `code` as a shell would give it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """Raised inside an inline tool when its task is cancelled or out of time."""


@dataclass(frozen=True)
class Command:
    """`argv[0]` is an absolute path; `env` is what the task adds to its environment."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Uses:
    """What a task would do that the machine's owner may have a rule for. `commands` is what the task itself names, each a
    program and its arguments; None where nobody can tell."""

    commands: Sequence[Sequence[str]] | None = ()
    variables: Sequence[str] = ()  # that it sets
    repositories: Sequence[str] = ()  # git URLs


@dataclass(frozen=True)
class Result:
    """`error` set: the task failed. `data` is anything that JSON can carry."""

    output: str = ""
    data: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Finding:
    """What a look at this machine found of a tool. `signed_in`: None where it has no accounts."""

    works: bool = True
    version: str = ""
    signed_in: bool | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it is declared. The server takes short texts of one line: programs say what they like."""
        return {
            "works": self.works,
            "version": one_line(self.version, MAX_FINDING),
            "signed_in": self.signed_in,
            "problem": one_line(self.problem, MAX_FINDING),
        }


def one_line(text: str, most: int) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:most]


class Job(Protocol):
    """What an inline tool may do to the outside."""

    def log(self, line: str) -> None:
        """Append a line to the task's log."""

    def pause(self, seconds: float) -> None:
        """Wait; raises Stopped as soon as the task shall end."""


class Tool(ABC):
    """`schema` is the JSON Schema of the input, for forms and for the server's check."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    description: ClassVar[str]
    schema: ClassVar[dict[str, Any]]
    # Of a part of the input that is secret, the members that aren't: a user's name would blacken half of a log.
    is_open: ClassVar[Mapping[str, Collection[str]]] = MappingProxyType({})
    # What a task with it takes of a worker: a slot; one of its `plan_limit` plans as well; or its one exclusive place.
    slot_class: ClassVar[Literal["task", "plan", "exclusive"]] = "task"
    # Running it twice harms nothing: no journal, no spool.
    repeatable: ClassVar[bool] = False
    # How its process is ended: signal, seconds until the next one.
    ladder: ClassVar[list[tuple[int, float]]] = [(signal.SIGTERM, 10.0), (signal.SIGKILL, 0.0)]

    @abstractmethod
    def check(self, task_input: Input) -> None:
        """The agent's own look at what the server has checked already. Raises BadInput."""

    def uses(self, task_input: Input) -> Uses:
        """Of an input that was checked. A tool that takes commands, variables or repositories from a task says so here:
        that is all the owner's rules go by."""
        return Uses()

    def probe(self, path: str) -> Finding:
        """A look whether it works here, with programs looked for in `path`. What isn't a program always does.

        May take its time, and raise probes.NoAnswer or anything else for "doesn't work".
        """
        return Finding()

    def declaration(self) -> dict[str, Any]:
        """`{name, version, title, description, schema, slot_class}`: what is the same on every machine."""
        return {
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "description": self.description,
            "schema": self.schema,
            "slot_class": self.slot_class,
        }


@dataclass(frozen=True)
class Surroundings:
    """Where a process is to run. `held`: the attempts that the agent has now; `repositories`: the owner's rule."""

    directory: Path  # of the attempt: files that the process needs go there
    work: Path  # its working directory
    notes: Path  # what it tells the agent beside its log (agent.notes), where its tool does that
    path: str  # where programs are looked for
    roots: Roots
    disk_floor_bytes: int = 0
    project: Project | None = None
    account: Account | None = None  # that the process becomes, where not the agent's own
    held: Collection[str] = ()
    repositories: Sequence[str] | None = None


class ProcessTool(Tool):
    # Its process writes notes: progress, and facts that become the result's data.
    has_notes: ClassVar[bool] = False
    # Its tasks make, change or remove a checkout: they don't run in it, and the server hears what became of it.
    places_projects: ClassVar[bool] = False

    @abstractmethod
    def command(self, task_input: Input, here: Surroundings) -> Command:
        """What to start. Raises NotStartable, BadInput, or OSError where a file can't be written."""


class InlineTool(Tool):
    @abstractmethod
    def run(self, task_input: Input, job: Job) -> Result: ...


@functools.lru_cache(maxsize=1)
def registry() -> dict[str, Tool]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        tool: Tool = importlib.import_module(f"{__name__}.{module.name}").TOOL
        found[tool.name] = tool
    return found


def refuse_unknown(task_input: Input, known: Mapping[str, Any]) -> None:
    unknown = sorted(set(task_input) - set(known))
    if unknown:
        raise BadInput(f"unknown input: {', '.join(map(str, unknown))}")


def checked_text(name: str, value: object, limit: int) -> str:
    """`value` as a string of at most `limit` bytes that a file or an argument can hold. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a string")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadInput(f"{name} must be valid Unicode") from None
    if size > limit:
        raise BadInput(f"{name} must have at most {limit} bytes, not {size}")
    if "\0" in value:
        raise BadInput(f"{name} must not contain NUL")
    return value
