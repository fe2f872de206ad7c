from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import is_running, wait_for
from tests.agent.git_bench import Bench
from tests.git.gate import Gate
from tests.git.hostile import TREES
from tests.git.repositories import Link, Repository, Submodule, filled, git
from tests.large_repository import MB, Shape, build

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, filled(tmp_path / "remote"))


@pytest.fixture
def large(tmp_path: Path) -> Bench:
    """Larger than what is fetched at once, and longer than one step."""
    made = Bench(tmp_path, Repository(tmp_path / "remote"))
    shutil.rmtree(made.remote.path)
    build(made.remote.path, Shape(files=120, size=60 * MB, commits=60, churn=MB))
    return made


def note_of(bench: Bench) -> dict[str, Any]:
    found = [json.loads(path.read_bytes()) for path in bench.mirrors.glob("*.json")]
    return found[0] if found else {}


def steps_of(folder: Path) -> dict[str, dict[str, Any]]:
    """As they are told now: the one that goes on, and those before it."""
    said = json.loads((folder / "progress.json").read_bytes())
    return {step["step_id"]: step for step in [*said["before"], said]}


def test_a_large_first_fetch_keeps_its_steps_when_it_is_killed(large: Bench) -> None:
    begun = large.begin("clone")
    wait_for(lambda: note_of(large).get("depth") == 1)
    os.kill(begun[0].pid, signal.SIGKILL)
    large.ended(begun)
    first = {path.name for path in (large.mirror / "objects" / "pack").glob("*.pack")}
    assert first
    done = large.run("clone")
    assert done.code == 0, done
    assert "Kept: history to " in done.log
    assert first <= {path.name for path in (large.mirror / "objects" / "pack").glob("*.pack")}
    assert large.git("rev-list", "--count", "HEAD") == "60"
    assert not (large.mirror / "shallow").exists()
    assert large.git("fsck", "--connectivity-only") == ""
    assert len(done.log) < 6000  # steps and whole lines, not what is overwritten on a terminal


def test_progress_is_told_while_it_goes_on(large: Bench) -> None:
    gate = Gate(large.root / "gate", before="checkout --quiet")
    gate.shut()
    begun = large.begin("clone", search=gate.path)
    wait_for(gate.is_waited_at)
    seen = steps_of(begun[1])
    gate.open()
    assert large.ended(begun).code == 0
    assert "checking_out" in steps_of(begun[1])
    assert seen["receiving"]["stage"] == "fetching"
    assert "MiB" in seen["receiving"]["message"]
    assert 0 <= seen["receiving"]["progress"] <= 100


def test_sigterm_ends_git_and_leaves_no_half_clone(bench: Bench) -> None:
    gate = Gate(bench.root / "gate", before="checkout --quiet")
    gate.shut()
    begun = bench.begin("clone", search=gate.path)
    wait_for(gate.is_waited_at)
    assert any(bench.projects.glob(".*.partial"))
    begun[0].send_signal(signal.SIGTERM)
    done = bench.ended(begun)
    assert (done.code, done.facts) == (143, {})
    assert not is_running(gate.waiting)
    assert list(bench.projects.iterdir()) == []
    gate.open()
    bench.done("clone", search=gate.path)


def test_a_clone_that_began_after_another_was_told_which_run_keeps_its_half(bench: Bench) -> None:
    gate = Gate(bench.root / "gate", before="checkout --quiet")
    gate.shut()
    begun = bench.begin("clone", search=gate.path)
    wait_for(gate.is_waited_at)
    other = filled(bench.root / "other")
    bench.done("clone", url=f"file://{other.path}", path="mira_other", running=[])
    gate.open()
    assert bench.ended(begun).code == 0
    assert sorted(path.name for path in bench.projects.iterdir()) == ["mira_app", "mira_other"]


def test_a_full_disk_stops_it_before_there_is_no_room(large: Bench) -> None:
    free = shutil.disk_usage(large.root).free
    done = large.run("clone", disk_floor_bytes=free + 10**12)
    assert (done.code, done.facts["failure_class"]) == (3, "disk_low")
    assert "disk low" in done.message.lower()
    assert not large.projects.exists() or list(large.projects.iterdir()) == []


def test_a_second_clone_goes_on_while_another_waits_for_the_mirror(bench: Bench) -> None:
    bench.done("clone")
    lock = os.open(bench.mirror.with_suffix(".lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    begun = bench.begin("clone", path="mira_two")
    wait_for(lambda: b"Waiting" in (bench.root / f"attempt-{bench.count}.log").read_bytes())
    assert json.loads((begun[1] / "progress.json").read_bytes())["step_id"] == "waiting"
    bench.done("status")
    os.close(lock)
    assert bench.ended(begun).code == 0


def test_a_damaged_mirror_is_made_anew(bench: Bench) -> None:
    bench.done("clone")
    for pack in (bench.mirror / "objects" / "pack").glob("*.pack"):
        pack.unlink()
    bench.remote.commit({"new": "x\n"}, "Pushed")
    done = bench.run("clone", path="mira_two")
    assert done.code == 0, done
    assert "made anew" in done.log
    (bench.mirror / "HEAD").write_text("nonsense\n")
    assert bench.done("pull")["commit"] == bench.remote.head()


def test_settings_that_somebody_wrote_into_a_mirror_are_gone_before_it_is_used(bench: Bench) -> None:
    bench.done("clone")
    mark = bench.root / "mark"
    evil = bench.root / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
    evil.chmod(0o755)
    (bench.mirror / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        shutil.copy(evil, bench.mirror / "hooks" / hook)
    with (bench.mirror / "config").open("a") as config:
        config.write(
            f'[core]\n\tsshCommand = {evil}\n\tfsmonitor = {evil}\n[url "ext::{evil}"]\n\tinsteadOf = file://\n'
        )
    (bench.mirror / "objects" / "info").mkdir(exist_ok=True)
    (bench.mirror / "objects" / "info" / "alternates").write_text(f"{bench.root}/elsewhere\n")
    commit = bench.remote.commit({"new": "x\n"}, "Pushed")
    assert bench.done("clone", path="mira_two")["commit"] == commit
    assert bench.done("pull")["commit"] == commit
    assert not mark.exists()


def test_what_a_killed_fetch_left_in_a_mirror_is_in_nobodys_way(bench: Bench) -> None:
    bench.done("clone")
    for name in (
        "shallow.lock",
        "packed-refs.lock",
        "HEAD.lock",
        "refs/heads/main.lock",
        "objects/pack/tmp_pack_x",
    ):
        (bench.mirror / name).touch()
    bench.remote.commit({"new": "x\n"}, "Pushed")
    assert bench.done("pull")["commit"] == bench.remote.head()
    assert not list(bench.mirror.rglob("*.lock"))
    assert not list(bench.mirror.rglob("tmp_*"))


def test_mirrors_over_their_budget_go_unless_they_are_used(bench: Bench) -> None:
    bench.done("clone")
    first = bench.mirror
    lock = os.open(first.with_suffix(".lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_SH)
    others = [f"file://{filled(bench.root / name).path}" for name in ("two", "three")]
    for number, url in enumerate(others):
        bench.done("clone", url=url, path=f"mira_{number}", mirrors_bytes=1)
    assert first.exists()
    assert len(list(bench.mirrors.glob("*.git"))) == 2
    os.close(lock)
    done = bench.run("clone", url=others[0], path="mira_four", mirrors_bytes=1)
    assert "Mirrors take more than" in done.log
    assert not first.exists()
    assert bench.git("log", "--oneline").count("\n") == 2  # the checkout has all that it had
    assert bench.done("pull")["usable"] is True


def test_many_packs_become_few_and_nothing_is_dropped(bench: Bench) -> None:
    bench.done("clone")
    blobs = [git("hash-object", "-w", "--stdin", given=b"%d" % n, cwd=bench.mirror) for n in range(60)]
    for blob in blobs:
        git("pack-objects", "-q", "objects/pack/pack", given=f"{blob}\n".encode(), cwd=bench.mirror)
    git("prune-packed", cwd=bench.mirror)
    commit = bench.remote.commit({"new": "x\n"}, "Pushed")
    assert bench.done("pull")["commit"] == commit
    assert len(list((bench.mirror / "objects" / "pack").glob("*.pack"))) < 50
    for blob in blobs:
        git("cat-file", "-e", blob, cwd=bench.mirror)


@pytest.mark.parametrize("name", sorted(TREES))
def test_trees_that_would_write_into_git_folders_are_not_taken(bench: Bench, name: str) -> None:
    bench.remote.commit_tree(TREES[name])
    done = bench.run("clone")
    assert done.code == 1 or name in {".", "git~1"}, done
    assert not (bench.root / "outside").exists()
    assert not list(bench.projects.glob("*")) or done.code == 0


def test_links_in_a_repository_are_links_and_nothing_is_written_through_them(bench: Bench) -> None:
    outside = bench.root / "outside"
    outside.mkdir()
    bench.remote.commit({"link": Link(str(outside))}, "A link")
    bench.done("clone")
    bench.remote.commit({"link": None, "link/file": "x\n"}, "A folder in its place")
    bench.done("pull")
    assert list(outside.iterdir()) == []
    assert (bench.checkout / "link" / "file").exists()


def with_submodule(bench: Bench, url: str) -> Repository:
    other = filled(bench.root / "other")
    entry = f'[submodule "lib"]\n\tpath = lib\n\turl = {url}\n'
    bench.remote.commit({".gitmodules": entry, "lib": Submodule(other.head())}, "A module")
    return other


def test_submodules_come_only_when_asked_for_and_follow_the_commit(bench: Bench) -> None:
    other = with_submodule(bench, "../other")
    bench.done("clone", path="mira_without")
    assert list((bench.projects / "mira_without" / "lib").iterdir()) == []
    facts = bench.done("clone", submodules=True)
    assert (facts["dirty"], facts["unpushed"]) == ([], [])
    assert (bench.checkout / "lib" / "README").read_text() == "commit 3\n"
    assert bench.git("config", "submodule.lib.url") == f"file://{other.path}"
    assert git("config", "remote.origin.url", cwd=bench.checkout / "lib") == f"file://{other.path}"
    newer = other.commit({"README": "newer\n"}, "Newer")
    bench.remote.commit({"lib": Submodule(newer)}, "A newer module")
    assert bench.done("pull", submodules=True)["dirty"] == []
    assert (bench.checkout / "lib" / "README").read_text() == "newer\n"


def test_a_repository_may_be_its_own_submodule(bench: Bench) -> None:
    pages = bench.remote.head("topic/two")
    entry = '[submodule "pages"]\n\tpath = pages\n\turl = ../remote\n'
    bench.remote.commit({".gitmodules": entry, "pages": Submodule(pages)}, "Its own pages")
    bench.done("clone", submodules=True)
    assert (bench.checkout / "pages" / "topic.txt").exists()


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% mark",
        "https://git.example/x",
        "--upload-pack=touch mark",
        "/etc",
        "../../../../../../x",
    ],
)
def test_a_submodule_is_held_to_what_holds_for_the_project(bench: Bench, url: str) -> None:
    with_submodule(bench, url)
    failed = bench.failed("clone", submodules=True)
    assert "submodule" in failed.message.lower()
    assert list(bench.projects.iterdir()) == []


def test_the_owners_rule_holds_for_submodules_too(bench: Bench) -> None:
    with_submodule(bench, "../other")
    allowed = [f"file://{bench.remote.path}"]
    failed = bench.failed("clone", submodules=True, repositories=allowed)
    assert "doesn’t allow the repository" in failed.message
    assert bench.run("clone", url=f"file://{bench.root}/other", repositories=allowed).code == 2


def test_large_files_need_a_program_that_is_not_here(bench: Bench) -> None:
    only_git = bench.root / "programs"
    only_git.mkdir()
    (only_git / "git").symlink_to(shutil.which("git") or "")
    assert "need git-lfs" in bench.failed("clone", lfs=True, search=str(only_git)).message
    assert list(bench.projects.iterdir()) == []


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs isn’t here")
def test_large_files_come_only_when_asked_for(bench: Bench) -> None:
    content = pushed_large_file(bench, b"one")
    bench.done("clone", path="mira_without")
    assert (bench.projects / "mira_without" / "big.bin").read_bytes().startswith(b"version https://git-lfs")
    facts = bench.done("clone", lfs=True)
    assert (bench.checkout / "big.bin").read_bytes() == content
    assert (facts["dirty"], facts["unpushed"]) == ([], [])
    content = pushed_large_file(bench, b"two")
    assert bench.done("pull", lfs=True)["dirty"] == []
    assert (bench.checkout / "big.bin").read_bytes() == content
    assert bench.git("status", "--porcelain") == ""
    bench.done("delete", lfs=True)


def pushed_large_file(bench: Bench, word: bytes) -> bytes:
    content = word * 100_000
    work = bench.root / "work"
    if not work.exists():
        git("clone", "--quiet", str(bench.remote.path), str(work), cwd=bench.root)
        git("lfs", "install", "--local", cwd=work)
        git("lfs", "track", "*.bin", cwd=work)
    (work / "big.bin").write_bytes(content)
    git("add", "-A", cwd=work)
    git("commit", "--quiet", "-m", "Large", cwd=work)
    git("push", "--quiet", bench.url, "HEAD:main", cwd=work)
    return content
