"""Brings a checkout to what the remote has now, and never over somebody’s work."""

from __future__ import annotations

from agent.git import facts, unfinished
from agent.git.checkout import BEFORE, KEEPING, ORIGIN, Checkout
from agent.git.failures import Failed
from agent.git.goal import Goal
from agent.git.mirror import Mirror
from agent.git.progress import log
from agent.git.remote import HEADS
from agent.git.wish import Wish

_KEPT = 5


def forward(checkout: Checkout, mirror: Mirror, wish: Wish, goal: Goal) -> str:
    """→ what came of it, in words. Raises Failed, and GitFailed."""
    unfinished.recover(checkout)
    changed = facts.dirty(checkout)
    # By what was known before: a rewritten history makes nobody’s commits one’s own.
    own = facts.unpushed(checkout, "HEAD")[0] if checkout.head else []
    known = _remember(checkout)
    checkout.configure(mirror, wish, goal)
    checkout.fetch(mirror, wish, goal)
    if goal.commit is None:
        return "The repository is empty: there is nothing to get."
    checkout.set_default(mirror)
    if checkout.head is None:
        return _first(checkout, goal, changed)
    if goal.branch is None or goal.branch != checkout.branch:
        return _switched(checkout, goal, changed)
    return _along(checkout, goal, known, changed, own)


def _remember(checkout: Checkout) -> str | None:
    """→ the remote’s commit on this branch as it was. Once the remote’s history is rewritten nothing else says that these
    commits are its, and nobody’s own."""
    branch = checkout.branch
    known = checkout.commit_of(ORIGIN + branch) if branch else None
    if known:
        checkout.run("update-ref", BEFORE, known)
    return known


def _first(checkout: Checkout, goal: Goal, changed: list[str]) -> str:
    _need_clean(changed)
    _need_in_sight(checkout, goal)
    _switch(checkout, goal)
    return f"There was no commit here yet: checked out {goal.what}."


def _along(checkout: Checkout, goal: Goal, known: str | None, changed: list[str], own: list[str]) -> str:
    """On the branch already."""
    old, new = checkout.head or "", goal.commit or ""
    if old == new:
        return "Already up to date."
    if checkout.is_ancestor(new, old) and own:
        return f"Nothing new. There are {_commits(len(own))} here that the remote doesn’t have."
    if checkout.is_ancestor(old, new):
        count = checkout.counted(f"{old}..{new}")
        _merge(checkout, goal, changed)
        return f"{_commits(count)} newer: {old[:10]} → {new[:10]}."
    if own:
        raise Failed(
            f"the checkout and the remote have gone different ways: {_names(own)} only here. Push or merge these, or delete "
            "the checkout and clone it again"
        )
    _need_clean(changed, "the remote’s history was rewritten, and ")
    _switch(checkout, goal)
    return f"The remote’s history was rewritten (it was {(known or old)[:10]}): the checkout was set to {new[:10]}."


def _switched(checkout: Checkout, goal: Goal, changed: list[str]) -> str:
    """To another branch, a tag or a commit than is checked out."""
    old, was = checkout.head or "", checkout.branch
    if goal.branch is None and was is None and old == goal.commit:
        return "Already up to date."
    _need_clean(changed)
    _need_in_sight(checkout, goal, *([] if was else [old]))
    _switch(checkout, goal)
    return f"Checked out {goal.what} instead of {'branch ' + was if was else old[:10]}."


def _need_in_sight(checkout: Checkout, goal: Goal, *left: str) -> None:
    """A commit without a branch that is left, and a branch of the goal’s name that is set anew: what only they lead to."""
    if goal.branch and checkout.commit_of(HEADS + goal.branch):
        left = (*left, HEADS + goal.branch)
    if left and (own := facts.unpushed(checkout, *left)[0]):
        raise Failed(
            f"{_names(own)} only here, and would be out of sight. Push or delete these first, then pull again"
        )


def _merge(checkout: Checkout, goal: Goal, changed: list[str]) -> None:
    with unfinished.noted(checkout, goal, is_clean=not changed):
        checkout.run(
            *("merge", "--ff-only", KEEPING, "--no-stat", "--progress"),
            goal.commit or "",
            is_logged=True,
        )


def _switch(checkout: Checkout, goal: Goal) -> None:
    with unfinished.noted(checkout, goal, is_clean=True):
        checkout.switch(goal, KEEPING)


def _need_clean(changed: list[str], why: str = "") -> None:
    if changed:
        log("Changed here: " + ", ".join(changed[:_KEPT]))
        raise Failed(
            f"{why}{_names(changed, 'file')} changed here. Commit and push, or undo the changes; or delete the checkout and "
            "clone it again"
        )


def _names(found: list[str], what: str = "commit") -> str:
    """“2 commits (abc one, def two) are”"""
    shown = ", ".join(found[:_KEPT]) + (", …" if len(found) > _KEPT else "")
    return (
        f"{len(found)} {what}{'s' if len(found) != 1 else ''} ({shown}) {'are' if len(found) != 1 else 'is'}"
    )


def _commits(count: int) -> str:
    return f"{count} commit{'s' if count != 1 else ''}"
