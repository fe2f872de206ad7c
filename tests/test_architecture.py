"""Who may import whom, read from the source with `ast`; and how long a file and a function may grow.

A rule is a function from one source file to its complaints. Snippets that break it, at the end, prove each.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("agent", "benchmarks", "garageswarm", "scripts", "tests", "webapp")
OURS = {*FOLDERS, "wsgi"}

# From the lowest to the highest: a lower one never names a higher one.
DOMAINS = ("auth", "workers", "tasks", "projects", "workspaces", "workflows")

# Of its own domain and of lower ones, a room may import these. Every file without a name of its own here is a
# "service". `actor` is a value (who acts) and `rules` only words and decisions: neither can pull anything in.
MAY_IMPORT: dict[str, set[str]] = {
    "rules": set(),
    "actor": {"rules"},
    "models": {"models", "rules"},
    "access": {"models", "access", "rules", "actor"},
    "schemas": {"rules", "schemas"},
    "answers": {"rules", "schemas", "answers"},
    # A schema is a checked value, and access loads what the actor may see: both come without a request.
    "service": {"models", "rules", "actor", "service", "schemas", "answers", "access"},
    "guards": {"models", "rules", "actor", "service", "access", "guards"},
    "pages": {"rules", "actor", "service", "access", "guards", "schemas", "pages"},
    "api": {"rules", "actor", "service", "access", "guards", "schemas", "answers"},
}
# What every domain stands on. Models get by with less.
MODELS_STAND_ON = {"clock", "database", "extensions"}
REACH_THE_WEB = {"guards", "pages", "api"}
OF_THE_REQUEST = re.compile(r"flask\.(request|session|g|current_user)\b|flask_login\b")

# Import names that differ from the name of the package, and parts that come with one.
IMPORT_NAMES = {"argon2-cffi": {"argon2"}, "python-json-logger": {"pythonjsonlogger"}}
COMES_WITH = {
    "flask": {"click", "itsdangerous", "jinja2", "markupsafe", "werkzeug"},
    "flask-migrate": {"alembic"},
    "flask-limiter": {"limits"},
    "flask-wtf": {"wtforms"},
    "gevent": {"greenlet"},
    "requests": {"urllib3"},
    "simple-websocket": {"wsproto"},
}
# The agent and the SDK go to other people's machines: they get by with less than the server.
AGENT_NEEDS = {"certifi", "psutil", "requests", "urllib3", "websockets"}
SDK_NEEDS = {"requests", "simple_websocket", "urllib3", "wsproto"}

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
# create_app() is a table of contents. Nothing else may be added without taking something away.
LONGER_FUNCTIONS = {("webapp", "create_app"): 60}


class Source:
    """One file: its dotted name, and what it imports at run time."""

    def __init__(self, name: str, text: str, *, is_package: bool = False) -> None:
        self.name = name
        self.text = text
        self.parts = name.split(".")
        self.package = name if is_package else name.rpartition(".")[0]
        self.domain, self.room = place_of(self.parts)

    @classmethod
    def read(cls, path: Path) -> Source:
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        return cls(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package=is_package)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> list[str]:
        """Dotted names, `from a.b import c` as `a.b.c`. What only type checkers import isn't there."""
        return [name for node in _without_typing(self.tree) for name in self._names(node)]

    def _names(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            package = self.package.split(".")
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _without_typing(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _without_typing(child)


def place_of(parts: list[str]) -> tuple[str, str]:
    """`webapp.tasks.agent_api` → ("tasks", "api"): which domain, and which of its rooms."""
    if len(parts) < 3 or parts[0] != "webapp" or parts[1] not in DOMAINS:
        return ("", "")
    file = parts[2]
    for room in ("pages", "api"):
        if file == room or file.endswith(f"_{room}"):
            return (parts[1], room)
    return (parts[1], file if file in MAY_IMPORT else "service")


# ---- The rules ---------------------------------------------------------------------------------------------

Rule = Callable[[Source], Iterator[str]]


def programs_share_only_the_wire(source: Source) -> Iterator[str]:
    """garageswarm knows no program, no program knows another, webapp knows garageswarm.events."""
    strangers = {"garageswarm": {"agent", "webapp"}, "agent": {"webapp"}, "webapp": {"agent"}}
    inner = {"garageswarm", "agent", "webapp"}
    for name in source.imports:
        top = name.split(".")[0]
        if top in strangers.get(source.parts[0], set()):
            yield f"imports {name}"
        elif source.parts[0] in inner and top in OURS - inner:
            yield f"imports {name}, which isn't part of any program"
        elif (
            source.parts[0] == "webapp" and top == "garageswarm" and not is_under(name, "garageswarm.events")
        ):
            yield f"imports {name}, but of garageswarm only events"


def a_lower_domain_never_names_a_higher_one(source: Source) -> Iterator[str]:
    if not source.domain:
        return
    for name in source.imports:
        other = name.split(".")[1] if name.startswith("webapp.") else ""
        if other in DOMAINS and DOMAINS.index(other) > DOMAINS.index(source.domain):
            yield f"imports {name}: {source.domain} is below {other}. Offer a hook that create_app fills"


def rooms_import_what_the_table_says(source: Source) -> Iterator[str]:
    allowed = MAY_IMPORT.get(source.room)
    if allowed is None or source.room == "rules":
        return
    for name in source.imports:
        _, room = place_of(name.split("."))
        if room and room not in allowed:
            yield f"is {source.room} and imports {name}, which is {room}"


def rules_are_pure(source: Source) -> Iterator[str]:
    """Decisions take values and `now`, so that a table of cases tests them."""
    if source.room != "rules":
        return
    for name in source.imports:
        if name.split(".")[0] not in sys.stdlib_module_names:
            yield f"imports {name}; rules get by with the standard library"


def models_stand_on_database_and_clock(source: Source) -> Iterator[str]:
    if source.room != "models":
        return
    for name in source.imports:
        parts = name.split(".")
        if parts[0] == "webapp" and not place_of(parts)[0] and parts[1] not in MODELS_STAND_ON:
            yield f"imports {name}; models need only {', '.join(sorted(MODELS_STAND_ON))}"


def services_know_no_request(source: Source) -> Iterator[str]:
    """They take values: a test, a schedule and a hook call them without a browser."""
    if not source.room or source.room in REACH_THE_WEB:
        return
    yield from (f"imports {name}" for name in source.imports if OF_THE_REQUEST.match(name))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and OF_THE_REQUEST.match(ast.unparse(node)):
            yield f"line {node.lineno} uses {ast.unparse(node)}"


def third_parties_are_on_the_list(source: Source) -> Iterator[str]:
    known = {
        "agent": AGENT_NEEDS,
        "garageswarm": SDK_NEEDS,
        "scripts": set(),
        "tests": listed("requirements.in") | listed("requirements-dev.in"),
        "benchmarks": listed("requirements.in") | listed("requirements-dev.in"),
    }.get(source.parts[0], listed("requirements.in"))
    for name in source.imports:
        top = name.split(".")[0]
        if top not in known | OURS | sys.stdlib_module_names:
            yield f"imports {name}, which isn't listed for {source.parts[0]}"


def listed(file: str) -> set[str]:
    """The names that the packages in a requirements*.in file can be imported by."""
    packages = re.findall(r"^([A-Za-z0-9_-]+)", (ROOT / file).read_text(), re.MULTILINE)
    names: set[str] = set()
    for package in packages:
        names |= IMPORT_NAMES.get(package, {package.replace("-", "_")}) | COMES_WITH.get(package, set())
    return names


def files_stay_short(source: Source) -> Iterator[str]:
    count = len(source.text.splitlines())
    if count > LINES_OF_A_FILE:
        yield f"has {count} lines, more than {LINES_OF_A_FILE}"


def functions_stay_short(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = LONGER_FUNCTIONS.get((source.name, node.name), LINES_OF_A_FUNCTION)
            if count > limit:
                yield f"line {node.lineno}: {node.name} has {count} lines, more than {limit}"


def is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


RULES: list[Rule] = [
    programs_share_only_the_wire,
    a_lower_domain_never_names_a_higher_one,
    rooms_import_what_the_table_says,
    rules_are_pure,
    models_stand_on_database_and_clock,
    services_know_no_request,
    third_parties_are_on_the_list,
    files_stay_short,
    functions_stay_short,
]


# ---- The house keeps them ----------------------------------------------------------------------------------


def sources() -> Iterator[Source]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "versions" not in path.parts:  # migrations are written by Alembic
                yield Source.read(path)
    yield from (Source.read(path) for path in ROOT.glob("*.py") if path.name != "gunicorn.conf.py")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    complaints = [f"{source.name}: {complaint}" for source in sources() for complaint in rule(source)]
    assert not complaints, "\n".join(["", *complaints])


# ---- Each rule catches what it forbids, and lets pass what it doesn't --------------------------------------

BREAKS: list[tuple[Rule, str, str]] = [
    (programs_share_only_the_wire, "garageswarm.client", "from webapp.tasks import rules"),
    (programs_share_only_the_wire, "garageswarm.client", "import agent"),
    (programs_share_only_the_wire, "agent.loop", "import webapp.clock"),
    (programs_share_only_the_wire, "webapp.standalone", "from agent import loop"),
    (programs_share_only_the_wire, "webapp.live.progress", "from garageswarm import client"),
    (
        programs_share_only_the_wire,
        "webapp.live.progress",
        "def f():\n    from garageswarm.client import Client",
    ),
    (programs_share_only_the_wire, "webapp.clock", "from tests import services"),
    (a_lower_domain_never_names_a_higher_one, "webapp.workers.service", "from webapp.tasks import queue"),
    (a_lower_domain_never_names_a_higher_one, "webapp.workers.service", "from ..tasks.queue import claim"),
    (a_lower_domain_never_names_a_higher_one, "webapp.auth.models", "import webapp.workflows"),
    (rooms_import_what_the_table_says, "webapp.tasks.models", "from webapp.tasks import service"),
    (rooms_import_what_the_table_says, "webapp.tasks.queue", "from webapp.tasks import pages"),
    (rooms_import_what_the_table_says, "webapp.tasks.queue", "from .pages import blueprint"),
    (rooms_import_what_the_table_says, "webapp.tasks.pages", "from webapp.tasks.models import Task"),
    (rooms_import_what_the_table_says, "webapp.tasks.pages", "from webapp.tasks import agent_api"),
    (rooms_import_what_the_table_says, "webapp.tasks.agent_api", "from webapp.workers.models import Worker"),
    (rooms_import_what_the_table_says, "webapp.tasks.queue", "from webapp.workers.guards import caller"),
    (rooms_import_what_the_table_says, "webapp.tasks.queue", "from webapp.workers.guards import Caller"),
    (rooms_import_what_the_table_says, "webapp.tasks.schemas", "from webapp.tasks.models import Task"),
    (rooms_import_what_the_table_says, "webapp.tasks.access", "from webapp.tasks import service"),
    (rules_are_pure, "webapp.tasks.rules", "from webapp import clock"),
    (rules_are_pure, "webapp.tasks.rules", "import sqlalchemy"),
    (rules_are_pure, "webapp.tasks.rules", "from .models import Task"),
    (models_stand_on_database_and_clock, "webapp.tasks.models", "from webapp.live import events"),
    (services_know_no_request, "webapp.tasks.queue", "from flask import request"),
    (services_know_no_request, "webapp.tasks.queue", "from flask_login import current_user"),
    (
        services_know_no_request,
        "webapp.tasks.service",
        "import flask\n\ndef f():\n    return flask.request.path",
    ),
    (third_parties_are_on_the_list, "webapp.tasks.queue", "import django"),
    (third_parties_are_on_the_list, "webapp.tasks.queue", "import pytest"),
    (third_parties_are_on_the_list, "agent.server", "import flask"),
    (third_parties_are_on_the_list, "garageswarm.client", "import psutil"),
    (third_parties_are_on_the_list, "scripts.prepare", "import requests"),
    (files_stay_short, "webapp.tasks.queue", "x = 1\n" * 401),
    (functions_stay_short, "webapp.tasks.queue", "def f():\n" + "    x = 1\n" * 40),
    (functions_stay_short, "webapp", "def create_app():\n" + "    x = 1\n" * 60),
]
KEEPS: list[tuple[Rule, str, str]] = [
    (programs_share_only_the_wire, "agent.loop", "from garageswarm import client"),
    (programs_share_only_the_wire, "webapp.live.progress", "from garageswarm.events import Event"),
    (a_lower_domain_never_names_a_higher_one, "webapp.tasks.queue", "from webapp.workers import rules"),
    (rooms_import_what_the_table_says, "webapp.tasks.pages", "from webapp.tasks import queue, access"),
    (
        rooms_import_what_the_table_says,
        "webapp.tasks.pages",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from webapp.tasks.models import Task",
    ),
    (rules_are_pure, "webapp.tasks.rules", "from datetime import datetime\nimport random"),
    (
        models_stand_on_database_and_clock,
        "webapp.tasks.models",
        "from webapp import clock\nimport sqlalchemy",
    ),
    (services_know_no_request, "webapp.tasks.pages", "from flask import request"),
    (third_parties_are_on_the_list, "webapp.auth.service", "import argon2\nfrom werkzeug import exceptions"),
    (files_stay_short, "webapp.tasks.queue", "x = 1\n" * 400),
    (functions_stay_short, "webapp.tasks.queue", "def f():\n" + "    x = 1\n" * 39),
]


@pytest.mark.parametrize(("rule", "name", "text"), BREAKS)
def test_a_rule_catches_what_breaks_it(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Source(name, text, is_package=name == "webapp")))


@pytest.mark.parametrize(("rule", "name", "text"), KEEPS)
def test_a_rule_lets_pass_what_keeps_it(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Source(name, text))) == []


def test_every_rule_is_proved() -> None:
    assert {rule for rule, _, _ in BREAKS} == {rule for rule, _, _ in KEEPS} == set(RULES)
