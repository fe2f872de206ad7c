"""What becomes of submodules once they are there: with a remote that only the mirror is fetched from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.git.failures import Failed
from agent.git.mirror import Mirror
from agent.git.progress import Reporter
from agent.git.runs import Git
from agent.git.source import Source
from agent.git.wish import parsed
from tests.agent.git_bench import Bench, Done
from tests.git.http_remote import HttpRemote
from tests.git.repositories import Repository, Submodule, filled, git

pytestmark = pytest.mark.slow


class Garage:
    """A checkout with the submodule `lib`, which has one commit more than it had when it was cloned."""

    def __init__(self, bench: Bench, remote: HttpRemote, part: Repository) -> None:
        self.bench, self.part = bench, part
        self._wish: dict[str, Any] = {
            "url": remote.url(bench.remote),
            "schemes": ["http"],
            "submodules": True,
        }

    @property
    def lib(self) -> Path:
        return self.bench.checkout / "lib"

    def done(self, operation: str) -> dict[str, Any]:
        return self.bench.done(operation, **self._wish)

    def failed(self, operation: str) -> Done:
        return self.bench.failed(operation, **self._wish)

    def commit(self) -> str:
        (self.lib / "mine").write_text("mine\n")
        git("add", "mine", cwd=self.lib)
        git("commit", "--quiet", "-m", "Mine", cwd=self.lib)
        return git("rev-parse", "HEAD", cwd=self.lib)


def entry(more: str = "") -> str:
    return f'[submodule "lib"]\n\tpath = lib\n\turl = ../part.git\n{more}'


@pytest.fixture
def garage(tmp_path: Path, http_remote: HttpRemote) -> Garage:
    part, repository = http_remote.filled("part"), http_remote.filled("garage")
    repository.commit({".gitmodules": entry(), "lib": Submodule(part.head())}, "A part")
    made = Garage(Bench(tmp_path, repository), http_remote, part)
    made.done("clone")
    newer = part.commit({"README": "newer\n"}, "Newer")
    repository.commit({"lib": Submodule(newer)}, "A newer part")
    return made


def test_a_pull_brings_submodules_forward_out_of_the_mirror(garage: Garage) -> None:
    assert garage.done("pull")["dirty"] == []
    assert (garage.lib / "README").read_text() == "newer\n"
    shutil.rmtree(garage.lib)
    garage.done("pull")
    assert (garage.lib / "README").read_text() == "newer\n"


def test_a_pull_brings_a_commit_of_a_submodule_that_no_branch_leads_to(garage: Garage) -> None:
    alone = garage.part.commit({"README": "alone\n"}, "Alone")
    garage.part.git("config", "uploadpack.allowAnySHA1InWant", "true")
    garage.part.branch("main", garage.part.head("topic/two"))
    garage.bench.remote.commit({"lib": Submodule(alone)}, "A part of its own")
    assert garage.done("pull")["dirty"] == []
    assert (garage.lib / "README").read_text() == "alone\n"


def test_a_pull_leaves_what_was_changed_in_a_submodule(garage: Garage) -> None:
    (garage.lib / "README").write_text("mine\n")
    assert "files were changed here" in garage.failed("pull").message
    assert (garage.lib / "README").read_text() == "mine\n"
    git("checkout", "--quiet", "README", cwd=garage.lib)
    garage.done("pull")
    (garage.lib / "README").write_text("mine again\n")
    assert garage.done("pull")["dirty"] == ["lib"]
    assert (garage.lib / "README").read_text() == "mine again\n"


def test_a_pull_leaves_commits_of_a_submodule_in_sight(garage: Garage) -> None:
    own = garage.commit()
    message = garage.failed("pull").message
    assert "the submodule lib has commits that are only here" in message.lower()
    assert "Mine" in message
    assert git("rev-parse", "HEAD", cwd=garage.lib) == own
    git("branch", "mine", cwd=garage.lib)
    git("checkout", "--quiet", "mine", cwd=garage.lib)
    garage.done("pull")
    assert git("rev-parse", "mine", cwd=garage.lib) == own
    assert (garage.lib / "README").read_text() == "newer\n"


def test_a_submodule_whose_changes_the_repository_has_ignored_is_not_deleted(garage: Garage) -> None:
    garage.bench.remote.commit({".gitmodules": entry("\tignore = all\n")}, "Changes of the part don’t count")
    garage.done("pull")
    (garage.lib / "README").write_text("mine\n")
    refused = garage.failed("delete")
    assert (refused.facts["refused"], refused.facts["dirty"]) == ("dirty", ["lib"])


@pytest.mark.parametrize("times", [1, 9])
def test_a_mirror_that_is_removed_before_it_is_used_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """By another task, which keeps the mirrors within their budget."""
    part = filled(tmp_path / "part")
    url, home, removed = f"file://{part.path}", tmp_path / "home", []
    home.mkdir()
    held = Mirror.held

    @contextmanager
    def then_removed(mirror: Mirror, *, is_shared: bool = False) -> Iterator[None]:
        with held(mirror, is_shared=is_shared):
            yield
        if not is_shared and len(removed) < times:
            removed.append(mirror.remove_unused())

    monkeypatch.setattr(Mirror, "held", then_removed)
    roots = {root: str(tmp_path / root) for root in ("projects", "mirrors")}
    wish = parsed({"operation": "branches", "url": url, "schemes": ["file"], "attempt_id": "a", **roots})
    runner = Git(os.environ["PATH"], home, Reporter(tmp_path / "progress.json"), lambda: None)
    other = Source(runner, home, wish).other(url, part.head())
    if times == 1:
        with other as mirror:
            assert mirror.has(part.head())
            assert not mirror.remove_unused()
    else:
        with pytest.raises(Failed, match="the mirrors take more room than they may"), other:
            pass
    assert removed == [True] * min(times, 3)


def test_a_mirror_of_a_submodule_counts_as_used_whenever_it_is(garage: Garage) -> None:
    garage.done("pull")
    note = next(
        path
        for path in garage.bench.mirrors.glob("*.json")
        if json.loads(path.read_bytes())["url"].endswith("part.git")
    )
    before = json.loads(note.read_bytes())
    garage.done("pull")
    after = json.loads(note.read_bytes())
    assert after["used_at"] > before["used_at"]
    assert after["fetched_at"] == before["fetched_at"]
