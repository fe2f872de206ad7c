"""What a checkout's own settings would have git run, and what our calls of git say instead."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.git import tamed
from agent.git.failures import Failed
from tests.git.hostile import payload
from tests.git.http_remote import HttpRemote
from tests.git.repositories import git


def keys_of(checkout: Path) -> list[str]:
    return git("config", "--list", "--name-only", "-z", cwd=checkout).split("\0")


def test_what_names_no_program_is_left_alone() -> None:
    assert (
        tamed.overruled(["user.name", "core.autocrlf", "remote.origin.url", "filter", "", "merge.ff"]) == []
    )


def test_a_filter_is_silenced_as_a_whole() -> None:
    assert tamed.overruled(["filter.a.b.smudge"]) == [
        "filter.a.b.clean=",
        "filter.a.b.smudge=",
        "filter.a.b.process=",
        "filter.a.b.required=false",
    ]


@pytest.mark.parametrize(
    "key",
    [
        "lfs.extension.x.clean",
        "remote.origin.vcs",
        "filter.a=b.clean",
        "filter.a\nb.clean",
        "remote./a=b.uploadpack",
    ],
)
def test_what_cant_be_overruled_is_refused_and_named(key: str) -> None:
    with pytest.raises(Failed, match=r"\.git/config"):
        tamed.overruled([key])


def test_a_fetch_by_the_path_of_the_mirror_runs_no_program_of_the_checkouts(
    http_remote: HttpRemote, tmp_path: Path
) -> None:
    """git looks up settings of a remote also by the path that it fetches from."""
    mirror, checkout, mark = http_remote.filled().path, tmp_path / "checkout", tmp_path / "mark"
    program = tmp_path / "program"
    program.write_text(payload(mark) + 'exec git-upload-pack "$@"\n')
    program.chmod(0o755)
    git("clone", "--quiet", str(mirror), str(checkout), cwd=tmp_path)
    git("config", f"remote.{mirror}.uploadpack", str(program), cwd=checkout)
    git("config", "core.alternateRefsCommand", str(program), cwd=checkout)
    (checkout / ".git" / "objects" / "info" / "alternates").write_text(f"{mirror}/objects\n")
    settings = [word for one in tamed.overruled(keys_of(checkout)) for word in ("-c", one)]
    git(*settings, "fetch", "--quiet", str(mirror), "+refs/heads/*:refs/remotes/x/*", cwd=checkout)
    assert not mark.exists()
    plain = subprocess.run(
        ["git", "fetch", "--quiet", str(mirror)], cwd=checkout, check=False, capture_output=True
    )
    assert mark.exists(), f"otherwise this says nothing: {plain}"
