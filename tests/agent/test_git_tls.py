"""Remotes over https: whom the machine trusts, git trusts, and nobody else is told a password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from tests.agent.conftest import OpenSession, finished
from tests.agent.fake_server import FakeAttempt, FakeServer
from tests.certificates import Pair, make
from tests.git.http_remote import HttpRemote

SECRET = "canary-of-tls"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make(tmp_path, "forge")


@pytest.fixture
def forge(tmp_path: Path, pair: Pair) -> Iterator[HttpRemote]:
    """It wants a password, and its certificate is known to nobody until somebody says so."""
    with HttpRemote(tmp_path / "forge", pair) as remote:
        remote.ways.accounts = {"mira": SECRET}
        yield remote


def clone(server: FakeServer, forge: HttpRemote, **said: Any) -> FakeAttempt:
    token = {"kind": "token", "username": "mira", "secret": SECRET}
    task_input = {
        "operation": "clone",
        "url": forge.url(forge.filled()),
        "path": "mira_app",
        "credential": token,
    }
    attempt = server.known("git", {**task_input, "schemes": ["https"], **said})
    attempt.data["project"] = {"id": "p-1", "name": "app", "path": "mira_app", "branch": None}
    server.offer_again(attempt)
    return attempt


@pytest.mark.usefixtures("plain_environment")
def test_a_certificate_that_the_machine_does_not_know_gets_no_password(
    server: FakeServer, open_session: OpenSession, forge: HttpRemote
) -> None:
    open_session()
    report = finished(clone(server, forge)).report
    assert report["status"] == "failed"
    assert "certificate" in report["error"]
    assert forge.seen == []


@pytest.mark.usefixtures("plain_environment")
def test_an_authority_that_the_machines_owner_names_is_trusted(
    server: FakeServer,
    config: Config,
    open_session: OpenSession,
    forge: HttpRemote,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(pair.cert_file))
    open_session()
    attempt = clone(server, forge)
    assert finished(attempt).report["status"] == "completed", bytes(attempt.log)
    assert (config.storage / "projects" / "mira_app" / "README").exists()
    assert SECRET not in bytes(attempt.log).decode()


def test_a_proxy_of_the_machine_is_used(
    server: FakeServer,
    open_session: OpenSession,
    http_remote: HttpRemote,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This one knows nothing of proxying: it is enough that it was asked."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", f"http://{http_remote.host}")
    open_session()
    url = "http://git.example/team/app.git"
    attempt = clone(server, http_remote, url=url, schemes=["http"], credential=None)
    assert finished(attempt).report["status"] == "failed"
    assert [one.path.partition("?")[0] for one in http_remote.seen][:1] == [f"{url}/info/refs"]
