"""What the owner of this machine allows. Decides, and reads nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from shlex import join
from typing import Any

from agent.account import Account
from agent.offer import Offer
from agent.tools import BadInput, Finding, Input, Tool, Uses
from agent.within import is_within

Names = tuple[str, ...]

_FORBIDDEN = Finding(works=False, problem="the owner of this machine doesn’t allow it")
WHOSE = "by the owner’s policy of this machine"
# What the server takes of it, for people to read.
MAX_SHOWN, MAX_SHOWN_LENGTH = 100, 200


@dataclass(frozen=True)
class Policy:
    """Of what may be listed: None allows everything, an empty list nothing."""

    tools: Names | None = None
    organisations: Names | None = None
    repositories: Names | None = None
    commands: Names | None = None
    variables: Names = ()  # that a task may set all the same where commands are listed
    max_minutes: int | None = None
    max_disk_bytes: int | None = None
    account: Account | None = None  # that tasks run as
    problem: str = ""  # why nothing at all is allowed: there is a policy, and it can't be read
    unusable: Mapping[str, str] = field(
        default_factory=dict
    )  # tools that can't work as that account, and why

    def allows_tool(self, name: str) -> bool:
        return self.tools is None or name in self.tools

    def on(self, found: Mapping[str, Finding]) -> dict[str, Finding]:
        """What was found of tools, without those that aren't allowed, or can't work as the tasks' account."""
        usable = {
            name: Finding(works=False, problem=self.unusable[name]) if name in self.unusable else one
            for name, one in found.items()
        }
        return {name: one if self.allows_tool(name) else _FORBIDDEN for name, one in usable.items()}

    def refusal(self, offer: Offer, tool: Tool | None, task_input: Input | None) -> str | None:
        """Whose rule it is that this may not be done here; None where it may. `task_input` is None while only the offer
        is known."""
        if self.problem:
            return f"its file can’t be used: {self.problem}"
        if not self.allows_tool(offer.tool):
            return f"the tool {short(offer.tool)} isn’t allowed"
        return self._foreign(offer) or self._improper(tool, task_input)

    def _foreign(self, offer: Offer) -> str | None:
        whose = offer.organisation
        if self.organisations is None or {whose.get("id"), whose.get("name")} & set(self.organisations):
            return None
        if not whose:
            return "only certain organisations are allowed, and the server doesn’t say whose task it is"
        return f"the organisation {short(whose.get('name') or whose.get('id', ''))} isn’t allowed"

    def _improper(self, tool: Tool | None, task_input: Input | None) -> str | None:
        if tool is None or task_input is None or (self.repositories is None and self.commands is None):
            return None
        try:
            tool.check(task_input)
        except BadInput:
            return None  # it fails for that reason, and starts nothing
        uses = tool.uses(task_input)
        return self._foreign_repository(uses.repositories) or self._foreign_command(uses)

    def _foreign_repository(self, urls: Sequence[str]) -> str | None:
        if self.repositories is None:
            return None
        refused = [url for url in urls if not any(is_within(url, each) for each in self.repositories)]
        return f"the repository {short(refused[0])} isn’t allowed" if refused else None

    def _foreign_command(self, uses: Uses) -> str | None:
        if self.commands is None:
            return None
        if uses.commands is None:
            return "only certain commands are allowed, and nobody can tell what a script does"
        refused = [argv for argv in uses.commands if not any(is_such(argv, each) for each in self.commands)]
        if refused:
            return f"the command {short(refused[0][0])} isn’t allowed, or not with these arguments"
        names = [
            name for name in uses.variables if not any(fnmatchcase(name, each) for each in self.variables)
        ]
        return f"the variable {short(names[0])} isn’t allowed beside certain commands" if names else None

    def to_dict(self) -> dict[str, Any]:
        """For people, as far as it goes: the agent alone holds to it. Empty where everything is allowed."""
        lists = {
            "tools": self.tools,
            "organisations": self.organisations,
            "repositories": self.repositories,
            "commands": self.commands,
            "variables": self.variables or None,
        }
        said: dict[str, Any] = {name: _shown(items) for name, items in lists.items() if items is not None}
        said |= {"max_minutes": self.max_minutes} if self.max_minutes else {}
        said |= {"max_disk_bytes": self.max_disk_bytes} if self.max_disk_bytes else {}
        said |= {"run_as": self.account.name} if self.account else {}
        said |= {"problem": short(self.problem)} if self.problem else {}
        return {**said, "digest": self._digest()} if said else {}

    def _digest(self) -> str:
        """Of all of it: what isn't shown may have changed as well."""
        rules = [self.tools, self.organisations, self.repositories, self.commands, self.variables]
        return hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:16]


def is_such(argv: Sequence[str], pattern: str) -> bool:
    """A pattern without a space names a program, with any arguments; one with a space is the whole line, quoted as in a
    shell. `*` is anything."""
    if ".." in PurePosixPath(argv[0]).parts:  # or /usr/bin/* would be everything
        return False
    return fnmatchcase(join(argv) if " " in pattern else argv[0], pattern)


def short(text: str) -> str:
    """As the server takes it: one line, not too long."""
    line = "".join(one if one.isprintable() else "?" for one in text)
    return line if len(line) <= MAX_SHOWN_LENGTH else f"{line[:MAX_SHOWN_LENGTH]}…"


def _shown(items: Names) -> list[str]:
    more = len(items) - MAX_SHOWN
    return [*map(short, items[:MAX_SHOWN]), *([f"and {more} more"] if more > 0 else [])]
