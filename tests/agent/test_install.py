"""`install`: a unit that systemd understands, written only where it can work."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from agent import commands, identity, lock, program
from agent.commands import install
from agent.errors import BadConfig, Stop
from agent.identity import Identity
from agent.unit import MARK, NAME, Unit, command
from tests.agent.one_command import agent

ME = pwd.getpwuid(os.getuid())
NEEDS_SYSTEMD = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze isn't installed"
)


class Machine:
    """One on which systemd runs, in the hands of a test: systemctl only writes down what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storage = folder / "storage"
        self.own_unit = folder / "config" / "systemd" / "user" / NAME
        self.system_unit = folder / "system" / NAME
        self._told = folder / "told"
        self._folder = folder
        (folder / "bin").mkdir()
        self.systemctl_says("exit 0")
        monkeypatch.setattr(install, "BOOTED", folder)
        monkeypatch.setattr(install, "SYSTEM_UNITS", folder / "system")
        self.environ = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        monkeypatch.setenv("PATH", self.environ["PATH"])

    def systemctl_says(self, script: str) -> None:
        path = self._folder / "bin" / "systemctl"
        # The first question is always whether it runs already: it doesn't.
        path.write_text(
            f'#!/bin/sh\necho "$*" >>{self._told}\ncase "$*" in *is-active*) exit 3;; esac\n{script}\n'
        )
        path.chmod(0o755)

    @property
    def told(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []

    def join(self) -> None:
        self.storage.mkdir()
        me = Identity("https://garage.example", "nonce", "seed", "w-1", "gsw_key", "ABC-DEF", "attic")
        identity.save(self.storage, me)

    def install(self, *words: str, **environ: str) -> int:
        chosen = commands.parse(["install", "--storage", str(self.storage), *words])
        return commands.action(chosen)(chosen, {**self.environ, **environ})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@NEEDS_SYSTEMD
@pytest.mark.parametrize("whose", [["--user"], ["--user-name", "daemon"]])
@pytest.mark.parametrize("storage", ["plain", 'a b/$HOME %h "q" \\x'])
def test_systemd_finds_no_fault_with_the_unit(whose: list[str], storage: str, tmp_path: Path) -> None:
    shown = agent(tmp_path / storage, "install", "--print", *whose, HTTPS_PROXY="http://proxy.lan:3128/%20")
    assert shown.returncode == 0
    assert not shown.stderr
    unit = tmp_path / NAME
    unit.write_text(shown.stdout)
    (tmp_path / "run").mkdir(mode=0o700)
    verified = subprocess.run(
        ["systemd-analyze", *(whose if whose == ["--user"] else []), "verify", unit],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@NEEDS_SYSTEMD
def test_systemd_would_have_found_one(tmp_path: Path) -> None:
    unit = tmp_path / NAME
    unit.write_text(Unit(["/nowhere/python", "run"], Path("/"), "daemon", {}).text())
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert verified.returncode != 0
    assert "/nowhere/python" in verified.stderr


def test_the_unit_keeps_tasks_alive_and_waits_for_the_loop(machine: Machine) -> None:
    text = install.Service(None, {"AGENT_DRAIN_S": "60"}, machine.storage).unit().text().splitlines()
    assert {
        "Type=notify",
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=always",
        "WatchdogSec=120",
    } <= set(text)
    assert "TimeoutStopSec=90" in text
    assert "Environment=AGENT_DRAIN_S=60" in text


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["/usr/bin/python3", "-m", "agent"], "/usr/bin/python3 -m agent"),
        (["/a b/python3", "100%", "$HOME", 'say "x"', "back\\slash", ""], None),
        (["/opt/$x/python3", "it's"], '"/opt/$x/python3" "it\'s"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(argv: list[str], text: str | None) -> None:
    if text is None:
        text = '"/a b/python3" "100%%" "$$HOME" "say \\"x\\"" "back\\\\slash" ""'
    assert command(argv) == text


@pytest.mark.parametrize("path", ["/a\nb", "/a ", "/a\\", "/a\x1b[1m"])
def test_a_path_that_no_unit_can_name_is_refused(path: str) -> None:
    with pytest.raises(BadConfig, match="no unit can name"):
        Unit(["/usr/bin/python3"], Path(path), "", {}).text()


def test_secrets_and_what_the_identity_knows_stay_out_of_the_unit(machine: Machine) -> None:
    environ = {
        "AGENT_JOIN_TOKEN": "gsj_s3cret",
        "AGENT_SERVER_URL": "https://garage.example",
        "AGENT_SLOTS": "3",
        "HTTPS_PROXY": "http://ada:s3cret@proxy.lan",
        "http_proxy": "http://proxy.lan",
    }
    text = install.Service(ME, environ, machine.storage).unit().text()
    assert "s3cret" not in text
    assert "AGENT_SERVER_URL" not in text
    assert "Environment=AGENT_SLOTS=3" in text
    assert "Environment=http_proxy=http://proxy.lan" in text


def test_paths_mean_in_the_unit_what_they_mean_in_this_shell(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "AGENT_JOBS_WORKSPACE": "jobs",
        "AGENT_POLICY": "~/policy.ini",
        "REQUESTS_CA_BUNDLE": "/ca.pem",
    }
    unit = install.Service(ME, environ, machine.storage).unit()
    assert unit.environ == {**environ, "AGENT_JOBS_WORKSPACE": str(tmp_path / "jobs")}


def test_a_service_of_ones_own_is_written_enabled_and_started(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.join()
    assert machine.install("--user") == 0
    assert machine.own_unit.read_text().startswith(MARK)
    assert machine.told[1:] == ["--user daemon-reload", f"--user enable {NAME}", f"--user restart {NAME}"]
    said = capsys.readouterr().out
    assert "loginctl enable-linger" in said
    assert "install --remove --user" in said


def test_said_twice_it_is_written_anew_and_removed_it_is_gone(machine: Machine) -> None:
    machine.join()
    machine.install("--user")
    machine.install("--user", AGENT_SLOTS="7")
    assert "AGENT_SLOTS=7" in machine.own_unit.read_text()
    assert machine.install("--user", "--remove") == 0
    assert not machine.own_unit.exists()
    assert machine.told[-2:] == [f"--user disable --now {NAME}", "--user daemon-reload"]
    assert identity.look(machine.storage) is not None
    assert machine.install("--user", "--remove") == 0, "said twice"


def test_who_has_not_joined_is_told_to(machine: Machine) -> None:
    with pytest.raises(Stop, match="belongs to no worker yet"):
        machine.install("--user")
    assert not machine.own_unit.exists()


def test_a_unit_that_another_wrote_or_of_another_storage_stays(machine: Machine, tmp_path: Path) -> None:
    machine.join()
    machine.own_unit.parent.mkdir(parents=True)
    for text in ("[Unit]\n", install.Service(None, {}, tmp_path / "other").unit().text()):
        machine.own_unit.write_text(text)
        for words in ([], ["--remove"]):
            with pytest.raises(Stop, match="of another agent"):
                machine.install("--user", *words)
        assert machine.own_unit.read_text() == text


def test_an_agent_that_was_started_by_hand_is_in_the_way(machine: Machine) -> None:
    machine.join()
    assert lock.take(machine.storage)
    with pytest.raises(Stop, match=f"process {os.getpid()}"):
        machine.install("--user")


def test_what_systemctl_says_is_passed_on(machine: Machine) -> None:
    machine.join()
    machine.systemctl_says("echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(Stop, match="systemctl --user daemon-reload failed: Failed to connect to bus"):
        machine.install("--user")


def test_where_there_is_no_systemd_it_says_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "BOOTED", Path("/nowhere"))
    machine.storage = machine.storage.with_name("a b")
    with pytest.raises(Stop, match=r"crontab.*@reboot cd .* --storage '.*/a b'$"):
        machine.install("--user")
    assert machine.told == []


def test_root_has_to_say_whose_account_tasks_run_as(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.commands.install.os.geteuid", lambda: 0)
    with pytest.raises(BadConfig, match="--user-name NAME"):
        machine.install()
    with pytest.raises(BadConfig, match="no account 'nobody-at-all'"):
        machine.install("--user-name", "nobody-at-all")


def test_others_than_root_have_to_choose(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.commands.install.os.geteuid", lambda: 1000)
    with pytest.raises(BadConfig, match=r"needs root: sudo .* --user-name .*, or --user"):
        machine.install()


def as_root(machine: Machine, monkeypatch: pytest.MonkeyPatch, tries: str) -> None:
    """Root installs for the account that runs this test. `tries` stands for the agent."""
    machine.join()
    monkeypatch.setattr("agent.commands.install.os.geteuid", lambda: 0)
    monkeypatch.setattr(program, "argv", lambda: shlex.split(tries))
    machine.install("--user-name", ME.pw_name)


def test_root_installs_for_an_account(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(machine, monkeypatch, "/bin/true")
    assert f"User={ME.pw_name}\n" in machine.system_unit.read_text()
    assert machine.told[-1] == f"restart {NAME}"


def test_to_remove_it_root_needs_not_say_whose_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(machine, monkeypatch, "/bin/true")
    chosen = commands.parse(["install", "--remove"])
    assert commands.action(chosen)(chosen, machine.environ) == 0
    assert not machine.system_unit.exists()


@pytest.mark.parametrize("tries", ["/bin/false", "/nowhere/python3", "/etc"])
def test_an_agent_that_the_account_cannot_start_is_not_installed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tries: str
) -> None:
    with pytest.raises(Stop, match=r"can't start .*: put it where"):
        as_root(machine, monkeypatch, tries)
    assert not machine.system_unit.exists()


def test_a_storage_of_another_account_is_not_installed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.join()
    monkeypatch.setattr("agent.commands.install.os.geteuid", lambda: 0)
    other = next(one for one in pwd.getpwall() if one.pw_uid != ME.pw_uid)
    with pytest.raises(Stop, match=f"isn't {other.pw_name}'s: chown"):
        machine.install("--user-name", other.pw_name)
