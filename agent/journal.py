"""An attempt's directory, and the journal in it that tells the next agent what this one started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from agent import durable
from agent.account import Account

# An attempt's id names a directory, so it can't be whatever a server sends.
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
# Of an attempt's folder: what its account never gets, or has already.
_AGENTS_OWN = frozenset({"work", "journal", "lease"})


@dataclass(frozen=True)
class Entry:
    """What is needed to run an attempt, or to go on with it. Sizes in bytes, times by clock.now()."""

    offer: dict[str, Any]
    task: dict[str, Any]
    boot_id: str
    prepared_at: float
    prepared_wall: float  # for people only
    pid: int | None = None
    start_time: int | None = None
    started_at: float | None = None
    secrets: list[str] = field(default_factory=list)  # of the task: what isn't sent of its log
    project: dict[str, str] | None = None  # that it works in, or places


@dataclass(frozen=True)
class Place:
    """The files of one attempt."""

    path: Path
    work: Path = field(init=False)  # the task's working directory
    script: Path = field(init=False)
    launch: Path = field(init=False)  # what is to be started as another account; gone once it was read
    output: Path = field(init=False)  # raw stdout and stderr
    hole: Path = field(init=False)  # what the output doesn't have any more, being too long
    began: Path = field(init=False)  # the wrapper's process id, written by itself
    exit: Path = field(init=False)  # the exit code, written by the wrapper
    journal: Path = field(init=False)
    lease: Path = field(init=False)  # when it was last renewed, where the attempt may run elsewhere after it
    notes: Path = field(
        init=False
    )  # what its process and the agent tell each other, where its tool does that

    def __post_init__(self) -> None:
        for name in ("work", "script", "output", "hole", "began", "exit", "lease", "launch", "notes"):
            object.__setattr__(self, name, self.path / name)
        object.__setattr__(self, "journal", self.path / "journal.json")

    @property
    def attempt_id(self) -> str:
        return self.path.name

    def create(self, account: Account | None = None) -> None:
        """Whatever stood here has no journal, so nothing of it was ever started."""
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            self.remove()
            self.path.mkdir(mode=0o700)
        self.work.mkdir(mode=0o700)
        if account is not None:  # it may pass through, and own its working directory
            os.chown(self.path, -1, account.gid)
            self.path.chmod(0o710)
            os.chown(self.work, account.uid, account.gid)

    def hand_over(self, account: Account) -> None:
        """The files that its tool has made for the task. A folder after what is in it: what its new owner put there
        meanwhile would be given to it as well."""
        files = [path for path in self.path.iterdir() if path.name.partition(".")[0] not in _AGENTS_OWN]
        inside = list(self.notes.iterdir()) if self.notes.is_dir() else []
        for path in [*inside, *files]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)

    def write_journal(self, entry: Entry, *, is_new: bool) -> None:
        """A new entry is durable when this returns, the directory's own name included."""
        # Without a project it is one that an agent from before projects can take up (`update --back`).
        said = {name: value for name, value in vars(entry).items() if name != "project" or value}
        durable.write_json(self.journal, said, sync=is_new)
        if is_new:
            durable.sync_directory(self.path.parent)

    def look(self) -> Entry | None:
        """As `read_journal`, and changes nothing: another agent may be at work here."""
        content = durable.look_json(self.journal)
        try:
            return None if content is None else _checked(content)
        except (TypeError, ValueError):
            return None

    def read_journal(self) -> Entry | None:
        """None where there is none, or a damaged one, which is set aside."""
        content = durable.read_json(self.journal)
        if content is None:
            return None
        try:
            return _checked(content)
        except (TypeError, ValueError) as error:
            durable.set_aside(self.journal, str(error))
            return None

    @property
    def is_set_aside(self) -> bool:
        """Its journal was damaged: it may have run, so it never shall again."""
        return self.journal.with_name(f"{self.journal.name}.bad").exists()

    def exit_code(self) -> int | None:
        """None as long as the wrapper hasn't written it; it does so with one short write."""
        try:
            text = self.exit.read_text(encoding="ascii").strip()
            return int(text) if text else None
        except (OSError, ValueError):
            return None

    def began_pid(self) -> int | None:
        try:
            return int(self.began.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def note_renewal(self, at: float, lease_s: float) -> bool:
        """→ whether it is noted: not before there is a journal, nor where the task has locked its own folder."""
        try:
            if not self.journal.exists():
                return False
            durable.write(self.lease, f"{at} {lease_s}".encode(), sync=False)
        except OSError:
            return False
        return True

    def renewal(self) -> tuple[float, float] | None:
        """When the lease was last renewed, as far as that was noted, and for how many seconds."""
        try:
            at, lease_s = map(float, self.lease.read_text(encoding="ascii").split())
        except (OSError, ValueError):
            return None
        return at, lease_s

    def run_s(self) -> float:
        """How long an attempt took that ended while no agent watched. From the times of its files: good
        enough to be shown, and nothing is decided by it."""
        try:
            return max(0.0, self.exit.stat().st_mtime - self.began.stat().st_mtime)
        except OSError:
            return 0.0

    def remove(self) -> None:
        """The usual few files one by one, which is several times faster than walking the tree."""
        try:
            for path in (self.began, self.exit, self.output, self.script, self.journal):
                path.unlink(missing_ok=True)
            self.work.rmdir()
            self.path.rmdir()
        except OSError:
            remove_tree(self.path)


def remove_tree(path: Path) -> None:
    """Also with folders that their task made read-only, as some caches are."""
    try:
        _remove_by_python(path)
    except RecursionError:  # before Python 3.13: a folder in a folder, a thousand times
        with suppress(OSError):
            subprocess.run(
                ["rm", "-rf", "--", path], stdin=subprocess.DEVNULL, capture_output=True, check=False
            )


def _remove_by_python(path: Path) -> None:
    """Raises RecursionError."""
    shutil.rmtree(path, ignore_errors=True)
    if os.geteuid() == 0:  # whom no mode stops, and who would follow a link that a task puts in the way
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _checked(content: dict[str, Any]) -> Entry:
    """Raises TypeError or ValueError."""
    for name, kinds in (
        ("offer", (dict,)),
        ("task", (dict,)),
        ("pid", (int, NoneType)),
        ("secrets", (list,)),
        ("project", (dict, NoneType)),
    ):
        if not isinstance(content.get(name), kinds):
            raise TypeError(f"{name} is missing or of a wrong kind")
    if not all(isinstance(one, str) for one in content["secrets"]):
        raise TypeError("secrets are not all strings")
    return Entry(**content)
