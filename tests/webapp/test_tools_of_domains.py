"""A tool that a domain has for itself is nobody's to choose."""

from __future__ import annotations

from tests.world import TOOLS, World

GIT = {
    "name": "git",
    "version": 1,
    "title": "Git",
    "schema": {"type": "object", "additionalProperties": False},
}


def test_the_form_offers_every_tool_but_those(world: World) -> None:
    world.worker(tools=[*TOOLS, GIT])
    page = world.browser("operator").get("/tasks/new").text
    assert "tool=shell" in page
    assert "tool=git" not in page
    asked = world.browser("operator").get("/tasks/new?tool=git").text
    assert 'name="operation"' not in asked
    assert world.submit(tool="git", input={}).status_code == 422
