"""Repositories and remotes that somebody made against whoever clones them, and checkouts that a task has changed."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.projects import Garage, words_of
from tests.git import hostile
from tests.git.http_remote import HttpRemote
from tests.git.repositories import Link, Submodule, git

PASSWORD = "canary-of-hostile-remotes"
LFS_ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a program of the repository's own would have made."""
    return tmp_path / "mark"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A repository on the worker that is nobody's business, with somebody's work in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    git("init", "--quiet", ".", cwd=folder)
    (folder / "precious").write_text("precious\n")
    git("add", "precious", cwd=folder)
    git("commit", "--quiet", "-m", "Somebody’s", cwd=folder)
    return folder


def contents(folder: Path) -> dict[str, bytes | str]:
    """All that lies there, by name."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


# ---- what a repository holds


def test_a_repository_full_of_traps_is_cloned_and_pulled_and_none_of_them_springs(
    garage: Garage, http_remote: HttpRemote, mark: Path
) -> None:
    repository = http_remote.make()
    hostile.booby_trapped(repository, mark)
    project = garage.cloned(http_remote.url(repository))
    assert (project.folder / "a.txt").read_text() == "filtered\n"
    repository.commit({"a.txt": "again\n"})
    assert project.pull()["status"] == "completed"
    assert project.refresh()["dirty_count"] == 0
    assert [name.name for name in (project.folder / ".git" / "hooks").glob("*")] == []
    assert project.delete()["status"] == "completed"
    assert not mark.exists()


@pytest.mark.slow
def test_large_files_are_not_asked_for_unless_wanted(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.make()
    repository.commit({"big.bin": http_remote.lfs(b"large"), ".gitattributes": LFS_ATTRIBUTES})
    project = garage.cloned(http_remote.url(repository))
    assert (project.folder / "big.bin").read_text().startswith("version https://git-lfs")
    assert not [one for one in http_remote.seen if "lfs" in one.path]


@pytest.mark.slow
def test_submodules_are_not_asked_for_unless_wanted(
    garage: Garage, http_remote: HttpRemote, mark: Path, outside: Path
) -> None:
    repository = http_remote.make()
    hostile.with_module(repository, hostile.MODULES["ext"](mark, outside))
    project = garage.cloned(http_remote.url(repository))
    assert list((project.folder / "sub").iterdir()) == []
    assert project.pull()["status"] == "completed"
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile.MODULES)
def test_a_wanted_submodule_runs_and_reads_nothing_of_the_workers(
    garage: Garage, http_remote: HttpRemote, mark: Path, outside: Path, kind: str
) -> None:
    repository = http_remote.make()
    path = "-x" if kind == "a path as an option" else "sub"
    commit = git("rev-parse", "HEAD", cwd=outside)
    hostile.with_module(repository, hostile.MODULES[kind](mark, outside), path, commit)
    before = contents(outside)
    garage.refused(http_remote.url(repository), submodules=True)
    assert not mark.exists()
    assert contents(outside) == before
    assert not [one for one in garage.storage.rglob("precious") if one.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile.TREES)
def test_names_that_a_file_system_may_take_for_others_are_refused(
    garage: Garage, http_remote: HttpRemote, kind: str
) -> None:
    repository = http_remote.make()
    repository.commit_tree(hostile.TREES[kind])
    _, task = garage.refused(http_remote.url(repository))
    assert "\x1b" not in words_of(task)


@pytest.mark.slow
def test_links_out_of_the_tree_are_kept_as_links_and_nobody_follows_them(
    garage: Garage, http_remote: HttpRemote, outside: Path
) -> None:
    (outside / "large").write_bytes(b"x" * 5_000_000)
    repository = http_remote.make()
    repository.commit(
        {"README": "hello\n", "out": Link(str(outside)), "up": Link("../../.."), "etc": Link("/etc")}
    )
    before = contents(outside)
    project = garage.cloned(http_remote.url(repository))
    assert project.checkout["size_bytes"] < 1_000_000
    (project.folder / "new").symlink_to(outside)
    repository.commit(
        {"out": None, "out/precious": "theirs\n", "new/precious": "theirs\n"}, "Through the link"
    )
    assert project.pull()["status"] == "failed", "a file of somebody’s own is in the way"
    (project.folder / "new").unlink()
    assert project.pull()["status"] == "completed"
    assert (project.folder / "out" / "precious").read_text() == "theirs\n"
    assert not (project.folder / "out").is_symlink()
    repository.commit({"out/precious": None, "out": Link(str(outside))}, "And back")
    assert project.pull()["status"] == "completed"
    assert project.delete(force=True)["status"] == "completed"
    assert contents(outside) == before


# ---- what a task may leave in a checkout


def test_what_a_task_left_in_the_checkout_is_not_run_by_the_git_that_comes_after(
    garage: Garage, http_remote: HttpRemote, mark: Path
) -> None:
    http_remote.ways.accounts = {"mira": PASSWORD}
    repository = http_remote.filled()
    token = garage.token(http_remote.host, PASSWORD)
    project = garage.cloned(http_remote.url(repository), credential_id=token)
    hostile.tampered(project.folder, mark)
    project.refresh()
    assert not mark.exists()
    repository.commit({"README": "new\n", "more.txt": "x\n"})
    task = project.pull()
    assert not mark.exists()
    assert task["status"] == "failed" or (project.folder / "README").read_text() == "new\n"
    project.delete(force=True)
    assert not mark.exists()


def with_worktree(checkout: Path, outside: Path) -> None:
    git("config", "core.worktree", str(outside), cwd=checkout)


def with_a_file_for_git(checkout: Path, outside: Path) -> None:
    shutil.rmtree(checkout / ".git")
    (checkout / ".git").write_text(f"gitdir: {outside}/.git\n")


def with_a_link_for_git(checkout: Path, outside: Path) -> None:
    shutil.rmtree(checkout / ".git")
    (checkout / ".git").symlink_to(outside / ".git")


def with_a_link_for_the_checkout(checkout: Path, outside: Path) -> None:
    shutil.rmtree(checkout)
    checkout.symlink_to(outside)


@pytest.mark.slow
@pytest.mark.parametrize(
    "leave", [with_worktree, with_a_file_for_git, with_a_link_for_git, with_a_link_for_the_checkout]
)
def test_a_checkout_that_leads_elsewhere_touches_nothing_there(
    garage: Garage, http_remote: HttpRemote, outside: Path, leave: Any
) -> None:
    repository = http_remote.filled()
    project = garage.cloned(http_remote.url(repository))
    leave(project.folder, outside)
    before = contents(outside)
    repository.commit({"README": "new\n", "precious": "theirs\n"})
    project.task_of(garage.asked("POST", f"{project.path}/refresh"))
    project.pull()
    assert contents(outside) == before
    project.delete(force=True)
    assert contents(outside) == before


def test_a_task_does_not_run_where_a_link_leads(
    garage: Garage, http_remote: HttpRemote, outside: Path
) -> None:
    project = garage.cloned(http_remote.url(http_remote.filled()))
    with_a_link_for_the_checkout(project.folder, outside)
    task = garage.stack.ended(project.run("touch was-here"))
    assert task["status"] == "failed"
    assert "clone" in words_of(task)
    assert not (outside / "was-here").exists()


# ---- what a remote says


def plain(answer: object) -> bool:
    """Whether a terminal or a browser shows it as it is."""
    if isinstance(answer, Mapping):
        return all(plain(key) and plain(value) for key, value in answer.items())
    if isinstance(answer, list):
        return all(map(plain, answer))
    return not any(unicodedata.category(one) in {"Cc", "Cf"} for one in str(answer))


@pytest.mark.slow
def test_its_words_are_taken_for_words(garage: Garage, http_remote: HttpRemote) -> None:
    repository = http_remote.make()
    names = ["-x", "--upload-pack=touch", "$(touch${IFS}mark)", "<b>bold</b>", "a\u200db"]
    repository.commit({"README": "hello\n"}, "\x1b[31m<script>red\u202e\x07 subject\r")
    for name in names:
        repository.branch(name)
    project = garage.cloned(http_remote.url(repository))
    assert "red" in project.checkout["subject"]
    assert plain(project.shown)
    assert project.pull()["status"] == "completed"
    assert project.delete()["status"] == "completed"


@pytest.mark.slow
def test_a_default_branch_that_is_an_option_is_refused_by_name(
    garage: Garage, http_remote: HttpRemote, mark: Path
) -> None:
    repository = http_remote.filled()
    repository.rename_default(f"--upload-pack=touch${{IFS}}{mark}")
    _, task = garage.refused(http_remote.url(repository))
    assert "--upload-pack" in words_of(task)
    assert not mark.exists()


def test_what_it_says_back_of_a_credential_is_masked(garage: Garage, http_remote: HttpRemote) -> None:
    http_remote.ways.accounts, http_remote.ways.tells = {"mira": PASSWORD}, True
    token = garage.token(http_remote.host, PASSWORD)
    project, task = garage.refused(http_remote.url(http_remote.filled()), credential_id=token)
    assert any(one.credential for one in http_remote.seen), "it was told the password"
    said = str(task) + str(project.shown) + garage.stack.log(task["id"]).decode()
    said += garage.stack.api("GET", f"/tasks/{task['id']}/events").text
    assert PASSWORD not in said
    assert PASSWORD.encode().hex() not in said
    assert http_remote.seen[-1].headers["authorization"].split()[1] not in said


# ---- who else might be told


def test_a_redirect_gets_no_credential_and_is_not_followed(
    garage: Garage, http_remote: HttpRemote, tmp_path: Path
) -> None:
    repository = http_remote.filled()
    http_remote.ways.accounts = {"mira": PASSWORD}
    token = garage.token(http_remote.host, PASSWORD)
    with HttpRemote(tmp_path / "evil") as evil:
        evil.ways.accounts = {"mira": PASSWORD}
        evil.filled()
        http_remote.ways.redirects = {"/": f"http://{evil.host}"}
        _, task = garage.refused(http_remote.url(repository), credential_id=token)
        assert "another address" in words_of(task)
        assert evil.seen == []


@pytest.mark.slow
def test_a_submodule_elsewhere_gets_no_credential(
    garage: Garage, http_remote: HttpRemote, tmp_path: Path
) -> None:
    repository = http_remote.make()
    http_remote.ways.accounts = {"mira": PASSWORD}
    token = garage.token(http_remote.host, PASSWORD)
    with HttpRemote(tmp_path / "evil") as evil:
        evil.ways.accounts = {"mira": PASSWORD}
        theirs = evil.filled()
        hostile.with_module(repository, hostile.module(evil.url(theirs)), "sub", theirs.head())
        garage.refused(http_remote.url(repository), credential_id=token, submodules=True)
        assert {one.status for one in evil.seen} == {401}
        assert not any(one.credential for one in evil.seen)


@pytest.mark.slow
def test_an_ordinary_submodule_of_the_same_host_is_fetched_when_wanted(
    garage: Garage, http_remote: HttpRemote
) -> None:
    part = http_remote.filled("part")
    repository = http_remote.make()
    entry = hostile.module("../part.git", "parts/one", "one")
    repository.commit({".gitmodules": entry, "parts/one": Submodule(part.head())})
    http_remote.ways.accounts = {"mira": PASSWORD}
    token = garage.token(http_remote.host, PASSWORD)
    project = garage.cloned(http_remote.url(repository), credential_id=token, submodules=True)
    assert (project.folder / "parts" / "one" / "README").read_text() == "commit 3\n"


@pytest.mark.slow
def test_large_files_are_fetched_when_wanted_with_the_same_credential(
    garage: Garage, http_remote: HttpRemote
) -> None:
    repository = http_remote.make()
    repository.commit({"big.bin": http_remote.lfs(b"large"), ".gitattributes": LFS_ATTRIBUTES})
    http_remote.ways.accounts = {"mira": PASSWORD}
    token = garage.token(http_remote.host, PASSWORD)
    project = garage.cloned(http_remote.url(repository), credential_id=token, lfs=True)
    assert (project.folder / "big.bin").read_bytes() == b"large"
    assert project.refresh()["dirty_count"] == 0


@pytest.mark.slow
def test_a_server_of_large_files_that_takes_no_password_is_not_asked_for_ever(
    garage: Garage, http_remote: HttpRemote
) -> None:
    repository = http_remote.make()
    repository.commit({"big.bin": http_remote.lfs(b"large"), ".gitattributes": LFS_ATTRIBUTES})
    http_remote.ways.accounts, http_remote.ways.refuses_lfs = {"mira": PASSWORD}, True
    token = garage.token(http_remote.host, PASSWORD)
    garage.refused(http_remote.url(repository), credential_id=token, lfs=True)
    assert len([one for one in http_remote.seen if "/info/lfs/" in one.path]) < 20


@pytest.mark.slow
def test_a_repository_that_sends_for_its_large_files_elsewhere_sends_no_credential_there(
    garage: Garage, http_remote: HttpRemote, tmp_path: Path
) -> None:
    repository = http_remote.make()
    http_remote.ways.accounts = {"mira": PASSWORD}
    token = garage.token(http_remote.host, PASSWORD)
    with HttpRemote(tmp_path / "evil") as evil:
        evil.ways.accounts = {"mira": PASSWORD}
        files = {
            "big.bin": evil.lfs(b"large"),
            ".gitattributes": LFS_ATTRIBUTES,
            ".lfsconfig": f"[lfs]\n\turl = http://{evil.host}/x.git/info/lfs\n",
        }
        repository.commit(files)
        begun = garage.begin(http_remote.url(repository), credential_id=token, lfs=True)
        garage.stack.ended(begun["task_id"], 90)
        assert not any(one.credential for one in evil.seen)
