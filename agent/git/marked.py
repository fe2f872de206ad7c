"""The index of a checkout: what is in it besides files that git looks at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.git.checkout import Checkout
from agent.git.runs import decoded

MOST_BYTES = 1024**3
_LINK = b"160000"
_AT_ONCE = 200


@dataclass(frozen=True)
class Entry:
    """`is_marked`: git was told to take the file for unchanged (assume-unchanged, skip-worktree); else it is the commit of
    another repository."""

    name: bytes
    is_marked: bool


def entries(checkout: Checkout) -> list[Entry]:
    """Of these two kinds alone: there are as many others as files. Raises GitFailed."""
    said = checkout.run("ls-files", "-v", "--stage", "-z", is_logged=False, most=MOST_BYTES)
    found = (line.partition(b"\t") for line in said.split(b"\0") if line)
    kinds = ((name, kind[:1], kind[2:8] == _LINK) for kind, _, name in found)
    return [
        Entry(name, tag == b"S" or tag.islower())
        for name, tag, is_link in kinds
        if is_link or tag == b"S" or tag.islower()
    ]


def differing(checkout: Checkout, known: Iterable[Entry]) -> list[str]:
    """Marked files that aren’t as in the commit. One that isn’t there at all is nothing that could be lost."""
    folder = os.fsencode(checkout.path)
    names = [
        entry.name for entry in known if entry.is_marked and os.path.lexists(b"%s/%s" % (folder, entry.name))
    ]
    if not names or checkout.head is None:  # before the first commit all files count as changed
        return []
    return [decoded(name) for name in _differing(checkout, names)]


def _differing(checkout: Checkout, names: list[bytes]) -> Iterator[bytes]:
    """By an index without any marks, which is in nobody’s way."""
    index = checkout.git.home / "unmarked.index"
    own = {"GIT_INDEX_FILE": str(index)}
    try:
        checkout.run("read-tree", "--no-sparse-checkout", "HEAD", variables=own, is_logged=False)
        for begin in range(0, len(names), _AT_ONCE):
            some = [f":(literal){os.fsdecode(name)}" for name in names[begin : begin + _AT_ONCE]]
            said = checkout.run(
                *("diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=none"),
                *("--", *some),
                variables=own,
                is_logged=False,
            )
            yield from (name for name in said.split(b"\0") if name)
    finally:
        index.unlink(missing_ok=True)
