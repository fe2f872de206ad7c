"""What is to be checked out, worked out of what the remote has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from agent.git.failures import Failed, cleaned
from agent.git.remote import ALL, HEADS, TAGS, Refs, refspecs
from agent.git.wish import Wish

USUAL = ("main", "master", "trunk", "develop")


@dataclass(frozen=True)
class Goal:
    """A branch with its newest commit; a commit without one (`branch` None); or, in an empty repository, neither."""

    branch: str | None = None
    commit: str | None = None
    what: str = ""  # in words


def of(wish: Wish, refs: Refs) -> Goal:
    """Raises Failed where the remote hasn’t got it."""
    if wish.ref_kind == "commit":
        return Goal(None, wish.ref, f"commit {wish.ref[:12]}")
    if wish.ref_kind == "tag":
        return Goal(None, _found(wish.ref, refs.tags, "tag"), f"tag {wish.ref}")
    if wish.ref_kind == "branch":
        return Goal(wish.ref, _found(wish.ref, refs.heads, "branch"), f"branch {wish.ref}")
    if refs.odd_default is not None:  # another one in its place would be nobody’s choice
        raise Failed(
            f"the remote’s default branch is called {cleaned(refs.odd_default)}, which isn’t taken: choose a branch"
        )
    if refs.is_empty:
        return Goal(what="an empty repository")
    name = refs.default or _likely(refs.heads)
    return Goal(name, refs.heads[name], f"branch {name}")


def refs_wanted(wish: Wish, goal: Goal, refs: Refs) -> list[str]:
    """Full names of the refs that come into the mirror; empty: all branches, and all tags with whole history."""
    if wish.ref_kind == "commit":
        named = [HEADS + name for name, commit in refs.heads.items() if commit == wish.ref]
        named += [TAGS + name for name, commit in refs.tags.items() if commit == wish.ref]
        return (named[:1] or [wish.ref]) if wish.depth else []
    if goal.branch is None:
        return [TAGS + wish.ref] if wish.single_branch or wish.depth else []
    return [HEADS + goal.branch] if wish.single_branch else []


def refspecs_wanted(wish: Wish, names: list[str]) -> list[str]:
    """The tags of a repository lead all over its history: a part of it comes without them."""
    if names:
        return refspecs(names)
    return list(ALL[:1] if wish.depth else ALL)


def first_step(wish: Wish, goal: Goal, refs: Refs) -> list[str]:
    """Refspecs of what is fetched before all else: that alone says how large a repository is."""
    branch = goal.branch or refs.default
    names = [HEADS + branch] if branch else [TAGS + wish.ref] if wish.ref_kind == "tag" else []
    return refspecs_wanted(wish, names)


def _found(name: str, there: dict[str, str], kind: str) -> str:
    if name in there:
        return there[name]
    if not there:
        raise Failed(f"there is no {kind} {name}: the repository has none at all")
    raise Failed(f"there is no {kind} {name} in the repository. {_there_are(name, there)}")


def _there_are(name: str, there: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(there)[:2000], 5) or sorted(there)[:5]
    return f"There are, among others: {', '.join(close)}"


def _likely(heads: dict[str, str]) -> str:
    """Where the remote’s default branch isn’t there: it was renamed, or nothing was pushed to it yet."""
    if len(heads) == 1:
        return next(iter(heads))
    for name in USUAL:
        if name in heads:
            return name
    raise Failed(
        f"the remote doesn’t say which branch is its default: choose one. {_there_are('main', heads)}"
    )
