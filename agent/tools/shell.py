"""A script for bash (sh where there is none), or one command with its arguments."""

from __future__ import annotations

import functools
import os
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

from agent import probes
from agent.ending import NOT_EXECUTABLE, NOT_FOUND
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

MAX_SCRIPT_BYTES = 256 * 1024
MAX_ARGUMENTS = 1000
MAX_ARGUMENT_BYTES = 128 * 1024 - 1  # Linux takes no longer one
MAX_VARIABLES = 500
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OWN_PREFIX = "GARAGESWARM_"


class Shell(ProcessTool):
    name = "shell"
    title = "Shell"
    description = "Runs a script or a command. A status other than 0 fails the task."
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "script": {
                "type": "string",
                "title": "Script",
                "description": "Run by bash, or sh where there is no bash. Its last status counts.",
                "minLength": 1,
                "maxLength": MAX_SCRIPT_BYTES,
                "examples": ["uname -a"],
                "x-widget": "textarea",
            },
            "argv": {
                "type": "array",
                "title": "Command",
                "description": "A program and its arguments, one a line, without a shell.",
                "items": {"type": "string", "maxLength": MAX_ARGUMENT_BYTES},
                "minItems": 1,
                "maxItems": MAX_ARGUMENTS,
                "x-widget": "lines",
            },
            "env": {
                "type": "object",
                "title": "Environment",
                "description": "Variables that the task sees besides PATH, HOME and the like.",
                "additionalProperties": {"type": "string"},
                "x-secret": True,
            },
        },
        "additionalProperties": False,
        "oneOf": [
            {"required": ["script"], "title": "A script"},
            {"required": ["argv"], "title": "A command"},
        ],
    }

    def check(self, task_input: Input) -> None:
        refuse_unknown(task_input, self.schema["properties"])
        if ("script" in task_input) == ("argv" in task_input):
            raise BadInput("give either script or argv")
        if "script" in task_input:
            if not checked_text("script", task_input["script"], MAX_SCRIPT_BYTES):
                raise BadInput("script must not be empty")
        else:
            _check_argv(task_input["argv"])
        _check_env(task_input.get("env", {}))

    def uses(self, task_input: Input) -> Uses:
        commands = [task_input["argv"]] if "argv" in task_input else None
        return Uses(commands, list(task_input.get("env", {})))

    def command(self, task_input: Input, here: Surroundings) -> Command:
        env = dict(task_input.get("env", {}))
        if "argv" in task_input:
            program, *arguments = task_input["argv"]
            return Command([_resolved(program, env.get("PATH", here.path), here.work), *arguments], env)
        script = here.directory / "script"
        script.write_bytes(task_input["script"].encode("utf-8"))
        return Command([_bash(here.path) or "/bin/sh", str(script)], env)

    def probe(self, path: str) -> Finding:
        _bash.cache_clear()  # it may have come or gone since
        bash = _bash(path)
        if bash is not None:
            return Finding(version=probes.first_line([bash, "--version"], path))
        if os.access("/bin/sh", os.X_OK):
            return Finding(version="/bin/sh, no bash")
        return Finding(works=False, problem="neither bash nor /bin/sh is here")


@functools.lru_cache(maxsize=1)
def _bash(path: str) -> str | None:
    return shutil.which("bash", path=path)


def _check_argv(argv: object) -> None:
    if not isinstance(argv, list) or not 1 <= len(argv) <= MAX_ARGUMENTS:
        raise BadInput(f"argv must be a list of 1 to {MAX_ARGUMENTS} strings")
    for number, argument in enumerate(argv):
        checked_text(f"argv[{number}]", argument, MAX_ARGUMENT_BYTES)
    if not argv[0]:
        raise BadInput("argv[0] must name a program")


def _check_env(env: object) -> None:
    if not isinstance(env, dict) or len(env) > MAX_VARIABLES:
        raise BadInput(f"env must be an object of at most {MAX_VARIABLES} strings")
    for name, value in env.items():
        if not VARIABLE.fullmatch(name):
            raise BadInput(f"env: {name!r} is not a name for a variable")
        if name.startswith(OWN_PREFIX):
            raise BadInput(f"env: names that start with {OWN_PREFIX} are the agent's")
        checked_text(f"env.{name}", value, MAX_ARGUMENT_BYTES - len(name))


def _resolved(program: str, path: str, work: Path) -> str:
    """An absolute path, because the wrapper's shell would take `exit` or `echo` for its own."""
    where = program if "/" not in program else str(work / program)
    found = shutil.which(where, path=path)
    if found:
        return str(Path(found).absolute())
    if "/" in program and Path(where).exists():
        raise NotStartable(NOT_EXECUTABLE, f"{program} can't be executed")
    raise NotStartable(NOT_FOUND, f"command not found: {program}")


TOOL = Shell()
