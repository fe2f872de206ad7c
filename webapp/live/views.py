"""What can be looked at live: a view is some fragments, what they need, and what wakes them.

A page shows state, so the socket sends state: all fragments on opening, then those that changed. A lost message heals at
the next one or at reconnect; nothing is replayed. Only logs are appended, from the byte that the page says it has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import render_template

from webapp.auth.rules import Role


@dataclass(frozen=True)
class Scope:
    """For whom a view is rendered: never for one person, so that one rendering serves many."""

    organisation_id: str
    role: Role
    args: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        return self.organisation_id, self.role, tuple(sorted(self.args.items()))


@dataclass(frozen=True)
class LiveView:
    """`fragments` are template files; `context` makes all that they need and raises NotFound; `topics` wake it.

    `append(scope, attempt_id, log_offset)` gives what a log has more than the page: html and the new offset.
    """

    name: str
    fragments: tuple[str, ...]
    context: Callable[[Scope], dict[str, Any]]
    topics: Callable[[Scope], tuple[str, ...]]
    append: Callable[[Scope, str, int], tuple[str, int]] | None = None
    # Called when the first one begins to look, and when the last one has gone.
    when_watched: Callable[[Scope], None] | None = None


_views: dict[str, LiveView] = {}


def register(view: LiveView) -> None:
    _views[view.name] = view


def live_url(name: str, args: Mapping[str, str]) -> dict[str, str]:
    """Where a page finds its socket, and where it asks when no socket gets through."""
    query = urlencode({"view": name, **args})
    return {"socket": f"/ws/page?{query}", "poll": f"/live?{query}"}


def rendered(view: LiveView, scope: Scope) -> dict[str, str]:
    """{fragment: html}, from the database as it is now."""
    context = view.context(scope)
    return {name: render_template(name, scope=scope, **context) for name in view.fragments}


def find(name: str) -> LiveView | None:
    return _views.get(name)
