"""Which repositories the machine’s owner means by a pattern. For the agent, and for its git program."""

from __future__ import annotations

from fnmatch import fnmatchcase


def is_within(url: str, pattern: str) -> bool:
    """Part by part between the slashes: `*` ends at one, `**` as the last part is all the rest."""
    parts, wanted = _parts(url), _parts(pattern)
    if any(part in {".", ".."} or not part.isprintable() or set(part) & set("%\\ ") for part in parts):
        return False  # whoever fetches it may read it as another one
    if wanted[-1] == "**" and len(parts) >= len(wanted):
        parts, wanted = parts[: len(wanted) - 1], wanted[:-1]
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _parts(url: str) -> list[str]:
    return url.rstrip("/").removesuffix(".git").split("/")
