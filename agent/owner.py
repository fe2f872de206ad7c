"""The policy file of this machine's owner: found, checked, read anew when it changes."""

from __future__ import annotations

import configparser
import difflib
import logging
import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import account
from agent.account import Account
from agent.config import Config
from agent.errors import BadConfig
from agent.policy import Names, Policy

log = logging.getLogger("agent")

FILE = "policy.ini"
SYSTEM = Path("/etc/garageswarm") / FILE
SECTION = "policy"
MAX_BYTES = 256 * 1024
LISTS = ("tools", "organisations", "repositories", "commands", "variables")
KEYS = (*LISTS, "max_minutes", "max_disk", "run_as")
TOOL = re.compile(r"[a-z0-9_-]{1,64}")
PLACES_PROJECTS = "git"
SIZE = re.compile(r"([1-9][0-9]{0,6}) ?(MB|GB)")
MAX_MINUTES = 365 * 24 * 60

State = tuple[Any, ...]


class Owner:
    """What the owner allows now. Made, it raises BadConfig for a file that can't be used."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._places = places(config.storage, config.policy)
        self._seen = self._state()
        self._policy = self._read(self._seen)

    def policy(self) -> Policy:
        """A file that has changed is read; one that can't be used any more allows nothing until it is mended."""
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._policy = self._read_again(state)
                self._seen = state
            return self._policy

    def _read_again(self, state: State | None) -> Policy:
        try:
            policy = self._read(state) if state else self._unusable(self._gone())
        except BadConfig as error:
            policy = self._unusable(str(error))
        if policy.problem:
            log.warning("%s: no task is started until that is mended", policy.problem)
        else:
            log.info("the owner's policy has changed, and was read anew")
        return policy

    def _unusable(self, problem: str) -> Policy:
        """What runs keeps its limits."""
        before = self._policy
        return Policy(problem=problem, max_minutes=before.max_minutes, max_disk_bytes=before.max_disk_bytes)

    def _gone(self) -> str:
        """Whoever takes a policy away says so by starting the agent anew."""
        return f"policy file {self._seen[0] if self._seen else FILE} is gone"

    def _state(self) -> State | None:
        """The first of the places where there is a file, and what changes when somebody changes it."""
        for path in self._places:
            try:
                found = path.stat()
            except FileNotFoundError:
                if path.is_symlink():  # to nowhere: somebody meant there to be one
                    return (path, "nowhere")
                continue
            except OSError as error:
                return (path, error.errno)
            return (path, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        return None

    def _read(self, state: State | None) -> Policy:
        """Raises BadConfig."""
        if state is None and self._config.policy:
            raise BadConfig(f"policy file {self._config.policy} isn't there")
        policy, name = (Policy(), "") if state is None else read(state[0])
        run_as = self._config.run_as
        if name and run_as and name != run_as:
            raise BadConfig(f"{state and state[0]} says run_as = {name}, AGENT_RUN_AS says {run_as}")
        account = self._account(name or run_as)
        return replace(policy, account=account, unusable=self._unusable_tools(account))

    def _account(self, name: str) -> Account | None:
        if not name:
            return None
        found = account.find(name)
        try:
            account.open_way(found, self._config.storage, self._config.jobs)
        except OSError as error:
            raise BadConfig(f"run_as: {error.filename}: {error.strerror or error}") from error
        return found

    def _unusable_tools(self, account: Account | None) -> dict[str, str]:
        """What tasks of that user have no place for. No reason to do without the rest."""
        if account is None:
            return {}
        try:
            self._config.roots.give(account, self._config.storage)
        except (BadConfig, OSError) as error:
            log.warning("projects can't be placed here: %s", error)
            return {PLACES_PROJECTS: str(error)}
        return {}


def places(storage: Path, given: Path | None) -> list[Path]:
    """Where the owner's file may be; the first that is there counts."""
    return [given] if given else [SYSTEM, storage / FILE]


def read(path: Path) -> tuple[Policy, str]:
    """The policy in this file, and the user that its tasks run as. Raises BadConfig."""
    try:
        text = _text(path.resolve(strict=True))
    except OSError as error:
        raise BadConfig(f"policy file {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise BadConfig(f"policy file {path} isn't UTF-8 text") from None
    try:
        return parse(text)
    except BadConfig as error:
        raise BadConfig(f"policy file {path}: {error}") from None


def _text(path: Path) -> str:
    """Of a file that nobody could have changed who isn't the owner. Raises BadConfig, OSError, UnicodeDecodeError."""
    _refuse_foreign(path.parent, path.parent.stat())
    with path.open("rb") as file:
        _refuse_foreign(path, os.fstat(file.fileno()))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadConfig(f"policy file {path} is longer than {MAX_BYTES} bytes")
    return content.decode("utf-8-sig")


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise BadConfig(f"{path} must belong to root or to the agent's user: it decides what may run here")
    is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
        raise BadConfig(f"{path} can be written by others, and decides what may run here: chmod go-w {path}")


def parse(text: str) -> tuple[Policy, str]:
    """Raises BadConfig with what is wrong, in one line."""
    said = _said(text)
    lists: dict[str, Any] = {key: _items(key, said[key]) for key in LISTS if key in said}
    for name in lists.get("tools", ()):
        if not TOOL.fullmatch(name):
            raise BadConfig(f"tools: {name!r} is not a tool's name; one a line")
    if "variables" in said and "commands" not in said:
        raise BadConfig("variables says what a task may set beside certain commands: give commands as well")
    policy = Policy(
        **lists,
        max_minutes=_minutes(said["max_minutes"]) if "max_minutes" in said else None,
        max_disk_bytes=_size(said["max_disk"]) if "max_disk" in said else None,
    )
    return policy, _one_line("run_as", said["run_as"]) if "run_as" in said else ""


def _said(text: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",), default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text, "it")
    except configparser.MissingSectionHeaderError:
        raise BadConfig(f"it must begin with [{SECTION}]") from None
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as error:
        raise BadConfig(f"line {error.lineno} says again what is said before it") from None
    except configparser.ParsingError as error:
        raise BadConfig(f"line {error.errors[0][0]} must look like rule = value") from None
    if parser.sections() != [SECTION]:
        found = ", ".join(f"[{name}]" for name in parser.sections()) or "none"
        raise BadConfig(f"it must have one section, [{SECTION}], and has {found}")
    said = dict(parser[SECTION])
    for key in said:
        if key not in KEYS:
            raise BadConfig(f"there is no rule {key!r}{_meant(key)}")
    return said


def _meant(key: str) -> str:
    close = difflib.get_close_matches(key.lower(), KEYS, 1)
    return f": did you mean {close[0]}?" if close else f"; there are {', '.join(KEYS)}"


def _items(key: str, text: str) -> Names:
    items = tuple(line.strip() for line in text.splitlines() if line.strip())
    for item in items:
        name = re.match(r"(\w+) *=", item)
        if name and name[1] in KEYS:
            raise BadConfig(f"{name[1]} is indented, and so a part of {key}: begin its line at the left")
        if not item.isprintable():
            raise BadConfig(f"{key}: {item!r} has characters that can't be printed")
    return items


def _minutes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_MINUTES:
        raise BadConfig(f"max_minutes must be a whole number from 1 to {MAX_MINUTES}, not {text!r}")
    return int(text)


def _size(text: str) -> int:
    match = SIZE.fullmatch(text)
    if not match:
        raise BadConfig(f"max_disk must look like 500 MB or 20 GB, not {text!r}")
    return int(match[1]) * {"MB": 10**6, "GB": 10**9}[match[2]]


def _one_line(key: str, text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise BadConfig(f"{key} must be one name, not {text!r}")
    return text
