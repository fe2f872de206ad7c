from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent import notes
from tests.agent.git_bench import Bench
from tests.git.repositories import Repository, filled, git, with_long_names


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, filled(tmp_path / "remote"))


def test_a_clone_is_the_default_branch_with_all_of_history(bench: Bench) -> None:
    facts = bench.done("clone")
    commit = bench.remote.head()
    assert (facts["branch"], facts["commit"], facts["default_branch"]) == ("main", commit, "main")
    assert (facts["subject"], facts["author"]) == ("Commit 3", "Mira")
    assert facts["committed_at"] == "2026-01-01T00:03:00.000Z"
    assert facts["branches"] == ["main", "topic/two"]
    assert [one["subject"] for one in facts["commits"]] == ["Commit 3", "Commit 2", "Commit 1"]
    assert (facts["ahead"], facts["behind"], facts["dirty_count"], facts["unpushed_count"]) == (0, 0, 0, 0)
    assert facts["size"] > 0
    assert facts["mirror_bytes"] > 0
    assert (facts["local_path"], facts["usable"]) == (str(bench.checkout), True)
    assert (bench.checkout / "README").read_text() == "commit 3\n"
    assert bench.git("status", "--porcelain") == ""
    assert bench.git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main"


def test_people_find_the_repository_as_they_know_it(bench: Bench) -> None:
    bench.done("clone")
    assert bench.git("config", "remote.origin.url") == bench.url
    assert bench.git("config", "remote.origin.fetch") == "+refs/heads/*:refs/remotes/origin/*"
    assert bench.git("tag") == "v1.0"
    bench.remote.commit({"new": "x\n"}, "Pushed")
    bench.git("pull", "--quiet")
    assert bench.git("rev-parse", "HEAD") == bench.remote.head()
    assert not (bench.checkout / ".git" / "hooks").exists()


@pytest.mark.parametrize("depth", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_branch_a_tag_and_a_commit_can_be_cloned(bench: Bench, depth: int | None) -> None:
    first = bench.remote.git("rev-parse", "main~2")
    topic = bench.remote.head("topic/two")
    branch = bench.done("clone", path="mira_a", ref_kind="branch", ref="topic/two", depth=depth)
    assert (branch["branch"], branch["commit"]) == ("topic/two", topic)
    tag = bench.done("clone", path="mira_b", ref_kind="tag", ref="v1.0", depth=depth)
    assert (tag["branch"], tag["commit"]) == (None, bench.remote.head())
    assert git("describe", "--exact-match", cwd=bench.projects / "mira_b") == "v1.0"
    commit = bench.done("clone", path="mira_c", ref_kind="commit", ref=first, depth=depth)
    assert (commit["branch"], commit["commit"]) == (None, first)
    assert [one["unpushed_count"] for one in (branch, tag, commit)] == [0, 0, 0]


def test_a_commit_that_no_branch_leads_to_is_asked_for_by_its_name(bench: Bench) -> None:
    lost = bench.remote.head("topic/two")
    bench.remote.delete_branch("topic/two")
    facts = bench.done("clone", ref_kind="commit", ref=lost)
    assert (facts["commit"], facts["unpushed_count"]) == (lost, 0)


@pytest.mark.slow
def test_depth_and_a_single_branch_bring_no_more_than_that(bench: Bench) -> None:
    facts = bench.done("clone", depth=2, single_branch=True)
    assert (len(facts["commits"]), facts["branches"]) == (2, ["main"])
    whole = bench.done("clone", path="mira_whole")  # the mirror, which had a part, has all now
    assert (len(whole["commits"]), whole["branches"]) == (3, ["main", "topic/two"])
    shallow = bench.done("clone", path="mira_again", depth=1)
    assert (len(shallow["commits"]), shallow["branches"]) == (1, ["main", "topic/two"])


def test_the_second_clone_shares_the_files_of_the_first_and_needs_no_remote(bench: Bench) -> None:
    bench.done("clone")
    bench.remote.path.rename(bench.root / "away")
    gone = bench.failed("clone", path="mira_two")  # a folder that isn’t there has refused, it isn’t away
    assert "was not found" in gone.message
    (bench.root / "away").rename(bench.remote.path)
    bench.done("clone", path="mira_two")
    packs = list((bench.projects / "mira_two" / ".git" / "objects" / "pack").glob("*.pack"))
    assert packs
    assert all(pack.stat().st_nlink == 3 for pack in packs)


def test_an_empty_repository_is_cloned_and_pulled_when_there_is_something(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Repository(tmp_path / "remote"))
    facts = bench.done("clone")
    assert (facts["commit"], facts["commits"], facts["usable"]) == (None, [], True)
    assert "empty" in facts["message"]
    assert "empty" in bench.done("pull")["message"]
    commit = bench.remote.commit({"README": "hello\n"}, "First")
    assert bench.done("pull")["commit"] == commit
    assert bench.git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main"


@pytest.mark.slow
def test_object_names_may_be_long_ones(tmp_path: Path) -> None:
    bench = Bench(tmp_path, filled(tmp_path / "other"))
    path = tmp_path / "remote"
    path.mkdir()
    git("init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", ".", cwd=path)
    tree = git("mktree", cwd=path)
    commit = git("commit-tree", tree, "-m", "Long", cwd=path)
    git("update-ref", "refs/heads/main", commit, cwd=path)
    for depth in (None, 1):
        assert (
            bench.done("clone", url=f"file://{path}", path=f"mira_{depth}", depth=depth)["commit"] == commit
        )


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"ref_kind": "branch", "ref": "topic/tow"}, "There are, among others: topic/two"),
        ({"ref_kind": "tag", "ref": "v1.1"}, "There are, among others: v1.0"),
        ({"ref_kind": "commit", "ref": "1" * 40}, "There is no commit 111"),
    ],
)
def test_what_the_remote_does_not_have_is_said_and_nothing_is_left(
    bench: Bench, wish: dict[str, str], words: str
) -> None:
    failed = bench.failed("clone", **wish)
    assert words in failed.message
    assert list(bench.projects.iterdir()) == []


def test_said_twice_is_as_good_as_a_pull(bench: Bench) -> None:
    bench.done("clone")
    bench.write("mine.txt", "mine\n")
    commit = bench.remote.commit({"new": "x\n"}, "Pushed")
    facts = bench.done("clone")
    assert (facts["commit"], facts["dirty"]) == (commit, ["mine.txt"])


def test_nothing_that_is_there_already_is_written_over(bench: Bench) -> None:
    bench.checkout.mkdir(parents=True)
    bench.write("mine.txt", "mine\n")
    failed = bench.failed("clone")
    assert "something else" in failed.message
    assert (bench.checkout / "mine.txt").read_text() == "mine\n"
    shutil.rmtree(bench.checkout)
    bench.done("clone", url=f"file://{filled(bench.root / 'other').path}")
    assert "something else" in bench.failed("clone").message


@pytest.mark.parametrize("kind", ["folder", "nothing"])
def test_a_link_in_the_place_of_a_checkout_leads_nowhere(bench: Bench, kind: str) -> None:
    outside = bench.root / "outside"
    if kind == "folder":
        outside.mkdir()
        (outside / "kept").write_text("kept\n")
    bench.projects.mkdir()
    bench.checkout.symlink_to(outside)
    for operation in ("clone", "pull", "status", "delete"):
        failed = bench.failed(operation, force=True)
        assert "is a link" in failed.message
    assert not outside.exists() or [path.name for path in outside.iterdir()] == ["kept"]


@pytest.mark.parametrize("path", ["..", "../x", "/tmp/x", "a/b", ".hidden", "", "-x", "a\n"])
def test_a_target_is_the_name_of_a_folder_in_the_root(bench: Bench, path: str) -> None:
    done = bench.run("clone", path=path)
    assert (done.code, done.facts["success"]) == (2, False)
    assert "path must be" in done.message
    assert not bench.projects.exists()


def test_names_in_any_letters_are_told_in_one_clean_line(tmp_path: Path) -> None:
    bench = Bench(tmp_path, with_long_names(tmp_path / "remote"))
    raw = os.fsdecode(b"caf\xe9.txt")
    bench.remote.commit({raw: "latin\n"}, "Caf\x1b[31m\u202e evil\x07")
    facts = bench.done("clone")
    assert facts["subject"] == "Caf [31m evil"
    for path in bench.checkout.rglob("*.txt"):
        path.write_text("changed\n")
    (bench.checkout / "new\nline").write_text("changed\n")
    facts = bench.done("status")
    assert {"new line", "caf\ufffd.txt", "日本語/ファイル.txt"} <= set(facts["dirty"])


def test_what_a_killed_clone_left_is_removed_and_what_runs_is_left_alone(bench: Bench) -> None:
    for attempt in ("dead-1", "alive-1"):
        half = bench.projects / f".mira_other.{attempt}.partial"
        (half / "x").mkdir(parents=True)
        (half / "x" / "file").write_text("half\n")
        (half / "x").chmod(0o500)
    bench.done("clone", running=["alive-1"])
    assert sorted(path.name for path in bench.projects.iterdir()) == [
        ".mira_other.alive-1.partial",
        "mira_app",
    ]
    (bench.projects / ".mira_other.alive-1.partial" / "x").chmod(0o700)


def test_the_branches_of_a_remote_are_listed_without_a_checkout(bench: Bench) -> None:
    facts = bench.done("branches", path="")
    assert facts["branches"] == [
        {"name": "main", "commit": bench.remote.head()},
        {"name": "topic/two", "commit": bench.remote.head("topic/two")},
    ]
    assert facts["tags"] == [{"name": "v1.0", "commit": bench.remote.head()}]
    assert facts["default"] == "main"
    assert not bench.projects.exists()


def test_of_very_many_branches_as_many_are_listed_as_the_agent_takes(bench: Bench) -> None:
    commit = bench.remote.head()
    names = [f"refs/heads/topic/{number:05}-of-somebody-who-has-many" for number in range(12_000)]
    packed = "".join(f"{commit} {name}\n" for name in names)
    (bench.remote.path / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{packed}")
    done = bench.run("branches", path="")
    assert (done.code, done.message) == (0, "12002 branches, 1 tag.")
    assert "names the first" in done.log
    assert len(done.facts["branches"]) > 1000
    assert (bench.root / "attempt-1" / "facts.json").stat().st_size < notes.MAX_FACTS_BYTES
