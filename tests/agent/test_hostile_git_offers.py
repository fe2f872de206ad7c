"""The git tool against whoever holds the server: what the API refuses is refused again, before git is called at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from tests.agent.conftest import OpenSession, finished
from tests.agent.fake_server import FakeAttempt, FakeServer
from tests.agent.test_policy import write
from tests.git.http_remote import HttpRemote
from tests.git.wishes import BAD_COMMITS, BAD_PATHS, BAD_REFS, BAD_URLS

URL = "https://git.example/team/app.git"
SPY = "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{calls}'\nexec '{git}' \"$@\"\n"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """How git was called, a line each. Nobody minds if it is asked for its version."""
    folder = tmp_path / "spy"
    folder.mkdir()
    (folder / "git").write_text(SPY.format(calls=folder / "calls", git=shutil.which("git")))
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


def submit(server: FakeServer, path: object = "mira_app", **said: Any) -> FakeAttempt:
    """A clone, as a server would offer it that checks nothing."""
    task_input = {
        "operation": "clone",
        "url": URL,
        "path": path,
        "ref_kind": "default",
        "ref": "",
        "single_branch": False,
        "submodules": False,
        "lfs": False,
        "schemes": ["https", "ssh"],
        **said,
    }
    attempt = server.known("git", task_input)
    attempt.data["project"] = {"id": "p-1", "name": "app", "path": path, "branch": None}
    attempt.offer["data"] = attempt.data
    server.offer_again(attempt)
    return attempt


def refused(attempts: list[FakeAttempt], calls: Path, config: Config) -> None:
    for attempt in attempts:
        report = finished(attempt).report
        assert report["status"] == "failed", attempt.data
        assert report["error"], attempt.data
    said = calls.read_text().splitlines() if calls.exists() else []
    assert [line for line in said if "version" not in line] == []
    left = [
        str(path.relative_to(config.storage)) for path in config.storage.rglob("*") if "mira" in path.name
    ]
    assert left == []


def test_what_is_in_order_is_done(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path, http_remote: HttpRemote
) -> None:
    """Otherwise the others would say nothing."""
    open_session()
    url = http_remote.url(http_remote.filled())
    attempt = submit(server, url=url, schemes=["http"], ref_kind="branch", ref="topic/two")
    assert finished(attempt).report["status"] == "completed", attempt.log
    assert (config.storage / "projects" / "mira_app" / "topic.txt").read_text() == "two\n"
    assert "clone" in calls.read_text()


def test_urls_that_are_more_than_addresses(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path
) -> None:
    open_session()
    refused([submit(server, url=url) for url in BAD_URLS], calls, config)


def test_programs_for_transports_even_where_the_server_allows_them(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path, tmp_path: Path
) -> None:
    open_session()
    mark = tmp_path / "mark"
    urls = (f"ext::sh -c touch% {mark}", f"ext://sh -c touch% {mark}", "fd::17")
    schemes = ["ext", "ext:", "fd", "*", "https", "ssh", "file"]
    refused([submit(server, url=url, schemes=schemes) for url in urls], calls, config)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["branch", "tag"])
def test_names_that_would_be_options_or_other_things(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path, kind: str
) -> None:
    open_session()
    refused([submit(server, ref_kind=kind, ref=ref) for ref in BAD_REFS], calls, config)


def test_commits_that_are_not_whole(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path
) -> None:
    open_session()
    refused([submit(server, ref_kind="commit", ref=ref) for ref in BAD_COMMITS], calls, config)


@pytest.mark.parametrize("operation", ["clone", "delete"])
def test_folders_that_lie_elsewhere(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path, operation: str
) -> None:
    """None of them may be made, and above all none removed."""
    precious = config.storage / "outside" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    open_session()
    paths = [*BAD_PATHS, str(precious.parent), None, 7, ["mira_app"]]
    refused([submit(server, path, operation=operation, force=True) for path in paths], calls, config)
    assert precious.read_text() == "precious"


WRONG: dict[str, dict[str, Any]] = {
    "an operation that is none": {"operation": "push"},
    "an operation of another type": {"operation": ["clone"]},
    "a kind of ref that is none": {"ref_kind": "pull", "ref": "1"},
    "no depth": {"depth": 0},
    "a depth that is an option": {"depth": "--upload-pack=x"},
    "a flag that is a text": {"submodules": "yes"},
    "one thing more": {"upload_pack": "touch"},
    "a credential of another kind": {
        "credential": {"kind": "helper", "username": "x", "secret": "!touch mark"}
    },
    "a credential with a line end": {"credential": {"kind": "token", "username": "x\ny", "secret": "secret"}},
    "a secret with a line end": {
        "credential": {"kind": "token", "username": "x", "secret": "secret\nprotocol=x"}
    },
    "host keys that are options": {"url": "git@git.example:a/b", "host_keys": "-oProxyCommand=x"},
    "a line of host keys with more lines": {
        "url": "git@git.example:a/b",
        "host_keys": ["git.example ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA"],
    },
    "schemes that are one text": {"schemes": "https"},
}


def test_what_has_the_wrong_form(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path
) -> None:
    open_session()
    refused([submit(server, **said) for said in WRONG.values()], calls, config)


def test_a_repository_that_the_owner_has_no_rule_for(
    server: FakeServer, config: Config, open_session: OpenSession, calls: Path, http_remote: HttpRemote
) -> None:
    write(config.storage, "[policy]\nrepositories = https://git.example/team/*\n")
    open_session()
    url = http_remote.url(http_remote.filled())
    refused([submit(server, url=url, schemes=["http"])], calls, config)
    assert http_remote.seen == []
