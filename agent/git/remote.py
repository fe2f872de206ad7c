"""The repository that others push to: what it has, and how the mirror comes to have it too."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.git.failures import GitFailed
from agent.git.mirror import Mirror
from agent.git.names import COMMIT, is_ref, scheme_of
from agent.git.progress import log
from agent.git.runs import Git, decoded

HEADS = "refs/heads/"
TAGS = "refs/tags/"
ALL = (f"+{HEADS}*:{HEADS}*", f"+{TAGS}*:{TAGS}*")
# A first step that takes longer, or that is larger, is followed by more steps instead of by all the rest at once.
LONG_S = 5.0
LARGE_BYTES = 50 * 1000**2
# How deep the next step goes, compared with the one before.
QUICK, SLOW = 8, 2
MOST_COMMITS = 2**31 - 1


@dataclass(frozen=True)
class Refs:
    """What the remote says that it has, by short name. A tag’s commit is the one that it leads to."""

    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    default: str | None = None
    digits: int = 40
    odd_default: str | None = None  # the remote’s default branch where its name is one that isn’t taken

    @property
    def is_empty(self) -> bool:
        return not self.heads and not self.tags


def look(git: Git, url: str, variables: Mapping[str, str], schemes: Sequence[str]) -> Refs:
    """Raises GitFailed."""
    git.reporter.say("fetching", "connecting", "Asking the remote")
    said = git.run(
        "ls-remote",
        "--symref",
        "--",
        url,
        variables=variables,
        protocols=protocols(url, schemes),
        is_logged=False,
    )
    return parsed(decoded(said))


def parsed(text: str) -> Refs:
    """Of `ls-remote --symref`. Names that aren’t branches or tags (pull requests, notes) are left out, and those that nobody
    could ask for."""
    heads: dict[str, str] = {}
    tags: dict[str, str] = {}
    default, digits = None, 40
    for line in text.split("\n"):  # not splitlines: names hold what that takes for an end
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default = value.removeprefix(f"ref: {HEADS}")
        elif not COMMIT.fullmatch(value):
            continue
        elif name.startswith(HEADS) and is_ref(short := name.removeprefix(HEADS)):
            heads[short] = value
        elif name.startswith(TAGS) and is_ref(short := name.removeprefix(TAGS).removesuffix("^{}")):
            tags[short] = value
        digits = len(value) if COMMIT.fullmatch(value) else digits
    odd = default if default is not None and not is_ref(default) else None
    return Refs(heads, tags, default if default in heads else None, digits, odd)


def protocols(url: str, schemes: Sequence[str]) -> list[str]:
    """What git may speak to get `url`: this one alone, of those that are allowed."""
    return [scheme for scheme in schemes if scheme == scheme_of(url)]


class Fetch:
    """Brings a mirror up to date, by whoever holds it. `wanted` are refspecs; all raise GitFailed."""

    def __init__(
        self,
        git: Git,
        mirror: Mirror,
        variables: Mapping[str, str],
        schemes: Sequence[str],
        wanted: Sequence[str],
    ) -> None:
        self._git = git
        self._mirror = mirror
        self._variables = variables
        self._protocols = protocols(mirror.url, schemes)
        self._wanted = list(wanted)

    def whole(self, first: Sequence[str]) -> None:
        """All of history. What an earlier fetch has kept of it isn’t fetched again; `first` is what the first step of the
        very first one fetches."""
        note = self._mirror.note
        is_new = note.fetched_at is None and note.depth is None
        is_done = is_new and self._begin(first)
        if self._mirror.note.depth is not None:
            self._deepen()
        if not is_done:
            self._fetch(self._wanted)
        self._done(None)

    def shallow(self, depth: int, unknown: Sequence[str]) -> None:
        """At least `depth` commits of history. What is there already isn’t cut off again, and `unknown`, the refs that the
        mirror doesn’t have yet, come no deeper either."""
        note = self._mirror.note
        if (note.depth or depth) < depth or (note.fetched_at is None and note.depth is None):
            self._fetch_deep(depth, self._wanted)
        else:
            if note.depth is not None and unknown:
                self._fetch_deep(depth, refspecs(unknown))
            self._fetch(self._wanted)
        self._done(max(depth, note.depth or 0) if self._mirror.shallow else None)

    def _begin(self, first: Sequence[str]) -> bool:
        """→ whether all has come already."""
        began = time.monotonic()
        self._fetch_deep(1, first)
        if not self._mirror.shallow:
            return False
        self._note_depth(1)
        if time.monotonic() - began > LONG_S or self._mirror.bytes_taken() > LARGE_BYTES:
            return False
        self._git.reporter.note("history")
        self._fetch(self._wanted, "--unshallow")
        self._note_depth(None)
        return True

    def _deepen(self) -> None:
        """Each step is kept: who is interrupted goes on from the last one."""
        log("This is a large repository: it is fetched step by step, and each step is kept.")
        depth, factor = self._mirror.note.depth or 1, QUICK
        # Tags lead all over the history: with them a step would be as large as all of it.
        wanted = [one for one in self._wanted if not one.startswith(f"+{TAGS}*")]
        while before := self._mirror.shallow:
            depth = min(depth * factor, MOST_COMMITS)
            self._git.reporter.note(f"history to {depth:,} commits deep")
            began = time.monotonic()
            self._fetch(wanted, f"--depth={depth}")
            self._note_depth(depth)
            log(f"Kept: history to {depth:,} commits deep.")
            if depth == MOST_COMMITS:
                return  # the remote itself has no more
            if self._mirror.shallow == before:  # or a step that was cut off had come this far already
                depth = MOST_COMMITS
            factor = QUICK if time.monotonic() - began <= LONG_S else SLOW

    def _fetch_deep(self, depth: int, wanted: Sequence[str]) -> None:
        """Where the remote knows nothing of depth, all is fetched."""
        try:
            self._fetch(wanted, f"--depth={min(depth, MOST_COMMITS)}")
        except GitFailed as error:
            if not error.lacks_shallow:
                raise
            log("The remote gives no part of its history: all of it is fetched at once.")
            self._fetch(wanted)

    def _fetch(self, wanted: Sequence[str], *options: str) -> None:
        self._git.run(
            *("fetch", "--progress", "--no-tags", "--force", "--prune", "--update-shallow", *options),
            *("--", self._mirror.url, *wanted),
            at=self._mirror.path,
            variables=self._variables,
            protocols=self._protocols,
        )

    def _note_depth(self, depth: int | None) -> None:
        note = self._mirror.note
        note.depth = depth
        self._mirror.write(note)

    def _done(self, depth: int | None) -> None:
        note = self._mirror.note
        note.depth, note.fetched_at = depth, time.time()
        self._mirror.write(note)
        self._git.reporter.note("")


def refspecs(names: Sequence[str]) -> list[str]:
    """Of full names, or of a commit that no branch leads to."""
    return [f"{name}:{kept(name)}" if COMMIT.fullmatch(name) else f"+{name}:{name}" for name in names]


def kept(commit: str) -> str:
    """The ref that keeps a commit which the remote gives by its own name only."""
    return f"refs/kept/{commit}"
