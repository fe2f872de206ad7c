"""What can be asked for: clone, pull, status, delete, branches. Each returns what it has to say and what is known then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.git import bring, extras, facts, leftovers, room, upkeep
from agent.git.checkout import Checkout
from agent.git.failures import Failed, GitFailed, cleaned
from agent.git.goal import Goal
from agent.git.progress import log
from agent.git.runs import Git
from agent.git.source import Source
from agent.git.wish import Wish

SHOWN = 5
# Of the names of one kind, as JSON: the agent takes no more than 1 MB of facts in all.
MOST_LISTED_BYTES = 400_000


@dataclass
class Work:
    """One operation: what it has to do with, and the facts as far as they are known."""

    wish: Wish
    git: Git
    source: Source
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def checkout(self) -> Checkout:
        return Checkout.of(self.git, self.wish.root, self.wish.path, has_lfs=self.wish.lfs)


def clone(work: Work) -> str:
    checkout = _ready(work)
    if checkout.is_there:
        return _again(work, checkout)
    goal = _made(work, checkout)
    _look(work, checkout)
    size = room.size(work.facts.get("size", 0))
    before = ", from what this worker had fetched before: the remote can’t be reached"
    return f"Cloned {goal.what}, {size}{before if work.source.is_away else ''}."


def _made(work: Work, checkout: Checkout) -> Goal:
    """Beside its place, and put there when it is whole."""
    beside = leftovers.partial(checkout.path, work.wish.attempt_id)
    partial = Checkout(work.git, beside, has_lfs=work.wish.lfs)
    try:
        with leftovers.made(work.git, beside):
            with work.source.fresh("The clone failed") as goal:
                partial.create(work.source.mirror, work.wish, goal)
                _add_large_files(work, partial, goal)
            _add_submodules(work, partial, goal)
            beside.rename(checkout.path)
    except GitFailed as error:
        raise error.for_people("The checkout failed", work.wish.url, work.wish.host) from error
    finally:
        room.remove(beside)
    return goal


def _again(work: Work, checkout: Checkout) -> str:
    """Said twice, or the answer was lost: as good as a pull."""
    if not checkout.is_whole() or checkout.url != work.wish.url:
        raise Failed(
            f"there is something else at {checkout.path}, which isn’t a checkout of {work.wish.url}: move it away, then "
            "clone again"
        )
    return "It was here already. " + pull(work)


def pull(work: Work) -> str:
    checkout = _ready(work)
    _need_whole(work, checkout)
    try:
        with work.source.fresh("The pull failed") as goal:
            said = bring.forward(checkout, work.source.mirror, work.wish, goal)
            _add_large_files(work, checkout, goal)
            upkeep.tidy(work.git, checkout.git_dir)
        _add_submodules(work, checkout, goal)
    except GitFailed as error:
        raise error.for_people("The pull failed", work.wish.url, work.wish.host) from error
    finally:
        _look(work, checkout)
    if work.source.is_away:
        raise Failed(f"{work.wish.host} can’t be reached from this worker. Try again later")
    return said


def status(work: Work) -> str:
    checkout = work.checkout
    _need_whole(work, checkout)
    if not _look(work, checkout):
        raise Failed("git can’t read this checkout: the log says why. Delete it, then clone it again")
    count, own = work.facts["dirty_count"], work.facts["unpushed_count"]
    if not count and not own:
        return "Nothing is changed here."
    return f"{_count(count, 'file')} changed, {_count(own, 'commit')} not pushed."


def delete(work: Work) -> str:
    checkout = _ready(work)
    work.facts["local_path"] = str(checkout.path)
    if not checkout.is_there:
        return "It was gone already."
    if not work.wish.force:
        _refuse_loss(work, checkout)
    gone = leftovers.gone(checkout.path, work.wish.attempt_id)
    work.git.reporter.say("deleting", "deleting", "Deleting files")
    checkout.path.rename(gone)
    work.facts = {"local_path": str(checkout.path), "usable": False}
    room.remove(gone)
    return "Deleted."


def _refuse_loss(work: Work, checkout: Checkout) -> None:
    if not _is_readable(work, checkout):
        raise Failed(
            "git can’t read this checkout any more, so nobody can tell what would be lost: delete it with force",
            refused="dirty",
        )
    for kind, words in (
        ("dirty", "changes that were never committed"),
        ("unpushed", "commits that were never pushed"),
    ):
        if names := work.facts[kind]:
            raise Failed(f"there are {words}: {_listed(names, work.facts[f'{kind}_count'])}", refused=kind)


def _is_readable(work: Work, checkout: Checkout) -> bool:
    try:
        return checkout.is_whole() and _look(work, checkout)
    except Failed as error:  # its settings would have git run programs
        log(f"The checkout isn’t looked at: {error}")
        return False


def branches(work: Work) -> str:
    refs = work.source.look()
    work.facts = {
        "branches": _named(refs.heads),
        "tags": _named(refs.tags),
        "default": refs.default,
    }
    return f"{_count(len(refs.heads), 'branch', 'branches')}, {_count(len(refs.tags), 'tag')}."


OPERATIONS: dict[str, Callable[[Work], str]] = {
    "clone": clone,
    "pull": pull,
    "status": status,
    "delete": delete,
    "branches": branches,
}


def _ready(work: Work) -> Checkout:
    """What earlier ones left half done is removed first."""
    checkout = work.checkout
    leftovers.sweep(checkout.path.parent, {*work.wish.running, work.wish.attempt_id})
    return checkout


def _need_whole(work: Work, checkout: Checkout) -> None:
    work.facts |= {"local_path": str(checkout.path), "usable": False}
    if not checkout.is_there:
        raise Failed(f"there is no checkout at {checkout.path} any more: clone it again")
    if not checkout.is_whole():
        raise Failed(
            f"what lies at {checkout.path} isn’t a git checkout any more: delete it, then clone it again"
        )
    work.facts["usable"] = True


def _add_large_files(work: Work, checkout: Checkout, goal: Goal) -> None:
    if work.wish.lfs and goal.commit is not None:
        extras.place_large_files(checkout, work.source.mirror)


def _add_submodules(work: Work, checkout: Checkout, goal: Goal) -> None:
    """While no mirror is held: each needs its own, which may be this one, or wait for whoever waits for this one."""
    if work.wish.submodules and goal.commit is not None:
        extras.place_submodules(checkout, work.wish, work.source.other, work.wish.url)


def _look(work: Work, checkout: Checkout) -> bool:
    """→ whether its state could be read. What is known is told, also of an operation that failed."""
    work.facts |= {"local_path": str(checkout.path), "usable": checkout.is_whole()}
    if work.source.mirror.exists:
        work.facts["mirror_bytes"] = work.source.mirror.bytes_taken()
    if not work.facts["usable"]:
        return False
    try:
        work.facts |= facts.gathered(checkout)
    except GitFailed as error:
        log(f"The state of the checkout can’t be read: {cleaned(error.text)}")
        return False
    return True


def _named(found: dict[str, str]) -> list[dict[str, str]]:
    """As many as there is room for."""
    named, size = [], 0
    for name in sorted(filter(str.isprintable, found)):
        named.append({"name": name, "commit": found[name]})
        size += len(json.dumps(named[-1])) + 2
        if size > MOST_LISTED_BYTES:
            log(f"Of {len(found)} names the first {len(named)} are listed.")
            break
    return named


def _listed(names: list[str], count: int) -> str:
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
