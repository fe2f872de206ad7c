from __future__ import annotations

from pathlib import Path

import pytest

from agent.git.runs import MAX_ANSWER
from tests.agent.git_bench import Bench
from tests.git.repositories import filled

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path, filled(tmp_path / "remote"))
    made.done("clone")
    return made


def test_a_pull_brings_what_is_new_and_then_nothing(bench: Bench) -> None:
    commit = bench.remote.commit({"new.txt": "new\n", "src/1.txt": None}, "Pushed")
    bench.remote.branch("another")
    bench.remote.delete_branch("topic/two")
    bench.remote.tag("v2.0")
    facts = bench.done("pull")
    assert (facts["commit"], facts["behind"]) == (commit, 0)
    assert facts["branches"] == ["another", "main"]
    assert facts["message"].startswith("1 commit newer")
    assert (bench.checkout / "new.txt").read_text() == "new\n"
    assert not (bench.checkout / "src/1.txt").exists()
    assert bench.git("tag").split() == ["v1.0", "v2.0"]
    assert bench.done("pull")["message"] == "Already up to date."


def test_what_was_changed_beside_what_is_new_stays(bench: Bench) -> None:
    bench.write("src/1.txt", "mine\n")
    bench.git("tag", "of-my-own")
    commit = bench.remote.commit({"new.txt": "new\n"}, "Pushed")
    facts = bench.done("pull")
    assert (facts["commit"], facts["dirty"]) == (commit, ["src/1.txt"])
    assert (bench.checkout / "src/1.txt").read_text() == "mine\n"
    assert "of-my-own" in bench.git("tag").split()


def test_what_was_changed_in_the_same_place_is_not_written_over(bench: Bench) -> None:
    bench.write("README", "mine\n")
    before = bench.git("rev-parse", "HEAD")
    bench.remote.commit({"README": "theirs\n"}, "Pushed")
    failed = bench.failed("pull")
    assert "Commit or undo the changes" in failed.message
    assert (failed.facts["usable"], failed.facts["commit"], failed.facts["behind"]) == (True, before, 1)
    assert (bench.checkout / "README").read_text() == "mine\n"
    bench.git("checkout", "--quiet", "README")
    assert bench.done("pull")["dirty"] == []


def test_what_the_repository_ignores_is_not_written_over(bench: Bench) -> None:
    bench.remote.commit({".gitignore": ".env\n"}, "Keep it to yourself")
    bench.done("pull")
    bench.write(".env", "mine\n")
    bench.remote.commit({".env": "theirs\n"}, "Or rather not")
    assert "files were changed here" in bench.failed("pull").message
    bench.remote.commit({".env": "theirs\n"}, "Rewritten", on=bench.remote.git("rev-parse", "main~2"))
    assert "files were changed here" in bench.failed("pull").message
    assert (bench.checkout / ".env").read_text() == "mine\n"
    (bench.checkout / ".env").unlink()
    assert "history was rewritten" in bench.done("pull")["message"]


def test_own_commits_stay_where_nothing_is_new(bench: Bench) -> None:
    mine = bench.commit("mine.txt", "mine\n")
    facts = bench.done("pull")
    assert (facts["commit"], facts["ahead"], facts["unpushed_count"]) == (mine, 1, 1)
    assert "Mine: mine.txt" in facts["unpushed"][0]


def test_different_ways_are_left_to_a_person(bench: Bench) -> None:
    mine = bench.commit("mine.txt", "mine\n")
    bench.remote.commit({"new.txt": "new\n"}, "Pushed")
    failed = bench.failed("pull")
    assert "different ways" in failed.message
    assert (failed.facts["commit"], failed.facts["ahead"], failed.facts["behind"]) == (mine, 1, 1)


def test_a_clean_checkout_follows_a_history_that_was_rewritten(bench: Bench) -> None:
    commit = bench.remote.force_push({"README": "rewritten\n"})
    facts = bench.done("pull")
    assert (facts["commit"], facts["ahead"], facts["behind"], facts["unpushed"]) == (commit, 0, 0, [])
    assert "history was rewritten" in facts["message"]
    assert (bench.checkout / "README").read_text() == "rewritten\n"


def test_a_changed_one_does_not_until_it_is_clean(bench: Bench) -> None:
    bench.write("new.txt", "mine\n")
    commit = bench.remote.force_push({"new.txt": "theirs\n"})
    failed = bench.failed("pull")
    assert "new.txt" in failed.message
    assert (bench.checkout / "new.txt").read_text() == "mine\n"
    assert failed.facts["unpushed"] == []  # they were the remote’s, and are nobody’s work
    (bench.checkout / "new.txt").unlink()
    assert bench.done("pull")["commit"] == commit


def test_own_commits_are_not_lost_to_a_history_that_was_rewritten(bench: Bench) -> None:
    mine = bench.commit("mine.txt", "mine\n")
    bench.remote.force_push({"README": "rewritten\n"})
    failed = bench.failed("pull")
    assert (failed.facts["commit"], failed.facts["unpushed_count"]) == (mine, 1)


def test_the_default_branch_may_be_renamed(bench: Bench) -> None:
    bench.remote.rename_default("trunk")
    commit = bench.remote.commit({"new.txt": "new\n"}, "On the trunk")
    facts = bench.done("pull")
    assert (facts["branch"], facts["commit"], facts["default_branch"]) == ("trunk", commit, "trunk")
    assert "instead of branch main" in facts["message"]
    assert bench.git("rev-parse", "--abbrev-ref", "@{upstream}") == "origin/trunk"


def test_another_branch_tag_or_commit_may_be_wanted(bench: Bench) -> None:
    first = bench.remote.git("rev-parse", "main~2")
    bench.remote.tag("v0.1", first)
    topic = bench.done("pull", ref_kind="branch", ref="topic/two")
    assert (topic["branch"], topic["commit"]) == ("topic/two", bench.remote.head("topic/two"))
    tag = bench.done("pull", ref_kind="tag", ref="v0.1")
    assert (tag["branch"], tag["commit"]) == (None, first)
    moved = bench.remote.git("rev-parse", "main~1")
    bench.remote.git("tag", "--force", "v0.1", moved)
    assert bench.done("pull", ref_kind="tag", ref="v0.1")["commit"] == moved
    assert bench.done("pull", ref_kind="commit", ref=first)["commit"] == first
    bench.write("README", "mine\n")
    assert "README" in bench.failed("pull", ref_kind="branch", ref="main").message


def test_commits_without_a_branch_are_not_put_out_of_sight(bench: Bench) -> None:
    bench.git("checkout", "--quiet", "--detach")
    mine = bench.commit("mine.txt", "mine\n")
    failed = bench.failed("pull")
    assert "out of sight" in failed.message
    assert failed.facts["commit"] == mine


def test_a_branch_without_a_commit_puts_none_of_another_out_of_sight(bench: Bench) -> None:
    mine = bench.commit("mine.txt", "mine\n")
    bench.git("checkout", "--quiet", "--orphan", "new")
    bench.git("rm", "--quiet", "-rf", ".")
    assert "out of sight" in bench.failed("pull").message
    assert bench.git("rev-parse", "main") == mine
    assert bench.failed("delete").facts["refused"] == "unpushed"


def test_a_part_of_history_grows_by_what_is_new(tmp_path: Path) -> None:
    bench = Bench(tmp_path, filled(tmp_path / "remote"))
    bench.done("clone", depth=1)
    bench.remote.branch("side", bench.remote.git("rev-parse", "main~1"))
    bench.remote.commit({"a": "a\n"}, "One")
    bench.remote.commit({"b": "b\n"}, "Two")
    facts = bench.done("pull", depth=1)
    assert [one["subject"] for one in facts["commits"]] == ["Two", "One", "Commit 3"]
    assert (facts["behind"], facts["unpushed_count"]) == (0, 0)
    rewritten = bench.remote.force_push({"c": "c\n"})
    assert bench.done("pull", depth=1)["commit"] == rewritten


@pytest.mark.parametrize("cut", [None, "README", "src/new.txt"])
def test_what_was_cut_off_while_it_wrote_is_finished_by_the_next_one(bench: Bench, cut: str | None) -> None:
    before, text = bench.git("rev-parse", "HEAD"), "theirs\n" * 100
    after = bench.remote.commit({"README": text, "src/new.txt": text, "src/1.txt": None}, "Pushed")
    bench.cut_off(before, after)
    bench.write("src/new.txt", text)
    if cut:
        bench.write(cut, text[:50])
    facts = bench.done("pull")
    assert (facts["commit"], facts["dirty"]) == (after, [])
    assert (bench.checkout / "README").read_text() == text


def test_what_somebody_did_since_then_is_kept(bench: Bench) -> None:
    before = bench.git("rev-parse", "HEAD")
    after = bench.remote.commit({"README": "theirs\n"}, "Pushed")
    bench.cut_off(before, after)
    bench.write("README", "mine\n")
    assert "Commit or undo the changes" in bench.failed("pull").message
    assert (bench.checkout / "README").read_text() == "mine\n"


def test_a_large_file_that_was_cut_off_is_named_and_hinders_nobody_who_removes_it(bench: Bench) -> None:
    before = bench.git("rev-parse", "HEAD")
    after = bench.remote.commit({"large.bin": bytes(MAX_ANSWER + 1)}, "Large")
    bench.cut_off(before, after)
    (bench.checkout / "large.bin").write_bytes(bytes(1000))
    assert "files were changed here" in bench.failed("pull").message
    (bench.checkout / "large.bin").unlink()
    assert bench.done("pull")["commit"] == after


@pytest.mark.parametrize("note", ["{", "[]", '{"from": null, "to": "--x", "branch": null, "is_clean": true}'])
def test_a_note_that_is_none_harms_nothing(bench: Bench, note: str) -> None:
    (bench.checkout / ".git" / "garageswarm.json").write_text(note)
    commit = bench.remote.commit({"README": "theirs\n"}, "Pushed")
    assert bench.done("pull")["commit"] == commit


def test_a_checkout_that_is_gone_or_broken_says_what_to_do(bench: Bench) -> None:
    (bench.checkout / ".git" / "HEAD").unlink()
    failed = bench.failed("pull")
    assert "delete it, then clone it again" in failed.message
    assert failed.facts["usable"] is False
    bench.checkout.rename(bench.root / "moved")
    failed = bench.failed("pull")
    assert "clone it again" in failed.message
    assert failed.facts["usable"] is False


def test_the_state_is_told_without_the_remote(bench: Bench) -> None:
    bench.remote.path.rename(bench.root / "away")
    assert bench.done("status")["message"] == "Nothing is changed here."
    for number in range(120):
        bench.write(f"new-{number:03}", "x\n")
    bench.commit("mine.txt", "mine\n")
    facts = bench.done("status")
    assert (facts["dirty_count"], len(facts["dirty"]), facts["unpushed_count"]) == (120, 100, 1)
    assert facts["message"] == "120 files changed, 1 commit not pushed."


def test_a_delete_asks_first_where_something_would_be_lost(bench: Bench) -> None:
    bench.write("new.txt", "mine\n")
    failed = bench.failed("delete")
    assert (failed.facts["refused"], failed.facts["dirty"]) == ("dirty", ["new.txt"])
    assert "new.txt" in failed.message
    bench.commit("new.txt", "mine\n")
    failed = bench.failed("delete")
    assert (failed.facts["refused"], failed.facts["unpushed_count"]) == ("unpushed", 1)
    bench.git("reset", "--quiet", "--hard", "HEAD~1")
    bench.write("README", "mine\n")
    bench.git("stash")
    assert bench.failed("delete").facts["refused"] == "unpushed"
    assert bench.done("delete", force=True)["usable"] is False
    assert list(bench.projects.iterdir()) == []
    assert "gone already" in bench.done("delete")["message"]


def test_a_clean_checkout_is_deleted_with_folders_that_were_made_read_only(bench: Bench) -> None:
    outside = bench.root / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept\n")
    (bench.checkout / ".git" / "info").mkdir(exist_ok=True)
    (bench.checkout / ".git" / "info" / "exclude").write_text("cache\n")
    cache = bench.checkout / "cache"
    cache.mkdir()
    (cache / "link").symlink_to(outside)
    cache.chmod(0o500)
    bench.done("delete")
    assert list(bench.projects.iterdir()) == []
    assert (outside / "kept").exists()


def test_what_is_no_checkout_any_more_is_deleted_with_force_only(bench: Bench) -> None:
    assert bench.git("config", "--add", "remote.origin.url", "https://git.example/other") == ""
    objects = bench.checkout / ".git" / "objects"
    objects.rename(bench.checkout / ".git" / "moved")
    objects.mkdir()
    assert "can’t read this checkout" in bench.failed("status").message
    assert bench.failed("delete").facts["refused"] == "dirty"
    (bench.checkout / ".git" / "HEAD").unlink()
    assert bench.failed("delete").facts["refused"] == "dirty"
    bench.done("delete", force=True)
    assert not bench.checkout.exists()


def test_a_checkout_that_git_may_not_look_into_is_deleted_with_force_only(bench: Bench) -> None:
    bench.git("config", "remote.origin.vcs", "evil")
    failed = bench.failed("delete")
    assert "delete it with force" in failed.message
    # No names with it: by that the server knows that git can’t read it.
    assert (failed.facts["refused"], "dirty_count" in failed.facts) == ("dirty", False)
    bench.done("delete", force=True)
    assert not bench.checkout.exists()
