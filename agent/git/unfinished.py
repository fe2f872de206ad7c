"""What was killed while it wrote files: noted before it begins, and finished by whoever comes next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.git import names
from agent.git.checkout import Checkout
from agent.git.failures import GitFailed
from agent.git.goal import Goal
from agent.git.progress import log
from agent.git.runs import MAX_ANSWER

FILE = "garageswarm.json"
_INDEX = "garageswarm.index"
# As many files git writes at the same time: so many can be cut short.
_MOST_CUT = 16


@contextmanager
def noted(checkout: Checkout, goal: Goal, *, is_clean: bool) -> Iterator[None]:
    """While `checkout` becomes what the goal says. `is_clean`: nothing was changed in it before."""
    note = {"from": checkout.head, "to": goal.commit, "branch": goal.branch, "is_clean": is_clean}
    path = checkout.git_dir / FILE
    path.write_text(json.dumps(note), encoding="utf-8")
    try:
        yield
    except GitFailed:  # by its own decision, before it wrote anything
        path.unlink()
        raise
    path.unlink()


def recover(checkout: Checkout) -> None:
    """Take the locks away that a killed git left, and finish what it began, unless somebody has worked here since."""
    path = checkout.git_dir / FILE
    note = _read(path)
    if note is None:
        return
    for lock in [*checkout.git_dir.glob("*.lock"), *(checkout.git_dir / "refs").rglob("*.lock")]:
        lock.unlink(missing_ok=True)
    before, after = note["from"], note["to"]
    if note["is_clean"] and checkout.head in {before, after} and _is_between(checkout, before, after):
        log("An earlier pull was cut off: finishing what it began.")
        checkout.switch(Goal(note["branch"], after))
    path.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    """It lies where tasks can write, so it isn’t trusted."""
    try:
        note: dict[str, Any] = json.loads(path.read_bytes())
        commits = [note["to"]] if note["from"] is None else [note["from"], note["to"]]
        for commit in commits:
            names.check_commit(commit)
        if note["branch"] is not None:
            names.check_ref(note["branch"])
        return {key: note[key] for key in ("from", "to", "branch", "is_clean")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _is_between(checkout: Checkout, before: str | None, after: str) -> bool:
    """Whether each file is as in one of the two commits, or cut short on the way to the second."""
    if before is None:
        return False
    with suppress(GitFailed):
        neither = _differing(checkout, before) & _differing(checkout, after)
        return len(neither) <= _MOST_CUT and all(_is_cut(checkout, after, name) for name in neither)
    return False


def _differing(checkout: Checkout, commit: str) -> set[bytes]:
    """Files, by name, that aren’t as in that commit. The checkout’s own index plays no part."""
    index = checkout.git_dir / _INDEX
    own = {"GIT_INDEX_FILE": str(index)}
    try:
        checkout.run("read-tree", commit, variables=own, is_logged=False)
        with suppress(GitFailed):  # which says that something differs
            checkout.run("update-index", "-q", "--refresh", variables=own, is_logged=False)
        changed = checkout.run("diff-files", "--name-only", "-z", variables=own, is_logged=False)
        new = checkout.run(
            *("ls-files", "--others", "--exclude-standard", "-z"), variables=own, is_logged=False
        )
    finally:
        index.unlink(missing_ok=True)
        index.with_name(f"{_INDEX}.lock").unlink(missing_ok=True)
    return {name for name in (changed + new).split(b"\0") if name}


def _is_cut(checkout: Checkout, commit: str, name: bytes) -> bool:
    """Whether what there is of the file is the beginning of what it would become."""
    path = os.path.join(os.fsencode(checkout.path), name)  # noqa: PTH118 - a name is bytes
    if os.path.islink(path) or not os.path.isfile(path):  # noqa: PTH113, PTH114
        return False
    blob = f"{commit}:{os.fsdecode(name)}"
    try:
        if int(checkout.run("cat-file", "-s", blob, is_logged=False)) > MAX_ANSWER:
            return False  # too large to be looked into: it counts as somebody’s work
        whole = checkout.run("cat-file", "blob", blob, is_logged=False)
    except GitFailed:
        return False
    with open(path, "rb") as file:  # noqa: PTH123
        return whole.startswith(file.read(len(whole) + 1))
