"""The agent as a systemd unit, in systemd's own way of quoting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import BadConfig

NAME = "garageswarm-agent.service"
MARK = "# Written by the agent's install command, which also changes and removes it."
WATCHDOG_S = 120
# After what runs was waited for: goodbye to the server, and the second signal's cancelling.
STOP_S = 30

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


@dataclass(frozen=True)
class Unit:
    """`account` is empty for a unit of the account's own systemd."""

    argv: Sequence[str]  # absolute
    directory: Path
    account: str
    environ: Mapping[str, str]
    drain_s: float = 10.0

    def text(self) -> str:
        """Raises BadConfig for a path that no unit can name."""
        is_own = not self.account
        lines = [
            MARK,
            "[Unit]",
            "Description=GarageSwarm agent",
            # Its own systemd knows no network.
            *([] if is_own else ["Wants=network-online.target", "After=network-online.target"]),
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            f"ExecStart={command(self.argv)}",
            f"WorkingDirectory={path(self.directory)}",
            *([] if is_own else [f"User={self.account}"]),
            *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(self.environ.items())),
            "Restart=always",
            "RestartSec=10",
            f"WatchdogSec={WATCHDOG_S}",
            f"TimeoutStopSec={self.drain_s + STOP_S:g}",
            "# Tasks outlive their agent: the next one takes them up. None may end it, either, by using up the memory.",
            "KillMode=process",
            "OOMPolicy=continue",
            "",
            "[Install]",
            f"WantedBy={'default' if is_own else 'multi-user'}.target",
        ]
        return "\n".join(lines) + "\n"


def command(argv: Sequence[str]) -> str:
    """A `$` in the program's own path stands for itself, one behind it would name a variable."""
    program, *arguments = argv
    return " ".join([quoted(program), *(quoted(one).replace("$", "$$") for one in arguments)])


def quoted(word: str) -> str:
    _refuse_controls(word)
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def path(directory: Path) -> str:
    """Takes the rest of its line as it is, but for `%`."""
    text = str(directory)
    _refuse_controls(text)
    if text != text.strip() or text.endswith("\\"):
        raise BadConfig(f"no unit can name {text!r}: put the agent into another directory")
    return text.replace("%", "%%")


def _refuse_controls(text: str) -> None:
    if not text.isprintable():
        raise BadConfig(f"no unit can name {text!r}: it has characters that can't be printed")
