"""What a delete asks about: work that is nowhere else, wherever in a checkout git keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.git_bench import Bench
from tests.git.repositories import Submodule, filled, git

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path, filled(tmp_path / "remote"))
    made.done("clone")
    return made


@pytest.fixture
def parted(tmp_path: Path) -> Bench:
    """With the submodule `lib`, whose commit no branch of its own remote leads to, and a tag that none leads to."""
    made, part = Bench(tmp_path, filled(tmp_path / "remote")), filled(tmp_path / "part")
    for name in ("alone", "tagged"):
        part.branch(name)
        part.commit({"README": f"{name}\n"}, name.title(), branch=name)
    part.tag("of-theirs", part.head("tagged"))
    entry = '[submodule "lib"]\n\tpath = lib\n\turl = ../part\n'
    made.remote.commit({".gitmodules": entry, "lib": Submodule(part.head("alone"))}, "A part")
    for name in ("alone", "tagged"):
        part.delete_branch(name)
    facts = made.done("clone", submodules=True)
    assert (facts["dirty"], facts["unpushed"]) == ([], [])
    return made


def refused(bench: Bench, kind: str) -> list[str]:
    """The names that a delete is refused with; the same are told with the state."""
    failed = bench.failed("delete")
    assert failed.facts["refused"] == kind, failed
    state = bench.done("status")
    assert (state[kind], state[f"{kind}_count"]) == (failed.facts[kind], failed.facts[f"{kind}_count"])
    names: list[str] = failed.facts[kind]
    assert state[f"{kind}_count"] == len(names)
    assert bench.checkout.exists()
    return names


def test_a_commit_that_only_a_tag_of_ones_own_leads_to(bench: Bench) -> None:
    bench.git("checkout", "--quiet", "--detach")
    mine = bench.commit("mine.txt", "mine\n")
    bench.git("tag", "-m", "Mine", "of-my-own")
    bench.git("checkout", "--quiet", "main")
    assert refused(bench, "unpushed") == [f"{mine[:7]} Mine: mine.txt"]
    bench.git("tag", "--delete", "of-my-own")
    bench.done("delete")


@pytest.mark.parametrize("wish", [{}, {"depth": 1, "ref_kind": "tag", "ref": "v0.1"}])
def test_tags_of_the_remote_are_nobodys_own(tmp_path: Path, wish: dict[str, Any]) -> None:
    bench = Bench(tmp_path, filled(tmp_path / "remote"))
    bench.remote.tag("v0.1", bench.remote.head("topic/two"))
    bench.remote.delete_branch("topic/two")
    assert bench.done("clone", **wish)["unpushed"] == []
    bench.remote.branch("side")
    bench.remote.tag("v0.2", bench.remote.commit({"README": "side\n"}, "On the side", branch="side"))
    bench.remote.delete_branch("side")
    assert bench.done("pull", **{**wish, "ref": "v0.2"} if wish else {})["unpushed"] == []
    assert {"v0.1", "v0.2"} <= set(bench.git("tag").split())
    bench.done("delete")


def test_a_commit_that_only_another_working_tree_has_checked_out(bench: Bench) -> None:
    other = bench.root / "other"
    bench.git("worktree", "add", "--quiet", "--detach", str(other))
    (other / "mine").write_text("mine\n")
    git("add", "mine", cwd=other)
    git("commit", "--quiet", "-m", "Mine", cwd=other)
    assert refused(bench, "unpushed") == [f"{git('rev-parse', '--short', 'HEAD', cwd=other)} Mine"]


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_changed_file_that_git_was_told_not_to_look_at(bench: Bench, mark: str) -> None:
    bench.git("update-index", mark, "README", "src/1.txt", "src/2.txt")
    (bench.checkout / "src/2.txt").unlink()  # as with sparse checkouts: nothing is there to be lost
    assert bench.done("status")["dirty"] == []
    bench.write("README", "mine\n")
    assert refused(bench, "dirty") == ["README"]
    assert bench.git("ls-files", "-v", "README")[0] in "hS"  # the marks stay as they were


def stashed(lib: Path) -> None:
    (lib / "README").write_text("mine\n")
    git("stash", cwd=lib)


def branched(lib: Path) -> None:
    tagged(lib)
    git("branch", "mine", "of-my-own", cwd=lib)
    git("tag", "--delete", "of-my-own", cwd=lib)


def tagged(lib: Path) -> None:
    at = git("rev-parse", "HEAD", cwd=lib)
    git("commit", "--quiet", "--allow-empty", "-m", "Mine", cwd=lib)
    git("tag", "of-my-own", cwd=lib)
    git("checkout", "--quiet", "--detach", at, cwd=lib)


@pytest.mark.parametrize("keep", [stashed, branched, tagged])
def test_what_is_kept_in_a_submodule(parted: Bench, keep: Callable[[Path], None]) -> None:
    keep(parted.checkout / "lib")
    assert all(name.startswith("lib: ") for name in refused(parted, "unpushed"))
    # Also when the submodule isn't checked out any more: what it kept is there still.
    parted.git("submodule", "deinit", "--force", "lib")
    assert refused(parted, "unpushed")


def test_a_changed_file_of_a_submodule_that_git_was_told_not_to_look_at(parted: Bench) -> None:
    git("update-index", "--assume-unchanged", "README", cwd=parted.checkout / "lib")
    (parted.checkout / "lib" / "README").write_text("mine\n")
    assert refused(parted, "dirty") == ["lib/README"]


def test_a_submodule_that_is_a_repository_of_its_own_in_its_place(parted: Bench) -> None:
    inner = parted.checkout / "inner"
    git("clone", "--quiet", str(parted.root / "part"), str(inner), cwd=parted.root)
    tagged(inner)
    parted.git("add", "inner")
    parted.git("commit", "--quiet", "-m", "Mine: inner")
    parted.git("push", "--quiet", str(parted.remote.path), "HEAD:main")
    parted.done("pull")
    # Of a clone of somebody’s own nobody knows which tags are the remote’s.
    assert [name.split(" ")[2] for name in refused(parted, "unpushed")] == ["Mine", "Tagged"]


def test_submodules_as_they_came_are_deleted_without_a_question(parted: Bench) -> None:
    parted.done("pull", submodules=True)
    parted.done("delete")
    assert list(parted.projects.glob("mira_*")) == []
