"""The edge of the agent: which answers count, and where the key goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent import retry
from agent.logs import Piece
from agent.server import Refused, Server, Unreachable
from tests.agent.fake_server import Answer, FakeServer, problem
from tests.faults.proxy import Proxy


@pytest.fixture
def client(server: FakeServer) -> Server:
    return Server(server.url, "w-1", "gsw_key")


def test_a_redirect_is_not_followed_and_the_key_stays(server: FakeServer, client: Server) -> None:
    with FakeServer() as elsewhere:
        server.misbehave = lambda *_: Answer(307, {}, headers={"Location": f"{elsewhere.url}/api/v1/x"})
        with pytest.raises(Unreachable, match="redirected"):
            client.sync({}, 0)
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>Sign in</html>", "text/html"),
        Answer(502, "<html>Bad Gateway</html>", "text/html"),
        Answer(404, "not found", "text/plain"),
        Answer(200, "{", "application/json"),
        Answer(200, "[]", "application/json"),
        Answer(503, {}),
        Answer(429, {}),
        Answer(408, {}),
        Answer(425, {}),
    ],
)
def test_what_is_not_ours_or_may_change_is_to_be_repeated(
    server: FakeServer, client: Server, answer: Answer
) -> None:
    server.misbehave = lambda *_: answer
    with pytest.raises(Unreachable):
        client.sync({}, 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)]
)
def test_retry_after_is_read_in_seconds_only(
    server: FakeServer, client: Server, text: str, seconds: float | None
) -> None:
    server.misbehave = lambda *_: Answer(503, {}, headers={"Retry-After": text})
    with pytest.raises(Unreachable) as caught:
        client.sync({}, 0)
    assert caught.value.retry_after_s == seconds


def test_a_refusal_says_its_type_and_where_the_log_goes_on(server: FakeServer, client: Server) -> None:
    server.misbehave = lambda *_: problem(
        416, "urn:garageswarm:error:log-gap", "Send from 10.", next_offset=10
    )
    with pytest.raises(Refused, match="Send from 10") as caught:
        client.log_chunk("t", "a", Piece(20, b"x"))
    assert (caught.value.type, caught.value.next_offset) == ("urn:garageswarm:error:log-gap", 10)


def test_a_refused_connection_names_its_cause() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        Server("http://127.0.0.1:9").sync({}, 0)


def test_no_password_from_netrc_is_sent(
    server: FakeServer, client: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ada password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.misbehave = lambda *_: Answer(200, {})
    client.sync({}, 0)
    assert "authorization" not in server.requests[0][2]


def test_a_data_url_that_leads_elsewhere_is_refused(server: FakeServer, client: Server) -> None:
    for url in ("https://evil.example/api/v1/", "//evil.example/", "@evil.example/", ".evil.example/api/v1/"):
        with pytest.raises(Refused):
            client.task_data(url)
    assert server.requests == []


def test_small_chunks_are_plain_and_larger_ones_packed(server: FakeServer, client: Server) -> None:
    server.misbehave = lambda *_: Answer(200, {})
    client.log_chunk("t", "a", Piece(0, b"x" * 256))
    client.log_chunk("t", "a", Piece(256, b"x" * 257))
    packed = [headers.get("content-encoding") for _, _, headers in server.requests]
    assert packed == [None, "gzip"]


def test_delays_grow_to_a_cap_with_full_jitter() -> None:
    for failures, bound in [(1, 0.5), (2, 1.0), (5, 8.0), (50, 60.0), (10_000, 60.0)]:
        delays = [retry.delay_s(failures) for _ in range(200)]
        assert 0 <= min(delays) < bound / 4
        assert bound / 2 < max(delays) <= bound


def test_what_the_server_asks_for_is_waited_in_any_case() -> None:
    assert 30 <= retry.delay_s(1, cap_s=5, retry_after_s=30) <= 31
    assert retry.delay_s(1, retry_after_s=10**9) <= 3601


def test_where_one_connection_breaks_every_thread_dials_anew(server: FakeServer) -> None:
    """What others keep open for later may be half-open too, and each would cost its own time-out."""
    proxy = Proxy(int(server.url.rpartition(":")[2]))
    proxy.pass_on()
    agent = Server(proxy.url, "w-1", "gsw_key")
    body: dict[str, Any] = {"held": [], "reports": [], "accepting": False, "slots": 1}
    with ThreadPoolExecutor(1) as other:
        for _ in range(2):
            other.submit(agent.sync, body, 0).result()
        assert proxy.connections == 1, "one that works is used again"
        proxy.lose_reply(lambda *_: True)
        with pytest.raises(Unreachable):
            agent.sync(body, 0)
        for _ in range(2):
            other.submit(agent.sync, body, 0).result()
    assert proxy.connections == 3
    proxy.close()
