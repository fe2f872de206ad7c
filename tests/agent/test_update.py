"""`update`: what is fetched, checked, tried and swapped; and when a running agent makes way for its successor."""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agent
from agent import clock, exits, identity, program, update
from agent.commands import update as command
from agent.errors import Stop
from agent.identity import Identity
from tests.agent.fake_server import Answer, FakeServer, problem

# What stands for agent.pyz here: small, and it starts.
STARTS = "print('9.9.9')"


def pyz(main: str = STARTS) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)  # the same bytes at any time
    return made.getvalue()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that this program seems to run from."""
    path = tmp_path / "bin" / "agent.pyz"
    path.parent.mkdir()
    path.write_bytes(pyz("print('0.0.1')"))
    monkeypatch.setattr(program, "archive", lambda: path)
    monkeypatch.setattr(agent, "__path__", [str(path / "agent")])
    return path


@pytest.fixture
def joined(server: FakeServer, storage: Path) -> Path:
    storage.mkdir()
    identity.save(storage, Identity(server.url, "nonce", "seed", "w-1", "gsw_key", "ABC-DEF", "attic"))
    return storage


def gives(server: FakeServer, content: bytes, instead: Answer | None = None, **said: Any) -> dict[str, Any]:
    """The server gives this file away. `instead`: another answer for the file; `said`: what it says wrongly."""
    release = {
        "version": "9.9.9",
        "protocol": agent.PROTOCOL,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "url": "/agent.pyz?sha256=x",
        **said,
    }

    def answer(_method: str, path: str) -> Answer | None:
        if path == "/api/v1/agents/release":
            return Answer(200, release)
        return (instead or Answer(200, content, "application/zip")) if path.startswith("/agent.pyz") else None

    server.misbehave = answer
    return release


def act(storage: Path, **chosen: bool) -> int:
    said = {"back": False, "force": False, **chosen}
    return command.act(argparse.Namespace(storage=str(storage), **said), {})


def refused(storage: Path, **chosen: bool) -> str:
    with pytest.raises(Stop) as found:
        act(storage, **chosen)
    assert found.value.code == exits.REFUSED
    return str(found.value)


def test_it_takes_what_the_server_gives_away_and_keeps_the_one_before(
    server: FakeServer, installed: Path, joined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, fresh = installed.read_bytes(), pyz()
    installed.chmod(0o640)
    release = gives(server, fresh)
    assert act(joined) == exits.DONE
    assert (installed.read_bytes(), update.former(installed).read_bytes()) == (fresh, before)
    assert {path.name for path in installed.parent.iterdir()} == {"agent.pyz", "agent.pyz.old"}
    assert installed.stat().st_mode & 0o777 == 0o640
    assert (
        f"is version 9.9.9 now (it was {agent.__version__}), sha256 {release['sha256']}"
        in capsys.readouterr().out
    )


def test_said_twice_there_is_nothing_to_do(
    server: FakeServer, installed: Path, joined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gives(server, installed.read_bytes())
    assert act(joined) == exits.DONE
    assert "Nothing to do" in capsys.readouterr().out
    assert server.paths("/agent.pyz") == []
    assert not update.former(installed).exists()


def test_back_brings_the_former_one_and_back_again_the_newer(
    server: FakeServer, installed: Path, joined: Path
) -> None:
    before, fresh = installed.read_bytes(), pyz()
    gives(server, fresh)
    act(joined)
    act(joined, back=True)
    assert (installed.read_bytes(), update.former(installed).read_bytes()) == (before, fresh)
    act(joined, back=True)
    assert (installed.read_bytes(), update.former(installed).read_bytes()) == (fresh, before)


def test_the_workers_key_isnt_sent_for_it(server: FakeServer, installed: Path, joined: Path) -> None:
    gives(server, pyz())
    act(joined)
    assert len(server.requests) == 2
    assert not any("x-worker-api-key" in headers for _, _, headers in server.requests)


Give = Callable[[FakeServer], object]
BROKEN = "import sys; sys.exit('agent: it needs Python 9.0 or newer')"


@pytest.mark.parametrize(
    ("give", "why"),
    [
        (lambda server: gives(server, pyz(), sha256="0" * 64), "another checksum"),
        (
            lambda server: gives(server, pyz(), Answer(200, pyz() + b"more", "application/zip")),
            "another checksum",
        ),
        (lambda server: gives(server, pyz(), Answer(200, pyz()[:-1], "application/zip")), "another checksum"),
        (lambda server: gives(server, pyz(BROKEN)), "Python 9.0 or newer"),
        (lambda server: gives(server, b"no archive"), "doesn't start here"),
        (
            lambda server: gives(server, pyz(), problem(404, detail="another agent by now")),
            "another agent by now",
        ),
        (
            lambda server: gives(server, pyz(), Answer(502, "<p>bad gateway", "text/html")),
            "isn't the server's",
        ),
        (
            lambda server: gives(server, pyz(), Answer(302, "", headers={"Location": "http://x/"})),
            "never followed",
        ),
        (lambda server: gives(server, pyz(), url="http://192.0.2.1/agent.pyz"), "doesn't say which agent"),
        (lambda server: gives(server, pyz(), url="@192.0.2.1/agent.pyz"), "doesn't say which agent"),
        (lambda server: gives(server, pyz(), size=10**12), "doesn't say which agent"),
        (lambda server: gives(server, pyz(), size=True), "doesn't say which agent"),
        (lambda server: gives(server, pyz(), protocol="2"), "doesn't say which agent"),
        (
            lambda server: setattr(server, "misbehave", lambda *_: problem(404, detail="nothing")),
            "404 nothing",
        ),
    ],
)
def test_what_isnt_right_changes_nothing(
    server: FakeServer, installed: Path, joined: Path, give: Give, why: str
) -> None:
    before = installed.read_bytes()
    give(server)
    assert why in refused(joined)
    assert installed.read_bytes() == before
    assert [path.name for path in installed.parent.iterdir()] == ["agent.pyz"]


def test_a_step_back_in_the_protocol_has_to_be_meant(
    server: FakeServer, installed: Path, joined: Path
) -> None:
    gives(server, pyz(), protocol=agent.PROTOCOL - 1)
    assert "--force" in refused(joined)
    assert act(joined, force=True) == exits.DONE
    assert installed.read_bytes() == pyz()


def test_in_a_checkout_it_says_what_to_update_instead(storage: Path) -> None:
    assert "runs from a checkout: update that" in refused(storage)


def test_who_hasnt_joined_has_nobody_to_ask(installed: Path, storage: Path) -> None:
    assert "join first" in refused(storage)


def test_there_is_no_way_back_before_the_first_update(installed: Path, joined: Path) -> None:
    assert "nothing was updated here yet" in refused(joined, back=True)


@pytest.mark.parametrize("taken", ["agent.pyz.old", "agent.pyz.new"])
def test_where_the_file_cant_be_replaced_it_says_so_and_nothing_has_changed(
    server: FakeServer, installed: Path, joined: Path, taken: str
) -> None:
    before = installed.read_bytes()
    (installed.parent / taken).mkdir()
    gives(server, pyz())
    assert "can't be replaced" in refused(joined)
    assert installed.read_bytes() == before


# ---- a running agent


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


def test_it_makes_way_between_tasks_or_when_that_takes_too_long(installed: Path, now: list[float]) -> None:
    successor = update.Successor()
    assert not successor.is_due(is_idle=True)
    update.swap(installed, pyz())
    assert not successor.is_due(is_idle=False)
    assert successor.is_due(is_idle=True)
    now[0] += update.IDLE_WITHIN_S - 1
    assert not successor.is_due(is_idle=False)
    now[0] += 1
    assert successor.is_due(is_idle=False)


def test_a_file_that_is_half_there_or_gone_is_no_successor(installed: Path) -> None:
    successor = update.Successor()
    installed.write_bytes(pyz()[:-30])
    assert not successor.is_due(is_idle=True)
    installed.unlink()
    assert not successor.is_due(is_idle=True)
    installed.write_bytes(pyz())
    assert successor.is_due(is_idle=True)


def test_an_agent_of_a_checkout_has_no_successor() -> None:
    assert not update.Successor().is_due(is_idle=True)
