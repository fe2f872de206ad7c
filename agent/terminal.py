"""Words of others on a person's terminal: what a server or a task wrote can't move the cursor of whoever reads along."""

from __future__ import annotations


def one_line(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def printable(text: str) -> str:
    """Lines stay lines."""
    return "\n".join(one_line(line) for line in text.split("\n"))
