"""Places projects: clones, pulls, looks at and removes checkouts. The work is done by a program of its own, agent.git."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from agent import git, program
from agent.account import Account
from agent.ending import NOT_EXECUTABLE
from agent.git import names, runs, wish
from agent.git.failures import Failed
from agent.tools import (
    BadInput,
    Command,
    Finding,
    Input,
    NotStartable,
    ProcessTool,
    Surroundings,
    Uses,
    checked_text,
    refuse_unknown,
)

MAX_URL = names.MAX_URL
MAX_SECRET_BYTES = 64 * 1024
MAX_LINES = 200
MAX_LINE_BYTES = 8 * 1024
MAX_DEPTH = 1_000_000
# What contacts the remote. A look at a checkout, and removing one, is nobody's business but this machine's.
REACHES_OUT = frozenset({"clone", "pull", "branches"})
DEFAULT_SCHEMES = ("https", "ssh")
# What `check` has no attempt for.
_ANYWHERE = {"attempt_id": "check", "projects": "/", "mirrors": "/"}


class Git(ProcessTool):
    name = "git"
    title = "Git"
    description = (
        "Places projects: clones, pulls, looks at and removes checkouts. Used by way of projects alone."
    )
    has_notes = True
    places_projects = True
    is_open: ClassVar[Mapping[str, Collection[str]]] = MappingProxyType({"credential": ("kind", "username")})
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "operation": {"type": "string", "title": "Operation", "enum": list(wish.OPERATIONS)},
            "url": {"type": "string", "title": "URL", "minLength": 1, "maxLength": MAX_URL},
            "path": {
                "type": "string",
                "title": "Folder",
                "description": "Its name under the agent’s projects.",
                "maxLength": 200,
            },
            "ref_kind": {"type": "string", "title": "What is checked out", "enum": list(wish.REF_KINDS)},
            "ref": {"type": "string", "title": "Branch, tag or commit", "maxLength": names.MAX_REF},
            "depth": {
                "type": "integer",
                "title": "Commits of history",
                "description": "All, where it is left out.",
                "minimum": 1,
                "maximum": MAX_DEPTH,
            },
            "single_branch": {"type": "boolean", "title": "Only this branch", "default": False},
            "submodules": {"type": "boolean", "title": "Submodules", "default": False},
            "lfs": {"type": "boolean", "title": "Large files (LFS)", "default": False},
            "force": {
                "type": "boolean",
                "title": "Also what isn’t committed or pushed",
                "description": "Of a delete: it is lost.",
                "default": False,
            },
            "credential_id": {"type": "string", "title": "Credential", "maxLength": 36},
            "credential": {
                "type": "object",
                "title": "Credential",
                "properties": {
                    "kind": {"type": "string", "enum": ["token", "ssh"]},
                    "username": {"type": "string", "maxLength": 255},
                    "secret": {"type": "string", "maxLength": MAX_SECRET_BYTES},
                },
                "required": ["kind", "secret"],
                "additionalProperties": False,
                "x-secret": True,
            },
            "host_keys": {
                "type": "array",
                "title": "Known host keys",
                "items": {"type": "string", "maxLength": MAX_LINE_BYTES},
                "maxItems": MAX_LINES,
            },
            "schemes": {
                "type": "array",
                "title": "Allowed schemes",
                "items": {"type": "string", "maxLength": 20},
                "maxItems": 20,
            },
        },
        "required": ["operation", "url"],
        "additionalProperties": False,
    }

    def check(self, task_input: Input) -> None:
        refuse_unknown(task_input, self.schema["properties"])
        for name, limit in (
            ("url", 4 * MAX_URL),
            ("path", 200),
            ("ref", 4 * names.MAX_REF),
            ("credential_id", 36),
        ):
            checked_text(name, task_input.get(name) or "", limit)
        for name in ("host_keys", "schemes"):
            _check_lines(name, task_input.get(name) or [])
        if task_input.get("credential") is not None:
            _check_credential(task_input["credential"])
        depth = task_input.get("depth")
        if isinstance(depth, int) and depth > MAX_DEPTH:
            raise BadInput(f"depth must be at most {MAX_DEPTH}")
        path = task_input.get("path") or "any"  # the task's project has it as well
        try:
            wish.parsed({"schemes": list(DEFAULT_SCHEMES), **task_input, **_ANYWHERE, "path": path})
        except wish.BadWish as error:
            raise BadInput(str(error)) from None

    def uses(self, task_input: Input) -> Uses:
        """Which submodules a repository has shows only when it is there: the program itself holds them to the rule."""
        return Uses(repositories=[task_input["url"]] if _reaches_out(task_input) else [])

    def command(self, task_input: Input, here: Surroundings) -> Command:
        attempt_id = here.directory.name
        wanted = {
            "schemes": list(DEFAULT_SCHEMES),
            **{name: value for name, value in task_input.items() if name != "credential_id"},
            "path": _path(task_input, here),
            "attempt_id": attempt_id,
            "running": sorted({*here.held} - {attempt_id}),
            "projects": str(here.roots.projects),
            "mirrors": str(here.roots.mirrors),
            "search": here.path,
            "disk_floor_bytes": here.disk_floor_bytes,
            "mirrors_bytes": here.roots.mirrors_bytes,
            "repositories": list(here.repositories)
            if here.repositories is not None and _reaches_out(task_input)
            else None,
        }
        argv = git.prepare(here.notes, wanted)
        # How this machine reaches others, a task isn't told otherwise.
        of_the_machine = {name: os.environ[name] for name in runs.OF_THE_MACHINE if name in os.environ}
        return Command([_python(argv[0], here.account), *argv[1:]], of_the_machine)

    def probe(self, path: str) -> Finding:
        try:
            return Finding(version=runs.version(path))
        except Failed as error:
            return Finding(works=False, problem=str(error))


def _reaches_out(task_input: Input) -> bool:
    return task_input["operation"] in REACHES_OUT


def _python(own: str, account: Account | None) -> str:
    """Raises NotStartable."""
    if account is None:
        return own
    found = program.python_for(account)
    if found is None:
        raise NotStartable(
            NOT_EXECUTABLE,
            f"run_as: {account.name} can start no Python 3.10 or newer: install one for all users",
        )
    return found


def _path(task_input: Input, here: Surroundings) -> str:
    """The folder of the task's project. Raises BadInput where the input names another one."""
    if here.project is None:
        return str(task_input.get("path") or "")
    if task_input.get("path") not in {None, "", here.project.path}:
        raise BadInput("path is another project's folder")
    return here.project.path


def _check_lines(name: str, lines: object) -> None:
    if not isinstance(lines, list | tuple) or len(lines) > MAX_LINES:
        raise BadInput(f"{name} must be a list of at most {MAX_LINES} strings")
    for line in lines:
        if len(checked_text(name, line, MAX_LINE_BYTES).splitlines()) > 1:
            raise BadInput(f"{name} must be of one line each")


def _check_credential(credential: object) -> None:
    if not isinstance(credential, dict):
        raise BadInput("credential must be an object")
    refuse_unknown(credential, Git.schema["properties"]["credential"]["properties"])
    checked_text("credential.username", credential.get("username") or "", 4 * 255)
    checked_text("credential.secret", credential.get("secret"), MAX_SECRET_BYTES)


TOOL = Git()
