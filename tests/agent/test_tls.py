"""How an agent knows its server: by a pin, or by authorities. Whoever can't show that he is it hears nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from agent import commands, config, control, identity, tls
from agent.errors import BadConfig
from agent.server import Distrusted, Server
from tests import certificates
from tests.agent.conftest import AgentProcess, wait_for
from tests.agent.fake_control import FakeControl
from tests.agent.fake_server import Answer, FakeServer
from tests.agent.test_config import run_agent
from tests.agent.tls_world import ConnectProxy, Impostor, context_of
from tests.certificates import Pair

ANOTHER = "sha256:" + "0" * 64
SECRETS = (b"gsw_", b"gsj_", b"X-Worker-API-Key", b"w-1")


pytestmark = pytest.mark.usefixtures("plain_environment")


@pytest.fixture
def authority(tmp_path: Path) -> Pair:
    return certificates.make(tmp_path, "authority")


@pytest.fixture
def pair(tmp_path: Path, authority: Pair) -> Pair:
    return certificates.make(tmp_path, "server", authority)


@pytest.fixture
def tls_server(pair: Pair) -> Iterator[FakeServer]:
    with FakeServer(context_of(pair)) as fake:
        fake.control = FakeControl()
        yield fake


def ask(server: Server) -> None:
    server.task_data("/api/v1/agents/tasks/t/data")


def dial(server: Server) -> None:
    with control.dial(server):
        pass


BOTH_WAYS = pytest.mark.parametrize("way", [ask, dial])
Way = Callable[[Server], None]


def known(server: FakeServer | Impostor, pin: str = "") -> Server:
    return Server(server.url, "w-1", "gsw_key", pin)


@pytest.fixture(autouse=True)
def _answers(request: pytest.FixtureRequest) -> None:
    if "tls_server" in request.fixturenames:
        request.getfixturevalue("tls_server").misbehave = lambda method, path: Answer(200, {})


# ---- a pin


@BOTH_WAYS
def test_who_has_another_certificate_than_the_pinned_one_hears_nothing(way: Way, pair: Pair) -> None:
    impostor = Impostor(pair)
    with (
        impostor,
        pytest.raises((Distrusted, tls.WrongCertificate), match="somebody is in between") as caught,
    ):
        way(known(impostor, ANOTHER))
    assert impostor.heard_of(1) == [b""]
    assert pair.pin in str(caught.value)
    assert "\n" not in str(caught.value)


@BOTH_WAYS
def test_the_pinned_certificate_is_enough_whatever_else_is_wrong_with_it(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over, no authority vouches for it, and what the machine trusts can't even be read."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    old = certificates.make(tmp_path, "old", days=-1)
    with FakeServer(context_of(old)) as server:
        server.control = FakeControl()
        server.misbehave = lambda method, path: Answer(200, {})
        way(known(server, old.pin))


def test_an_agent_with_a_wrong_pin_says_what_it_means_and_tells_nobody_its_token(
    pair: Pair, tmp_path: Path
) -> None:
    impostor = Impostor(pair)
    token = {"AGENT_JOIN_TOKEN": "gsj_secret", "AGENT_PIN": ANOTHER}
    with impostor:
        agent = AgentProcess(cast(FakeServer, impostor), tmp_path / "storage", token)
        try:
            heard = impostor.heard_of(2)  # it goes on trying
            said = agent.said.splitlines()
        finally:
            agent.kill()
    assert not any(heard)
    assert len([line for line in said if "somebody is in between" in line]) == 1


def test_who_joins_by_a_wrong_pin_is_told_so_and_can_give_the_right_one(
    pair: Pair, tls_server: FakeServer, tmp_path: Path
) -> None:
    tls_server.misbehave = lambda method, path: None
    join_line = ["join", "--no-wait", "--server", tls_server.url, "--storage", str(tmp_path / "storage")]
    wrong = run_agent(*join_line, "--pin", ANOTHER)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1), wrong.stderr
    assert "somebody is in between" in wrong.stderr
    assert tls_server.requests == []
    assert run_agent(*join_line, "--pin", pair.pin).returncode == 0
    assert len(tls_server.registrations) == 1


def test_an_agent_says_it_also_when_the_server_was_away_before(pair: Pair, tmp_path: Path) -> None:
    """That is what happens when a server starts again with a new certificate."""
    with FakeServer(context_of(pair)) as server:
        agent = AgentProcess(server, tmp_path / "storage", {"AGENT_PIN": pair.pin})
        try:
            wait_for(lambda: "connected to" in agent.said)
            agent.kill()
            server.misbehave = lambda method, path: Answer(503, {})
            agent = AgentProcess(server, tmp_path / "storage", {"AGENT_CONTROL": "0"})
            wait_for(lambda: "the server says 503" in agent.said)
            server.show(certificates.make(tmp_path, "new"))
            server.misbehave = lambda method, path: Answer(503, {}, headers={"Connection": "close"})
            wait_for(lambda: "nothing is told to" in agent.said)
        finally:
            agent.kill()


# ---- authorities


@BOTH_WAYS
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own_is_trusted_on_both_ways(
    way: Way, name: str, tls_server: FakeServer, authority: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(authority.cert_file))
    way(known(tls_server))


@BOTH_WAYS
def test_without_pin_and_authority_nothing_is_said(way: Way, pair: Pair) -> None:
    impostor = Impostor(pair)
    with impostor, pytest.raises((Distrusted, OSError)):
        way(known(impostor))
    assert not any(impostor.heard)


def test_what_to_do_about_an_unknown_authority_is_said(tls_server: FakeServer) -> None:
    with pytest.raises(Distrusted, match="give --pin"):
        ask(known(tls_server))


def test_authorities_that_cannot_be_read_stop_the_start(
    tls_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(BadConfig, match=r"REQUESTS_CA_BUNDLE=/nowhere\.pem"):
        known(tls_server)


def test_a_server_that_speaks_https_by_now_is_recognised() -> None:
    with FakeServer() as server:
        server.misbehave = lambda *_: Answer(400, "This port speaks https", "text/plain")
        with pytest.raises(Exception, match="give --server with https"):
            ask(known(server))


# ---- a proxy on the way


@BOTH_WAYS
def test_through_a_proxy_the_pin_holds_and_the_proxy_learns_no_key(
    way: Way, tls_server: FakeServer, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ConnectProxy()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with proxy:
        way(known(tls_server, pair.pin))
        with pytest.raises((Distrusted, tls.WrongCertificate)):
            way(known(tls_server, ANOTHER))
    # An agent of an earlier test may still be trying, and takes this proxy as well.
    asked = [head.split()[:2] for head in proxy.heads]
    assert asked.count([b"CONNECT", tls_server.url[8:].encode()]) == 2
    assert not any(secret in head for head in proxy.heads for secret in SECRETS)


# ---- where it is kept


def started(storage: Path, *arguments: str, **environ: str) -> identity.Identity:
    """As `run` begins."""
    chosen = commands.parse(["run", "--storage", str(storage), *arguments])
    settings = config.load(chosen, environ)
    return identity.prepare(settings.storage, settings.server_url, settings.pin)


def join(storage: Path, url: str, pin: str = "") -> None:
    storage.mkdir()
    identity.save(storage, identity.Identity(url, "nonce", "seed", "w-1", "gsw_key", pin=pin))


def test_a_pin_is_kept_until_another_one_or_none_is_given(storage: Path) -> None:
    storage.mkdir()
    pin, other = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
    assert started(storage, "--server", "https://garage.lan", "--pin", pin).pin == pin
    assert started(storage, "--server", "https://garage.lan").pin == pin
    assert started(storage, "--server", "https://garage.lan", AGENT_PIN=other).pin == other
    assert json.loads((storage / "identity.json").read_text())["pin"] == other
    assert started(storage, "--server", "https://garage.lan", "--pin", "none").pin == ""


def test_a_server_that_got_a_certificate_keeps_its_workers(storage: Path) -> None:
    join(storage, "http://garage.lan:8000")
    pin = "sha256:" + "ab" * 32
    found = started(storage, "--server", "https://garage.lan:8000", "--pin", pin)
    assert (found.worker_id, found.server_url, found.pin) == ("w-1", "https://garage.lan:8000", pin)


@pytest.mark.parametrize(
    "url", ["https://garage.lan:8001", "https://evil.lan:8000", "http://garage.lan:8001"]
)
def test_another_place_is_not_the_same_server(storage: Path, url: str) -> None:
    join(storage, "http://garage.lan:8000")
    with pytest.raises(BadConfig, match="belongs to a worker of"):
        started(storage, "--server", url, "--insecure")


def test_a_server_with_a_certificate_does_not_become_one_without(storage: Path) -> None:
    join(storage, "https://garage.lan", "sha256:" + "ab" * 32)
    with pytest.raises(BadConfig, match="belongs to a worker of"):
        started(storage, "--server", "http://garage.lan", "--insecure")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("sha256:" + "ab" * 32, "sha256:" + "ab" * 32),
        ("AB" * 32, "sha256:" + "ab" * 32),
        (":".join(["AB"] * 32), "sha256:" + "ab" * 32),
        ("SHA256:" + ":".join(["ab"] * 32), "sha256:" + "ab" * 32),
        ("none", ""),
    ],
)
def test_a_pin_is_read_as_browsers_and_openssl_write_it(text: str, stored: str) -> None:
    assert tls.parse_pin(text) == stored


@pytest.mark.parametrize(
    "text", ["sha256:", "sha256:ab", "md5:" + "ab" * 32, "sha256:" + "g" * 64, "ab" * 33]
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="64 hexadecimal digits"):
        tls.parse_pin(text)


def test_a_pin_for_plain_http_is_refused(storage: Path) -> None:
    with pytest.raises(BadConfig, match="give its https address"):
        started(storage, "--server", "http://127.0.0.1:8000", "--pin", "ab" * 32)
