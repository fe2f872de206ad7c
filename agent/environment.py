"""The environment of a task, made from nothing: what the agent itself was given stays with the agent."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent.account import Account
from agent.offer import Offer
from agent.orphans import ID_VARIABLE

# Where programs are, whose home it is, how text and times are written. Nothing else crosses over.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base() -> dict[str, str]:
    """PATH, HOME, USER, LOGNAME, LANG, and TZ where it is set."""
    kept = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    return {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", "HOME": "/", **kept}


def for_task(
    offer: Offer,
    own: Mapping[str, str],
    account: Account | None = None,
    project: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """`own` may replace the kept ones, never what says whose process this is. `project`: variables of what it works in."""
    return {
        **base(),
        **(account.variables if account else {}),
        **own,
        "GARAGESWARM_TASK_ID": offer.task_id,
        ID_VARIABLE: offer.attempt_id,
        "GARAGESWARM_ATTEMPT": str(offer.attempt),
        **(project or {}),
    }
