"""What the server offers, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.journal import SAFE_ID


class BadOffer(Exception):
    """Not an offer that this agent understands."""


@dataclass(frozen=True)
class Offer:
    """`timeout_s` and `no_output_timeout_s`: None for no limit."""

    task_id: str
    attempt_id: str
    attempt: int
    tool: str
    timeout_s: float | None
    no_output_timeout_s: float | None
    on_lost: str
    data_url: str
    organisation: Mapping[str, str] = field(
        default_factory=dict
    )  # `id` and `name`; empty from an older server

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Offer:
        """Raises BadOffer."""
        task_id, attempt_id = raw.get("task_id"), raw.get("attempt_id")
        for one in (task_id, attempt_id):
            if not isinstance(one, str) or not SAFE_ID.fullmatch(one):
                raise BadOffer(f"offer with the id {one!r}")
        return cls(
            task_id=str(task_id),
            attempt_id=str(attempt_id),
            attempt=_number(raw.get("attempt")),
            tool=str(raw.get("tool")),
            timeout_s=_limit(raw.get("timeout_s")),
            no_output_timeout_s=_limit(raw.get("no_output_timeout_s")),
            on_lost=str(raw.get("on_lost") or "fail"),
            data_url=_data_url(raw, f"attempt_id={attempt_id}"),
            organisation=_organisation(raw.get("organisation")),
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def task_of(data: object) -> dict[str, Any]:
    """The task in what `data_url` returns. Raises BadOffer."""
    task = data.get("task") if isinstance(data, dict) else None
    if not isinstance(task, dict) or not isinstance(task.get("input", {}), dict):
        raise BadOffer("task data without a task")
    return task


def _data_url(raw: dict[str, Any], query: str) -> str:
    """Says which attempt it means: without that, another one's data could be the answer."""
    url = str(raw.get("data_url") or f"/api/v1/agents/tasks/{raw['task_id']}/data")
    return url if "?" in url else f"{url}?{query}"


def _organisation(said: object) -> dict[str, str]:
    known = said if isinstance(said, dict) else {}
    return {name: known[name] for name in ("id", "name") if isinstance(known.get(name), str)}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 1


def _limit(value: object) -> float | None:
    is_limit = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if is_limit else None  # type: ignore[arg-type]
