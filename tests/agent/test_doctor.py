"""`doctor`, over real sockets: what it finds, what it says, and what it says to do."""

from __future__ import annotations

import email.utils
import json
import time
from pathlib import Path

import pytest

from agent.doctor import way
from agent.doctor.verdict import Look, Verdict, taken
from tests import certificates
from tests.agent.conftest import StartAgent, wait_for
from tests.agent.doctor_world import Doctor, Mute, Stranger, Stripping, join, said
from tests.agent.fake_control import FakeControl
from tests.agent.fake_server import Answer, FakeServer, problem
from tests.agent.one_command import agent
from tests.agent.tls_world import context_of
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("plain_environment")

# ---- well


def test_before_joining_all_but_that_is_well(server: FakeServer, doctor: Doctor) -> None:
    found = doctor.look(server.url)
    assert doctor.code == 0
    assert said(found, "server") == "ok: it is GarageSwarm, version 0.1.0 → "
    assert said(found, "clock").startswith("ok")
    assert said(found, "WebSocket").startswith("ok: the wish for one comes through")
    assert "join --server" in said(found, "key")
    assert found["key"][0]["state"] == "warning"
    assert "agent" not in found
    assert not server.registrations
    assert not doctor.storage.exists()


def test_after_joining_a_socket_is_tried_in_earnest(server: FakeServer, doctor: Doctor) -> None:
    join(server, doctor.storage)
    server.control = FakeControl()
    found = doctor.look(server.url)
    assert doctor.code == 0
    assert said(found, "key").startswith("ok: taken")
    assert said(found, "WebSocket") == "ok: comes through, both ways → "
    assert found["agent"][0]["state"] == "warning"
    assert [one["type"] for one in server.control.line().heard] == ["hello"], "it asks for no work"
    assert said(found, "storage").startswith("ok")


def test_beside_a_running_agent_its_own_socket_is_left_alone(
    server: FakeServer, doctor: Doctor, start_agent: StartAgent
) -> None:
    server.control = FakeControl()
    start_agent()
    server.control.line().hear("heartbeat")
    found = doctor.look(server.url)
    assert said(found, "WebSocket").startswith("ok: the agent's own is open")
    assert len(server.control.lines) == 1
    assert found["agent"][0]["state"] == "ok"


def test_people_see_each_check_in_a_line_and_the_fix_under_it(server: FakeServer, storage: Path) -> None:
    ended = agent(storage, "doctor", "--server", server.url)
    assert "server    ok       it is GarageSwarm" in ended.stdout
    assert "key       warning  this machine has not joined yet" in ended.stdout
    assert "→ python3 -m agent join" in ended.stdout
    assert ended.stdout.rstrip().endswith("warnings.") or ended.stdout.rstrip().endswith("1 warning.")


def test_another_server_is_looked_at_without_being_told_the_key(server: FakeServer, doctor: Doctor) -> None:
    join(server, doctor.storage)
    with FakeServer() as other:
        other.control = FakeControl()
        found = doctor.look(other.url)
        told = json.dumps([headers for _, _, headers in other.requests])
    assert f"this machine is a worker of {server.url}" in said(found, "key")
    assert "gsw_key" not in told
    assert not other.control.lines
    assert "agent" not in found


# ---- the way to the server


def test_a_name_that_nobody_knows(doctor: Doctor) -> None:
    found = doctor.look("https://no-such-host.invalid")
    assert doctor.code == 1
    assert said(found, "name").startswith("problem: no-such-host.invalid isn't known here")
    assert "getent hosts" in said(found, "name")
    for name in ("network", "TLS", "server", "clock", "WebSocket"):
        assert name not in found


def test_a_refused_connection(doctor: Doctor) -> None:
    found = doctor.look(f"http://127.0.0.1:{free_port()}")
    assert doctor.code == 1
    assert "Connection refused" in said(found, "network")
    assert "is the server running" in said(found, "network")


def test_an_expired_certificate(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "server", authority, days=-1)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.cert_file))
    with FakeServer(context_of(pair)) as server:
        found = doctor.look(server.url)
    assert doctor.code == 1
    assert said(found, "TLS").startswith(
        "problem: its certificate has expired → have the server's certificate renewed"
    )


def test_a_certificate_for_another_name(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "server", authority)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.cert_file))
    with FakeServer(context_of(pair)) as server:
        found = doctor.look(server.url.replace("127.0.0.1", "localhost"))
    assert "its certificate is for another name than localhost" in said(found, "TLS")
    assert f"--pin {pair.pin}" in said(found, "TLS")


def test_a_certificate_that_the_server_made_itself_and_then_its_pin(doctor: Doctor, tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "server")
    with FakeServer(context_of(pair)) as server:
        found = doctor.look(server.url)
        assert doctor.code == 1
        assert f"--pin {pair.pin}" in said(found, "TLS")
        assert "server" not in found
        found = doctor.look(server.url, "--pin", pair.pin)
        assert doctor.code == 0
        assert "its certificate is the pinned one" in said(found, "TLS")
        assert said(found, "WebSocket").startswith("ok")
        found = doctor.look(server.url, "--pin", f"sha256:{'0' * 64}")
        assert doctor.code == 1
        assert f"its certificate is {pair.pin}, and another one is pinned" in said(found, "TLS")


def test_a_certificate_that_soon_ends(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "server", authority, days=3.5)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.cert_file))
    with FakeServer(context_of(pair)) as server:
        found = doctor.look(server.url)
    assert doctor.code == 0
    assert "its certificate ends in 3 days" in said(found, "TLS")


def test_https_where_nobody_speaks_it(server: FakeServer, doctor: Doctor) -> None:
    found = doctor.look(server.url.replace("http:", "https:"))
    assert doctor.code == 1
    assert "doesn't speak TLS" in said(found, "TLS")


HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: portal\r\nConnection: close\r\n\r\n<html>"
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal.lan/login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HTML, "answers 200 with text/html, by portal"),
        (PORTAL, "on to http://portal.lan/login"),
        (JSON, "answers 404"),
    ],
)
def test_something_that_is_not_garageswarm(doctor: Doctor, answer: bytes, told: str) -> None:
    stranger = Stranger(answer)
    with stranger:
        found = doctor.look(stranger.url)
    assert doctor.code == 1
    assert "isn't GarageSwarm" in said(found, "server")
    assert told in said(found, "server")
    assert "sign in to this network" in said(found, "server")
    assert "WebSocket" not in found


def test_somebody_who_takes_the_connection_and_says_nothing(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.server.CONNECT_S", 0.5)
    mute = Mute()
    with mute:
        found = doctor.look(f"http://127.0.0.1:{mute.port}")
    assert doctor.code == 1
    assert "no answer" in said(found, "server")


@pytest.mark.parametrize(
    ("off_s", "state", "told"),
    [
        (-7200, "problem", "2 h ahead of"),
        (90, "warning", "behind the server's"),
        (5, "ok", "as the server's"),
    ],
)
def test_a_wrong_clock(server: FakeServer, doctor: Doctor, off_s: int, state: str, told: str) -> None:
    """Of the two it is the server's that is moved here."""
    date = email.utils.formatdate(time.time() + off_s, usegmt=True)
    server.date = date
    found = doctor.look(server.url)
    assert said(found, "clock").startswith(state)
    assert told in said(found, "clock")
    assert state == "ok" or "timedatectl" in said(found, "clock")
    assert doctor.code == int(state == "problem")


def test_a_proxy_that_breaks_websockets(server: FakeServer, doctor: Doctor) -> None:
    server.control = FakeControl()
    stripping = Stripping(int(server.url.rpartition(":")[2]))
    with stripping:
        before = doctor.look(stripping.url)
        assert agent(doctor.storage, "join", "--server", stripping.url).returncode == 0
        after = doctor.look(stripping.url)
    for found in (before, after):
        assert doctor.code == 0, "work comes by sync"
        assert said(found, "server").startswith("ok")
        assert "warning: a proxy takes the wish for one away" in said(found, "WebSocket")
        assert "proxy_http_version 1.1" in said(found, "WebSocket")


def test_a_proxy_that_answers_the_handshake_itself(server: FakeServer, doctor: Doctor) -> None:
    server.misbehave = lambda method, path: (
        Answer(403, "<html>", "text/html") if "/agents/control" in path else None
    )
    found = doctor.look(server.url)
    assert "somebody in between refuses it (403)" in said(found, "WebSocket")


@pytest.mark.parametrize("start", ["http://ada:secret@", ""])
def test_the_environments_proxy_is_named_and_asked(
    server: FakeServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setenv("http_proxy", f"{start}127.0.0.1:{free_port()}")
    found = doctor.look("http://garage.example", "--insecure")
    assert doctor.code == 1
    assert "the way leads over 127.0.0.1:" in said(found, "proxy")
    assert "secret" not in json.dumps(found)
    assert "Connection refused" in said(found, "network")
    assert "NO_PROXY=127.0.0.1" in said(doctor.look(server.url), "proxy")


def test_a_proxy_that_makes_no_sense(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "localhost:3128")
    found = doctor.look("http://garage.example", "--insecure")
    assert said(found, "proxy").startswith("problem: the proxy in HTTP_PROXY")
    assert "name" not in found


def test_a_server_that_is_out_of_order(server: FakeServer, doctor: Doctor) -> None:
    server.misbehave = lambda *_: problem(
        503, "urn:garageswarm:error:database-busy", "The database was locked."
    )
    found = doctor.look(server.url)
    assert doctor.code == 1
    assert "out of order: The database was locked." in said(found, "server")


def test_a_server_that_is_newer(server: FakeServer, doctor: Doctor) -> None:
    server.protocol = 9
    found = said(doctor.look(server.url), "server")
    assert "newer than this agent → when it suits: python3 -m agent update" in found


# ---- the key


@pytest.mark.parametrize(
    ("answer", "state", "told"),
    [
        (problem(403, "urn:garageswarm:error:worker-pending"), "warning", "where the code is ABC-DEF"),
        (
            problem(401, "urn:garageswarm:error:unauthorized", "No valid credential."),
            "problem",
            "join anew after",
        ),
        (
            problem(403, "urn:garageswarm:error:worker-revoked", "This worker was revoked."),
            "problem",
            "was revoked",
        ),
    ],
)
def test_a_key_that_is_not_taken(
    server: FakeServer, doctor: Doctor, answer: Answer, state: str, told: str
) -> None:
    join(server, doctor.storage)
    server.misbehave = lambda method, path: answer if path.endswith("/cc-status") else None
    found = doctor.look(server.url)
    assert said(found, "key").startswith(state)
    assert told in said(found, "key")
    assert doctor.code == int(state == "problem")


# ---- each look by itself


def test_a_look_that_hangs_or_breaks_is_a_problem_and_the_others_go_on() -> None:
    def hangs() -> Verdict:
        while True:
            time.sleep(60)

    def breaks() -> Verdict:
        raise LookupError("what")

    (hung,), (broken,) = taken(Look("a", hangs), within_s=0.05), taken(Look("b", breaks))
    assert (hung.state, broken.state) == ("problem", "problem")
    assert "no answer within" in hung.text
    assert "LookupError: what" in broken.text


def test_only_an_address_that_holds_others_up_is_worth_a_word() -> None:
    assert way._dialled("1.2.3.4 answers", {"::1": "Connection refused"}).state == "ok"
    assert way._dialled("1.2.3.4 answers", {"2001:db8::1": way.SILENT}).state == "warning"


def test_without_a_server_it_says_what_is_missing(storage: Path) -> None:
    ended = agent(storage, "doctor")
    assert ended.returncode == 2
    assert "no server: give --server URL" in ended.stderr


def test_what_a_server_writes_moves_no_cursor(storage: Path) -> None:
    stranger = Stranger(HTML.replace(b"portal", b"\x1b[2J"))
    with stranger:
        ended = agent(storage, "doctor", "--server", stranger.url)
    assert "\x1b" not in ended.stdout


def test_a_server_that_goes_away_meanwhile_ends_nothing(server: FakeServer, doctor: Doctor) -> None:
    join(server, doctor.storage)
    wait_for(lambda: server.paths("/cc-status"))
    server.misbehave = lambda method, path: (
        Answer(502, "<html>", "text/html") if "/agents/w-1" in path else None
    )
    found = doctor.look(server.url)
    assert doctor.code == 1
    assert said(found, "key").startswith("problem: no answer")
