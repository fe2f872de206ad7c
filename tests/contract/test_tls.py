"""A real server that speaks TLS, with a certificate of its own making or with files, and real agents that know it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import certificates
from tests.agent.tls_world import Impostor
from tests.contract.raw_agent import Agent
from tests.stack import Process, Stack, eventually, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ANOTHER = "sha256:" + "0" * 64
PRINT = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("tls"), tls="self") as started:
        started.start_agent()
        yield started
        assert started.server is not None
        assert "Traceback" not in started.server.output()


def stored(stack: Stack, name: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((stack.folder / name / "identity.json").read_text())
    return content


def is_connected(stack: Stack, name: str) -> bool:
    """Its control socket is open."""
    worker_id = stack.worker(name)["id"]
    items = stack.api("GET", "/agents/connected").json()["items"]
    return any(item["agent_id"] == worker_id and item["connected"] for item in items)


def bare(stack: Stack) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(stack.trust))
    plain = socket.create_connection(("127.0.0.1", stack.port), 30)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_an_agent_that_pins_the_certificate_joins_works_and_has_its_socket_and_its_log(stack: Stack) -> None:
    eventually(lambda: is_connected(stack, "agent-1"), what="the control socket")
    task = stack.submit(PRINT, worker_id=stack.worker("agent-1")["id"])
    assert stack.ended(task)["status"] == "completed"
    assert stack.log(task) == b"".join(b"line %d\n" % number for number in range(20000))
    assert stored(stack, "agent-1")["pin"] == stack.fingerprint


@pytest.mark.parametrize("size", [250, 1500])
def test_a_frame_longer_than_a_tls_record_is_heard_at_once(stack: Stack, size: int) -> None:
    """What OpenSSL has read already never wakes anybody who waits for the network: it would lie there for 25 s."""
    agent = Agent(stack)
    agent.sync()
    with agent.connected() as line:
        line.beat()
        message = line.say("heartbeat", **agent.body([f"{number:036}" for number in range(size)]))
        assert len(line.hear("ack", message)["unknown"]) == size


def parked(agent: Agent) -> ssl.SSLSocket:
    """A call of this worker that waits for work."""
    body = json.dumps(agent.body(wait_s=25)).encode()
    head = (
        f"POST /api/v1/workers/{agent.id}/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Worker-API-Key: {agent.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    call = bare(agent.stack)
    call.sendall(head.encode() + body)
    return call


def is_up(stack: Stack, port: int) -> bool:
    """Whether the server's system has this connection of ours for a whole one."""
    found = psutil.net_connections("tcp4")
    ends = [one for one in found if one.laddr.port == stack.port and one.raddr and one.raddr.port == port]
    return any(one.status == psutil.CONN_ESTABLISHED for one in ends)


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_call_whose_agent_has_gone_claims_nothing(stack: Stack, says_goodbye: bool) -> None:
    agent, other = Agent(stack), Agent(stack)
    agent.sync()
    call = parked(agent)
    port = call.getsockname()[1]
    eventually(lambda: stack.worker(agent.name)["shown_status"] == "online", what="the call to be parked")
    assert is_up(stack, port)
    if says_goodbye:  # TLS's own farewell: bytes that are no request
        call.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            call.unwrap()
    call.close()
    eventually(lambda: not is_up(stack, port), what="the server's system to know that it went")
    task = agent.task()
    other.task()
    work(other)  # by now whoever waited has been woken, and has looked
    assert stack.task(task)["status"] == "queued"
    assert work(agent) == task


def work(agent: Agent) -> str:
    """Take one task, and report that it is done."""
    (offer,) = agent.sync(wait_s=20)["offers"]
    assert agent.report(offer).status_code == 200
    return str(offer["task_id"])


def test_plain_http_is_told_to_use_https_and_keeps_nobody_busy(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), 30) as plain:
        plain.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        plain.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: plain.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"begin the address with https://" in answer


def test_who_never_says_a_word_is_let_go(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), 30) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_refused(stack: Stack, newest: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = newest
    with (
        socket.create_connection(("127.0.0.1", stack.port), 30) as plain,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain)


def test_the_fingerprint_is_the_same_after_a_restart_and_agents_come_back(tmp_path: Path) -> None:
    with running_stack(tmp_path, tls="self", sync_wait_s=1, lease_s=4, offline_after_s=2) as stack:
        stack.start_agent()
        pem = ssl.get_server_certificate(("127.0.0.1", stack.port))
        assert stack.server is not None
        stack.server.stop()
        eventually(lambda: "no answer from" in stack.agents[0].output(), what="the agent to miss its server")
        stack.start_server()
        assert ssl.get_server_certificate(("127.0.0.1", stack.port)) == pem
        assert stack.ended(stack.submit("true"))["status"] == "completed"


def test_a_server_in_the_place_of_the_pinned_one_learns_neither_key_nor_token(tmp_path: Path) -> None:
    with running_stack(tmp_path, tls="self") as stack:
        agent = stack.start_agent()
        agent.kill()
        assert stack.server is not None
        stack.server.stop()
        impostor = Impostor(certificates.make(tmp_path, "impostor"), stack.port)
        with impostor:
            # Without AGENT_PIN: the stored one holds.
            agent = stack.start_agent(join=False, pin="", join_token="gsj_secret")
            assert impostor.heard_of(3) == [b""] * 3
        assert "somebody is in between" in agent.output()
        stack.start_server()
        eventually(lambda: "connected to" in agent.output(), what="the agent to know its server again")


def test_files_of_ones_own_are_served_and_their_authority_is_enough(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path, "authority")
    pair = certificates.make(tmp_path, "server", authority)
    with pair.cert_file.open("ab") as chain:
        chain.write(authority.cert_file.read_bytes())
    with running_stack(tmp_path, tls_cert=pair.cert_file, tls_key=pair.key_file) as stack:
        bundle = {"REQUESTS_CA_BUNDLE": str(authority.cert_file), "AGENT_PIN": ""}
        stack.start_agent(environment=bundle)
        eventually(lambda: is_connected(stack, "agent-1"), what="the control socket")
        assert stack.ended(stack.submit("true"))["status"] == "completed"
        assert stored(stack, "agent-1")["pin"] == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TLS_CERT": "own.pem"}, "TLS_CERT needs TLS_KEY"),
        ({"TLS_CERT": "own.pem", "TLS_KEY": "other.key"}, "doesn't belong to the certificate"),
        ({"TLS_CERT": "over.pem", "TLS_KEY": "over.key"}, "expired on"),
        ({"TLS": "yes"}, "TLS='yes': must be self"),
    ],
)
def test_a_certificate_that_cannot_be_served_stops_the_start_in_one_line(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    for name, days in (("own", 30.0), ("other", 30.0), ("over", -3.0)):
        certificates.make(tmp_path, name, days=days)
    files = {name: str(tmp_path / value) if "." in value else value for name, value in settings.items()}
    environment = {"GSW_INSTANCE_PATH": str(tmp_path / "instance"), **files}
    server = Process(["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], environment, tmp_path / "log")
    assert server.process.wait(60) != 0
    assert "Traceback" not in server.output()
    (line,) = server.output().strip().splitlines()
    assert line.startswith("GarageSwarm can't start")
    assert said in line
