"""What the server is told of a project after each operation on it: before the report, so that whoever sees the task ended
sees what came of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from agent import clock, retry
from agent.server import Failing, Refused, Server, Unreachable

log = logging.getLogger("agent")

# The server takes these. What isn't known is left out; null is known: no branch, where a tag is checked out.
FACTS = (
    "operation",
    "usable",
    "local_path",
    "branch",
    "commit",
    "size",
    "subject",
    "author",
    "committed_at",
    "ahead",
    "behind",
    "dirty",
    "dirty_count",
    "unpushed",
    "unpushed_count",
    "branches",
    "commits",
    "default_branch",
    "mirror_bytes",
    "host_keys",
    "refused",
)
# So long a server that answers, and can't take it, holds up the report. One that is away couldn't take that either.
HELD_UP_S = 120.0
KEY_TROUBLE = frozenset({401, 403})


def body_of(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """From a report, which has the facts, masked; None where its process said nothing: then the report says it all."""
    facts = report.get("result", {}).get("data")
    if not isinstance(facts, dict):
        return None
    known = {name: facts[name] for name in FACTS if name in facts}
    return {
        "attempt_id": report["attempt_id"],
        "success": report["status"] == "completed",
        "message": str(facts.get("message") or report.get("error") or ""),
        **known,
    }


def deliver(server: Server, project_id: str, body: dict[str, Any]) -> None:
    """Returns when the server has taken or refused it, or answers for too long that it can't."""
    failures = 0
    failing_since: float | None = None
    while True:
        try:
            server.project_status(project_id, body)
            return
        except Refused as error:
            if error.status not in KEY_TROUBLE:
                log.warning("project %s: the server does not take what became of it: %s", project_id, error)
                return
            failing_since, wait_s = failing_since or clock.now(), None
        except Unreachable as error:
            failing_since = (failing_since or clock.now()) if isinstance(error, Failing) else None
            wait_s = error.retry_after_s
        if failing_since is not None and clock.now() - failing_since > HELD_UP_S:
            log.warning("project %s: the server can't take what became of it: reported without", project_id)
            return
        failures += 1
        threading.Event().wait(retry.delay_s(failures, retry.CAP_BUSY_S, wait_s))
