"""Parts of an answer, whatever the server sent: what has another shape counts as left out."""

from __future__ import annotations

from typing import Any


def objects(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = answer.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(answer: dict[str, Any], name: str) -> list[str]:
    value = answer.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def offset(answer: dict[str, Any]) -> int | None:
    value = answer.get("next_offset")
    return value if isinstance(value, int) and value >= 0 else None
