from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import BadConfig
from tests.agent.conftest import ROOT, StartAgent, loaded, wait_for
from tests.agent.fake_server import FakeServer

URL = {"AGENT_SERVER_URL": "https://garage.example"}


def run_agent(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AGENT_")}
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_command_line_overrules_the_environment() -> None:
    environ = {**URL, "AGENT_NAME": "cellar", "AGENT_LABELS": "site=lab gpu=3060", "AGENT_SLOTS": "3"}
    settings = loaded(["run", "--name", "attic", "--label", "site=attic", "--slots", "5"], environ)
    assert (settings.name, settings.slots) == ("attic", 5)
    assert settings.labels == {"site": "attic", "gpu": "3060"}


def test_run_is_the_default_command_and_defaults_fit_the_machine(tmp_path: Path) -> None:
    settings = loaded([], {**URL, "AGENT_STORAGE_PATH": str(tmp_path)})
    assert settings.slots >= 2
    assert settings.plan_limit >= 1
    assert settings.jobs == tmp_path / "jobs"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "no server"),
        ({"AGENT_SERVER_URL": "garage.example"}, "must look like"),
        ({"AGENT_SERVER_URL": "ftp://garage.example"}, "must look like"),
        ({"AGENT_SERVER_URL": "https://garage.example:99999"}, "can't be read"),
        ({"AGENT_SERVER_URL": "https://u:p@garage.example"}, "no user"),
        ({"AGENT_SERVER_URL": "http://garage.example"}, "not https"),
        ({"AGENT_SERVER_URL": "http://localhost.evil.example"}, "not https"),
        ({**URL, "AGENT_SLOTS": "many"}, "AGENT_SLOTS"),
        ({**URL, "AGENT_SLOTS": "0"}, "AGENT_SLOTS"),
        ({**URL, "AGENT_SLOTS": "-1"}, "AGENT_SLOTS"),
        ({**URL, "AGENT_PLAN_LIMIT": "1.5"}, "AGENT_PLAN_LIMIT"),
        ({**URL, "AGENT_LABELS": "site"}, "label 'site'"),
        ({**URL, "AGENT_NAME": "a\tb"}, "name"),
        ({**URL, "AGENT_INSECURE": "maybe"}, "AGENT_INSECURE"),
    ],
)
def test_a_malformed_setting_is_refused(environ: dict[str, str], told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        loaded([], environ)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--server", "http://127.0.0.1:8000/"], {}),
        (["--server", "http://[::1]:8000"], {}),
        (["--server", "http://localhost"], {}),
        (["--server", "http://garage.lan", "--insecure"], {}),
        (["--server", "http://garage.lan"], {"AGENT_INSECURE": "1"}),
    ],
)
def test_plain_http_is_for_loopback_and_for_those_who_ask(
    arguments: list[str], environ: dict[str, str]
) -> None:
    assert not loaded(arguments, environ).server_url.endswith("/")


@pytest.mark.parametrize("arguments", [["--slots"], ["--lables", "a=b"], ["walk"], ["--serv", "x"]])
def test_a_wrong_argument_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    ended = run_agent(*arguments, **URL)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


def test_a_bad_setting_is_one_line_and_exit_code_2() -> None:
    ended = run_agent("run", AGENT_SERVER_URL="http://garage.example")
    assert ended.returncode == 2
    assert ended.stderr.startswith("agent: http://garage.example is not https")
    assert ended.stderr.count("\n") == 1


def test_storage_that_is_a_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run_agent("--storage", str(tmp_path / "file"), **URL)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_a_second_agent_on_the_same_storage_is_refused(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    wait_for(lambda: server.syncs)
    ended = run_agent("--server", server.url, "--storage", str(storage))
    assert ended.returncode == 3
    assert ended.stderr == f"agent: another agent is using {storage}\n"


def test_storage_is_readable_for_its_owner_only(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    wait_for(lambda: server.syncs)
    for directory in (storage, storage / "jobs", storage / "spool"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
