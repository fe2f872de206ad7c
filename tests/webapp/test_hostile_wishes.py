"""Whatever would be more to git than a URL, a branch, a tag, a commit or a name never leaves the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.git.wishes import BAD_COMMITS, BAD_PATHS, BAD_REFS, BAD_URLS, MISTAKEN_URLS
from tests.webapp.project_tasks import GIT
from tests.world import TOOLS, World, problem

URL = "https://git.example/team/app.git"


@pytest.fixture
def clone(world: World) -> Any:
    """Asks for one."""
    worker = world.worker(tools=[*TOOLS, GIT])
    worker.sync()

    def ask(path: str = "/projects/clone", **wish: Any) -> Any:
        return world.api("operator", "POST", path, json={"git_url": URL, "worker_id": worker.id, **wish})

    world.api_token("operator")
    return ask


def named(answer: Any, *fields: str) -> None:
    """The error says which part of the wish is wrong. NUL is refused wherever it is, before anybody looks at the parts."""
    said = problem(answer, 422, "invalid").get("errors", [])
    assert "NUL" in answer.json["detail"] or any(
        one["field"].split(".")[-1] in fields and one["message"] for one in said
    ), said


def test_urls(world: World, clone: Any) -> None:
    with world.unchanged():
        for url in (*BAD_URLS, *MISTAKEN_URLS):
            named(clone(name="app", git_url=url), "git_url")
            named(clone("/projects/branches", git_url=url), "git_url")


@pytest.mark.parametrize("kind", ["branch", "tag"])
def test_branches_and_tags(world: World, clone: Any, kind: str) -> None:
    with world.unchanged():
        for ref in BAD_REFS:
            assert clone(name="app", **{kind: ref}).status_code == 422, ref


def test_commits(world: World, clone: Any) -> None:
    with world.unchanged():
        for commit in BAD_COMMITS:
            assert clone(name="app", commit=commit).status_code == 422, commit


def test_names_that_would_be_other_folders(world: World, clone: Any) -> None:
    with world.unchanged():
        for name in BAD_PATHS:
            if name:  # without one, the URL has one
                named(clone(name=name), "name")
