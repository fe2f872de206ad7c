"""What no browser sends by itself: it is refused, and nothing breaks."""

from __future__ import annotations

import pytest

from tests.webapp.pages.forms import press
from tests.world import World


@pytest.mark.parametrize(
    "path",
    [
        "/tasks?q=%00",
        "/tasks?after=%00",
        "/tasks?worker=%00&tool=%00",
        "/workers?q=%00",
        "/settings/audit?after=%00",
        "/live?view=task&task=%00",
        "/live?view=tasks&q=%00",
        "/tasks/new?tool=%00",
        "/login?next=/%00",
        "/tasks?q=%ff%fe",
        "/tasks?q=" + "x" * 5000,
    ],
)
def test_a_strange_address_is_no_error_of_ours(world: World, path: str) -> None:
    assert world.browser("admin").get(path).status_code < 500


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 300_000])
def test_neither_is_a_strange_form(world: World, text: str) -> None:
    worker = world.worker()
    client = world.browser("admin")
    sent = text.encode("utf-8", "surrogatepass")
    for path, field in [
        ("/tasks/new", "input.script"),
        ("/tasks/new", "name"),
        ("/tasks/new", "labels"),
        ("/settings/tokens", "name"),
        ("/settings/members", "name"),
        ("/settings/password", "current"),
        ("/workers/add", "name"),
        ("/workers/add", "labels"),
        (f"/workers/{worker.id}/change", "name"),
        ("/tasks/cancel", "id"),
    ]:
        fields = {"tool": "shell", "input.script": "true", "role": "viewer", "slots": "2", field: sent}
        assert press(client, path, **fields).status_code < 500, (path, field)
