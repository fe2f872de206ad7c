"""One bare repository for each URL, that all checkouts of it are made from: fetched once, cloned by hard links."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.git import room
from agent.git.progress import log
from agent.git.runs import Git

_LOOK_S = 0.2
_OBJECT_NAME = 64  # digits of a SHA-256 one

# What old repositories are full of, and what harms nobody. All else that git finds wrong with an object stops the fetch.
_HARMLESS = (
    *("badDate", "badDateOverflow", "badEmail", "badName", "badTimezone"),
    *(
        "missingEmail",
        "missingNameBeforeEmail",
        "missingSpaceBeforeDate",
        "missingSpaceBeforeEmail",
        "missingTaggerEntry",
    ),
    *("multipleAuthors", "zeroPaddedDate", "zeroPaddedFilemode", "badFilemode", "badTagName"),
    *("extraHeaderEntry", "gitmodulesParse", "nulInCommit"),
)


@dataclass
class Note:
    """What is known of a mirror besides its refs. Times by the wall clock: for people, and to find the oldest."""

    url: str
    fetched_at: float | None = None  # when it was last as the remote was
    used_at: float = 0.0
    depth: int | None = None  # how many commits of history, while there aren’t all


class Mirror:
    def __init__(self, git: Git, path: Path, url: str = "") -> None:
        self.path = path
        self.url = url
        self._git = git
        self._lock = path.with_suffix(".lock")
        self._note = path.with_suffix(".json")

    @classmethod
    def of(cls, git: Git, mirrors: Path, url: str) -> Mirror:
        return cls(git, mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.git", url)

    @contextmanager
    def held(self, *, is_shared: bool = False) -> Iterator[None]:
        """Nobody else fetches into it meanwhile; where it isn’t shared, nobody reads it either. Raises Stopped."""
        handle = _open_lock(self._lock)
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        try:
            self._take(handle, kind)
            self._git.held.append(handle)
            yield
        finally:
            self._git.held = [one for one in self._git.held if one != handle]
            os.close(handle)

    def _take(self, handle: int, kind: int) -> None:
        is_waiting = False
        while not _is_taken(handle, kind):
            if not is_waiting:
                is_waiting = True
                log("Waiting: another task of this worker fetches the same repository.")
                self._git.reporter.say(
                    "fetching", "waiting", "Waiting for another fetch of the same repository"
                )
            self._git.check()
            self._git.wait(_LOOK_S)

    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").is_file() and not self.path.is_symlink()

    @property
    def is_whole(self) -> bool:
        """Whether a fetch was ever finished."""
        return self.exists and self.note.fetched_at is not None

    @property
    def note(self) -> Note:
        try:
            said: dict[str, Any] = json.loads(self._note.read_bytes())
            return Note(**{name: said[name] for name in vars(Note("")) if name in said})
        except (OSError, ValueError, TypeError, AttributeError):
            return Note(self.url)

    def write(self, note: Note) -> None:
        beside = self._note.with_suffix(".tmp")
        beside.write_text(json.dumps(vars(note)), encoding="utf-8")
        beside.replace(self._note)

    def note_use(self) -> None:
        note = self.note
        note.used_at = time.time()
        self.write(note)

    def prepare(self, digits: int) -> None:
        """Ready to fetch into, by whoever holds it: made where it isn’t there, with settings that are ours alone, and
        without what a fetch left behind that was killed. `digits` is the length of the remote’s object names."""
        is_long = digits == _OBJECT_NAME
        if self.exists and self._is_long() != is_long:
            self.remove()
        if not self.exists:
            self.remove()
            self.path.mkdir(mode=0o700, parents=True)
            kind = ["--object-format=sha256"] if is_long else []
            self._git.run("init", "--quiet", "--bare", "--template=", *kind, "--", str(self.path))
        for name in (
            "config",  # as a link it would be written elsewhere
            "commondir",  # where the settings would be read from instead
            "objects/info/alternates",
            "objects/info/http-alternates",
            "config.worktree",
            "info/attributes",
        ):
            (self.path / name).unlink(missing_ok=True)
        (self.path / "config").write_text(_config(is_long), encoding="ascii")
        _clear(self.path)

    def _is_long(self) -> bool:
        with suppress(OSError):
            return "sha256" in (self.path / "config").read_text(encoding="utf-8", errors="replace")
        return False

    @property
    def shallow(self) -> bytes:
        """Where its history is cut off, as git notes it; empty where it isn’t."""
        try:
            return (self.path / "shallow").read_bytes()
        except OSError:
            return b""

    def refs(self) -> dict[str, str]:
        """By full name. What a tag names is the commit, not the tag’s own object."""
        form = "--format=%(refname)%00%(objectname)%00%(*objectname)"
        lines = self._git.text("for-each-ref", form, at=self.path).split("\n")
        found = (line.split("\0") for line in lines)
        return {one[0]: one[2] or one[1] for one in found if len(one) == 3}

    def default_branch(self) -> str | None:
        said = self._git.ask("symbolic-ref", "--quiet", "HEAD", at=self.path)
        return said.removeprefix("refs/heads/") if said else None

    def set_default(self, branch: str) -> None:
        self._git.run("symbolic-ref", "HEAD", f"refs/heads/{branch}", at=self.path)

    def has(self, commit: str) -> bool:
        return self._git.ask("cat-file", "-e", f"{commit}^{{commit}}", at=self.path) is not None

    def bytes_taken(self) -> int:
        return room.taken(self.path)

    def remove_unused(self) -> bool:
        """→ whether nobody had it."""
        handle = _open_lock(self._lock)
        try:
            if not _is_taken(handle, fcntl.LOCK_EX):
                return False
            self.remove()
            return True
        finally:
            os.close(handle)

    def remove(self) -> None:
        """By whoever holds it."""
        self._note.unlink(missing_ok=True)
        if os.path.lexists(self.path):
            gone = self.path.with_suffix(".gone")
            room.remove(gone)
            self.path.rename(gone)
            room.remove(gone)


def keep_within(git: Git, mirrors: Path, budget: int, besides: Mirror) -> None:
    """Remove those that were used the longest ago, and aren’t now, until all take no more than `budget` (0: no limit).
    Checkouts lose nothing: what they have in common with a mirror stays theirs."""
    found = [Mirror(git, path) for path in mirrors.glob("*.git")] if budget else []
    sizes = {mirror.path: mirror.bytes_taken() for mirror in found}
    over = sum(sizes.values()) - budget
    for mirror in sorted(found, key=lambda one: one.note.used_at):
        if over <= 0:
            return
        if mirror.path != besides.path and mirror.remove_unused():
            over -= sizes[mirror.path]
            log(f"Mirrors take more than {room.size(budget)}: removed the one used the longest ago.")


def _open_lock(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _config(is_long: bool) -> str:
    """fetch.unpackLimit: packs are linked into a checkout at once, loose objects one by one."""
    core = f"[core]\n\trepositoryformatversion = {int(is_long)}\n\tfilemode = true\n\tbare = true\n"
    extensions = "[extensions]\n\tobjectformat = sha256\n" if is_long else ""
    checks = "".join(f"\t{name} = ignore\n" for name in _HARMLESS)
    return (
        f"{core}{extensions}[gc]\n\tauto = 0\n[transfer]\n\tfsckObjects = true\n[fetch]\n\tunpackLimit = 1\n"
        f'[fetch "fsck"]\n{checks}[uploadpack]\n\tallowAnySHA1InWant = true\n'
    )


def _clear(path: Path) -> None:
    """Whoever holds the mirror is alone in it: a lock or a temporary file is of one that was killed."""
    for folder, _, files in os.walk(path):
        for name in files:
            if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                (Path(folder) / name).unlink(missing_ok=True)
    for left in (path / "objects").glob("tmp_objdir-*"):
        room.remove(left)
