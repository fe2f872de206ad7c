"""Mirrors for an operation: brought up to date while the remote is open, and used as they are while it is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.git import access, extras, goal, remote, upkeep
from agent.git.failures import Failed, GitFailed
from agent.git.goal import Goal
from agent.git.mirror import Mirror, keep_within
from agent.git.names import host_of, is_ref
from agent.git.progress import log
from agent.git.remote import HEADS, TAGS, Fetch, Refs
from agent.git.runs import Git
from agent.git.wish import Wish

_TRIES = 3
_NO_ROOM = "the mirrors take more room than they may on this worker. Try again later"


class Source:
    """`learned` are the host keys that ssh met for the first time."""

    def __init__(self, git: Git, home: Path, wish: Wish) -> None:
        self._git = git
        self._home = home
        self._wish = wish
        self.mirror = Mirror.of(git, wish.mirrors, wish.url)
        self.learned: list[str] = []
        self.is_away = False

    def look(self) -> Refs:
        """What the remote has. Raises Failed."""
        try:
            with self._open(self._wish.url) as variables:
                return remote.look(self._git, self._wish.url, variables, self._wish.schemes)
        except GitFailed as error:
            raise self._told(error, "The branches can’t be read", self._wish.url) from error

    @contextmanager
    def fresh(self, what: str) -> Iterator[Goal]:
        """The mirror has what is wanted, and nobody changes it meanwhile. → what to check out. `what` begins the text of a
        failure."""
        for _ in range(_TRIES):
            with self.mirror.held():
                found = self._brought(what)
            with self.mirror.held(is_shared=True):
                # For a moment nobody held it: another task may have needed the room.
                if found.commit is None or self.mirror.has(found.commit):
                    yield found
                    break
        else:
            raise Failed(f"{what}: {_NO_ROOM}")
        keep_within(self._git, self._wish.mirrors, self._wish.mirrors_bytes, self.mirror)

    def _brought(self, what: str) -> Goal:
        """A mirror that is damaged is made anew."""
        try:
            try:
                return self._opened()
            except GitFailed as error:
                if not error.is_damage or not self.mirror.exists:
                    raise
                log("The mirror on this worker is damaged: it is made anew.")
                self.mirror.remove()
                return self._opened()
        except GitFailed as error:
            raise self._told(error, what, self._wish.url) from error

    def _opened(self) -> Goal:
        with self._open(self._wish.url) as variables:
            return self._goal(variables)

    def _goal(self, variables: dict[str, str]) -> Goal:
        wish, mirror = self._wish, self.mirror
        if wish.lfs:
            extras.need_lfs(self._git)
        try:
            refs = remote.look(self._git, wish.url, variables, wish.schemes)
            wanted = goal.of(wish, refs)
            self._update(mirror, refs, wanted, variables)
            if wish.lfs:
                extras.fetch_large_files(self._git, mirror, wish, wanted, variables)
        except GitFailed as error:
            if not error.is_away or not mirror.is_whole:
                raise
            wanted = self._as_it_was(error)
        mirror.note_use()
        return wanted

    def _as_it_was(self, error: GitFailed) -> Goal:
        """While the remote is away. It has let this worker in before; one that refuses isn’t away."""
        note = self.mirror.note
        age = _age(time.time() - (note.fetched_at or 0))
        refs = self.mirror.refs()
        heads = {name.removeprefix(HEADS): one for name, one in refs.items() if name.startswith(HEADS)}
        tags = {name.removeprefix(TAGS): one for name, one in refs.items() if name.startswith(TAGS)}
        default = self.mirror.default_branch()
        found = goal.of(self._wish, Refs(heads, tags, default if default in heads else None))
        is_part = note.depth is not None and note.depth < (self._wish.depth or 2**31)
        if is_part or (found.commit and not self.mirror.has(found.commit)):
            raise error
        self.is_away = True
        log(f"{self._wish.host} can’t be reached: using what this worker fetched {age} ago.")
        return found

    def _update(self, mirror: Mirror, refs: Refs, wanted: Goal, variables: dict[str, str]) -> None:
        mirror.prepare(refs.digits)
        if wanted.commit is None:
            return
        names = goal.refs_wanted(self._wish, wanted, refs)
        if not self._is_current(refs, names):
            self._fetch(refs, wanted, names, variables)
        if not mirror.has(wanted.commit):
            self._fetch_commit(mirror, wanted.commit, variables)
        upkeep.tidy(self._git, mirror.path)
        if refs.default:
            mirror.set_default(refs.default)

    def _is_current(self, refs: Refs, names: list[str]) -> bool:
        """Whether the mirror has all that the remote has: then there is nothing to fetch."""
        mirror, note = self.mirror, self.mirror.note
        if note.fetched_at is None or (note.depth is not None and note.depth < (self._wish.depth or 2**31)):
            return False
        there = {HEADS + name: one for name, one in refs.heads.items()}
        there |= {} if self._wish.depth else {TAGS + name: one for name, one in refs.tags.items()}
        known = mirror.refs()
        if names:
            return all(name in known and known[name] == there.get(name) for name in names)
        ours = (HEADS, TAGS)[: 1 if self._wish.depth else 2]
        same = {name: one for name, one in known.items() if name.startswith(ours)}
        if {name: one for name, one in same.items() if is_ref(name.split("/", 2)[2])} != there:
            return False
        note.fetched_at = time.time()
        mirror.write(note)
        return True

    def _fetch(self, refs: Refs, wanted: Goal, names: list[str], variables: dict[str, str]) -> None:
        wish, mirror = self._wish, self.mirror
        fetch = Fetch(self._git, mirror, variables, wish.schemes, goal.refspecs_wanted(wish, names))
        if wish.depth is None:
            fetch.whole(goal.first_step(wish, wanted, refs))
            return
        known = mirror.refs()
        candidates = names or [HEADS + name for name in refs.heads]
        fetch.shallow(wish.depth, [name for name in candidates if name not in known])

    def _fetch_commit(self, mirror: Mirror, commit: str, variables: dict[str, str]) -> None:
        """One that no branch leads to: not every server gives these."""
        wanted = remote.refspecs([commit])
        try:
            Fetch(self._git, mirror, variables, self._wish.schemes, wanted).whole(wanted)
        except GitFailed as error:
            if error.is_away or not error.is_unadvertised:
                raise
            raise Failed(
                f"there is no commit {commit} on any branch or tag of the repository, and the remote doesn’t give it by "
                "its own name"
            ) from error

    @contextmanager
    def other(self, url: str, commit: str) -> Iterator[Mirror]:
        """Of a submodule, with that commit, and nobody changes it meanwhile. The credential goes with it only to its own
        host. Raises Failed."""
        mirror, what = (
            Mirror.of(self._git, self._wish.mirrors, url),
            f"The submodule at {url} can’t be fetched",
        )
        for _ in range(_TRIES):
            try:
                with mirror.held():
                    self._bring(mirror, commit)
            except GitFailed as error:
                raise self._told(error, what, url) from error
            with mirror.held(is_shared=True):
                if mirror.has(commit):  # as in `fresh`
                    yield mirror
                    return
        raise Failed(f"{what}: {_NO_ROOM}")

    def _bring(self, mirror: Mirror, commit: str) -> None:
        if not (mirror.is_whole and mirror.has(commit)):
            self._fetch_other(mirror, commit)
        mirror.note_use()

    def _fetch_other(self, mirror: Mirror, commit: str) -> None:
        with self._open(mirror.url) as variables:
            refs = remote.look(self._git, mirror.url, variables, self._wish.schemes)
            mirror.prepare(refs.digits)
            Fetch(self._git, mirror, variables, self._wish.schemes, remote.ALL).whole(remote.ALL)
            if not mirror.has(commit):
                self._fetch_commit(mirror, commit, variables)

    @contextmanager
    def _open(self, url: str) -> Iterator[dict[str, str]]:
        wish = self._wish
        is_own = host_of(url) == wish.host
        credential = wish.credential if is_own else None
        with access.opened(self._home, url, credential, wish.host_keys if is_own else []) as opened:
            try:
                yield opened.variables
            finally:
                if is_own:
                    self.learned += [line for line in opened.learned() if line not in self.learned]

    def _told(self, error: GitFailed, what: str, url: str) -> Failed:
        return error.for_people(what, url, host_of(url))


def _age(seconds: float) -> str:
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count != 1 else ''}"
    return "less than a minute"
