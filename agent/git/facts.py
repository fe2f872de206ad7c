"""What is told about a checkout. All of it is somebody else’s text: cleaned, short, and never too much of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from agent.git import inner, marked, room
from agent.git.checkout import ORIGIN, REMOTES, Checkout
from agent.git.failures import cleaned
from agent.git.remote import HEADS
from agent.git.runs import decoded

MANY = 100  # files, and commits that the remote doesn’t have
MOST_BRANCHES = 500
RECENT = 20
NAME_LENGTH = 255
SUBJECT_LENGTH = 300
# For rev-list: branches, tags, what was stashed away, and what each working tree has checked out. What was fetched from
# another remote isn’t one’s own.
EVERYWHERE = ("--exclude=refs/remotes/*", "--exclude=refs/garageswarm/*", "--all")
_LOG = "--format=%H%x1f%ct%x1f%an%x1f%s"


def gathered(checkout: Checkout) -> dict[str, Any]:
    """Of one that is whole."""
    commits = recent(checkout)
    changed, own, own_count = only_here(checkout)
    newest = (
        commits[0] if commits else {"commit": None, "subject": None, "author": None, "committed_at": None}
    )
    ahead, behind = _apart(checkout)
    return {
        "usable": True,
        "branch": _shown(checkout.branch),
        **newest,
        "ahead": ahead,
        "behind": behind,
        "dirty": changed[:MANY],
        "dirty_count": len(changed),
        "unpushed": own,
        "unpushed_count": own_count,
        "branches": _branches(checkout),
        "commits": commits,
        "default_branch": _default(checkout),
        "size": room.taken(checkout.path),
    }


def dirty(checkout: Checkout) -> list[str]:
    """Files that differ from the commit, new ones included. A new folder counts as one, and a submodule with any change,
    also where the repository says that its changes don’t count."""
    said = checkout.run(
        *("status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"),
        "--ignore-submodules=none",
        is_logged=False,
    )
    return [cleaned(decoded(entry[3:]), NAME_LENGTH) for entry in said.split(b"\0") if len(entry) > 3]


def only_here(checkout: Checkout) -> tuple[list[str], list[str], int]:
    """What nobody else has: all files that differ, some of the commits, and how many of these there are."""
    entries = marked.entries(checkout)
    changed = [*dirty(checkout), *marked.differing(checkout, entries)]
    own, count = unpushed(checkout, *EVERYWHERE)
    for name, one in inner.found(checkout, entries):
        if one.path != checkout.path:
            changed += [f"{name}/{file}" for file in marked.differing(one, marked.entries(one))]
        more, number = unpushed(one, *EVERYWHERE)
        own, count = [*own, *(f"{name}: {entry}" for entry in more)], count + number
    changed = list(dict.fromkeys(cleaned(file, NAME_LENGTH) for file in changed))
    return changed, [cleaned(entry, SUBJECT_LENGTH) for entry in own[:MANY]], count


def unpushed(checkout: Checkout, *tips: str) -> tuple[list[str], int]:
    """Commits that `tips` lead to and nothing of the remote does: some of them, and how many there are."""
    count = checkout.counted(*tips, *REMOTES)
    if not count:
        return [], 0
    form = ("-z", "--format=%h %s", f"--max-count={MANY}")
    said = checkout.run("log", *form, *tips, *REMOTES, "--", is_logged=False)
    return [cleaned(decoded(entry), SUBJECT_LENGTH) for entry in said.split(b"\0") if entry], count


def recent(checkout: Checkout) -> list[dict[str, Any]]:
    """The newest first: `{commit, subject, author, committed_at}`."""
    if checkout.head is None:
        return []
    said = checkout.run("log", "-z", f"--max-count={RECENT}", _LOG, "HEAD", "--", is_logged=False)
    return [_commit(decoded(entry)) for entry in said.split(b"\0") if entry]


def _commit(entry: str) -> dict[str, Any]:
    commit, seconds, author, subject = [*entry.split("\x1f", 3), "", "", ""][:4]
    return {
        "commit": commit,
        "subject": cleaned(subject, SUBJECT_LENGTH),
        "author": cleaned(author, NAME_LENGTH),
        "committed_at": _time(seconds),
    }


def _time(seconds: str) -> str | None:
    """A commit may claim any time, also one that no calendar has."""
    try:
        at = datetime.fromtimestamp(int(seconds), timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z" if at.year >= 1970 else None


def _apart(checkout: Checkout) -> tuple[int | None, int | None]:
    """How many commits the branch is ahead of the remote’s, and behind it."""
    branch = checkout.branch
    if branch is None or checkout.head is None or checkout.commit_of(ORIGIN + branch) is None:
        return None, None
    said = checkout.ask("rev-list", "--left-right", "--count", f"HEAD...{ORIGIN}{branch}", "--")
    ahead, behind = (said or "0 0").split()
    return int(ahead), int(behind)


def _branches(checkout: Checkout) -> list[str]:
    form = "--format=%(refname)"
    said = checkout.ask("for-each-ref", f"--count={MOST_BRANCHES + 1}", form, ORIGIN) or ""
    names = [line.removeprefix(ORIGIN) for line in said.split("\n") if line]
    return [cleaned(name, NAME_LENGTH) for name in names if name != "HEAD"][:MOST_BRANCHES]


def _default(checkout: Checkout) -> str | None:
    said = checkout.ask("symbolic-ref", "--quiet", f"{ORIGIN}HEAD")
    return _shown(said.removeprefix(ORIGIN)) if said else None


def _shown(name: str | None) -> str | None:
    return cleaned(name.removeprefix(HEADS), NAME_LENGTH) if name else None
