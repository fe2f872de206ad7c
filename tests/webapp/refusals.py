"""How a refusal reads to somebody who must not learn why."""

from typing import Any


def refusal_of(answer: Any) -> str:
    """What an error says, but for the id that each has of its own: two who must not be told apart say the same."""
    return repr((answer.status_code, sorted({**answer.json, "error_id": ""}.items())))
