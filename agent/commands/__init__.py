"""What can be said after `python -m agent`. A file each: a line of help, its arguments, and what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn, Protocol, cast

from agent import __version__, program
from agent.commands import doctor, install, join, reset, rotate_key, run, status, update
from agent.errors import BadConfig

Action = Callable[[argparse.Namespace, Mapping[str, str]], int]


class Command(Protocol):
    """A module that has these."""

    HELP: str  # one line

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def act(self, chosen: argparse.Namespace, environ: Mapping[str, str], /) -> int:
        """→ the exit code. Raises BadConfig and Stop, which end the program with their one line."""


DEFAULT = "run"
# In the order in which people meet them.
COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "join": join,
        "run": run,
        "status": status,
        "doctor": doctor,
        "install": install,
        "update": update,
        "rotate-key": rotate_key,
        "reset": reset,
    }
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage text: what is wrong mustn't scroll away."""
        raise BadConfig(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """With `act`, what is to be done. Without a command it is `run`. Raises BadConfig."""
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        words = [DEFAULT, *words]
    return _parser().parse_args(words)


def action(chosen: argparse.Namespace) -> Action:
    return cast("Action", chosen.act)


def _parser() -> _Parser:
    parser = _Parser(
        prog=program.typed(),
        allow_abbrev=False,
        description="Runs tasks on this machine for a GarageSwarm server.",
        epilog=f"Without a command: {DEFAULT}. Each command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    table = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = table.add_parser(name, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.add_arguments(sub)
        sub.set_defaults(act=command.act)
    return parser
