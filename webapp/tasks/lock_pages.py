"""The page of named locks: who holds which, who waits, and breaking some."""

from typing import Any

from flask import flash, redirect, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.bulk import each_ticked
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.tasks import lock_list
from webapp.tasks.pages import blueprint

# Of a longer line the page shows the beginning, and how many more there are.
LINE_SHOWN = 5


def _context(scope: Scope) -> dict[str, Any]:
    found = lock_list.all_of(scope.organisation_id)
    return {
        **templating.frame(scope, "tasks", "Locks"),
        "locks": found,
        "line_shown": LINE_SHOWN,
    }


LOCKS = LiveView(
    "locks",
    ("_counts.html", "tasks/_lock_facts.html", "tasks/_lock_rows.html"),
    _context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/locks")
@signed_in("viewer")
def locks() -> str:
    return templating.live_page(LOCKS, "tasks/locks.html", {})


@blueprint.post("/locks/break")
@signed_in("admin")
def break_locks() -> Response:
    """Each `id` is `{attempt_id}:{name}`: the holder that the admin saw. A lock that changed hands stays as it is."""
    count, problems = each_ticked(_break)
    words = [f"{templating.plural(count, 'lock')} broken."] if count or not problems else []
    flash(" ".join([*words, *problems[:3]]))
    return redirect(url_for("tasks.locks"))


def _break(said: str) -> None:
    attempt_id, _, name = said.partition(":")
    lock_list.break_lock(me(), name, attempt_id)
