"""Where a credential isn't: in no argument, environment, file, log, event or answer, while git runs and afterwards."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import urllib.parse
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract.projects import Garage, Project
from tests.git.http_remote import HttpRemote
from tests.git.repositories import git
from tests.git.ssh_remote import SshRemote
from tests.services import need

# Letters that look otherwise where they are part of a URL.
PASSWORD = "canary/of+leaks=7f3a&"
# Each call of git by the agent, as it was called, goes into a file.
SPY = """#!/bin/sh
{{ printf 'CALL %s\\n' "$*"; env; printf 'END\\n'; }} >>'{calls}'
exec '{git}' "$@"
"""


@pytest.fixture(scope="module")
def spied(garage: Garage, tmp_path_factory: pytest.TempPathFactory) -> Garage:
    """Another agent, whose git tells how it was called."""
    need("git")
    folder = tmp_path_factory.mktemp("spy")
    program = folder / "git"
    program.write_text(SPY.format(calls=folder / "calls", git=shutil.which("git")))
    program.chmod(0o755)
    garage.stack.start_agent(
        "spied", environment={"PATH": f"{folder}:{os.environ['PATH']}"}, disk_floor_bytes=0
    )
    return Spied(garage, folder / "calls")


class Spied(Garage):
    def __init__(self, garage: Garage, calls: Path) -> None:
        super().__init__(garage.stack, "spied")
        self._calls = calls

    @property
    def calls(self) -> list[str]:
        """Arguments and environment of each, in order."""
        return self._calls.read_text().split("CALL ")[1:] if self._calls.exists() else []


def forms(secret: str) -> list[bytes]:
    """As it might stand somewhere."""
    encoded = [urllib.parse.quote(secret, safe=""), base64.b64encode(secret.encode()).decode()]
    basic = base64.b64encode(f"mira:{secret}".encode()).decode()
    return [form.encode() for form in (secret, *encoded, basic, secret.encode().hex())]


def key_forms(private_key: str) -> list[bytes]:
    """Each line by itself, as a log or an argument would have it."""
    return [line.encode() for line in private_key.splitlines() if not line.startswith("-") and len(line) > 20]


def found_in(content: bytes, secrets: list[bytes]) -> bool:
    return any(secret in content for secret in secrets)


def processes_that_know(secrets: list[bytes]) -> list[str]:
    """By their arguments or their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        for what in ("cmdline", "environ"):
            with suppress(OSError):
                if int(place.name) != os.getpid() and found_in((place / what).read_bytes(), secrets):
                    found.append(f"{what} of {(place / 'cmdline').read_bytes()!r}")
    return found


def files_that_know(folder: Path, secrets: list[bytes]) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink() and found_in(path.read_bytes(), secrets):
                found.append(str(path))
    return found


def answers_that_know(project: Project, task_id: str, secrets: list[bytes]) -> list[str]:
    """All that the API says of it."""
    paths = [
        "/projects",
        project.path,
        f"{project.path}/status",
        f"/tasks/{task_id}",
        f"/tasks/{task_id}/log",
        f"/tasks/{task_id}/events",
        "/credentials",
        "/host-keys",
    ]
    return [path for path in paths if found_in(project.garage.stack.api("GET", path).content, secrets)]


def nobody_knows(project: Project, task_id: str, secrets: list[bytes]) -> None:
    """After the end."""
    garage = project.garage
    assert processes_that_know(secrets) == []
    assert files_that_know(garage.stack.folder, secrets) == []
    assert answers_that_know(project, task_id, secrets) == []


def test_a_token_is_in_the_attempts_private_files_while_git_fetches_and_nowhere_afterwards(
    spied: Spied, http_remote: HttpRemote
) -> None:
    http_remote.ways.accounts = {"mira": PASSWORD}
    secrets = forms(PASSWORD)
    token = spied.token(http_remote.host, PASSWORD)
    http_remote.stall_packs()
    begun = spied.begin(http_remote.url(http_remote.filled()), credential_id=token)
    project = Project(spied, begun["project_id"])
    assert http_remote.stalled.wait(60)
    assert processes_that_know(secrets) == []
    holding = files_that_know(spied.stack.folder, secrets)
    assert {Path(path).name for path in holding} <= {"secret", "journal.json"}, holding
    for path in holding:
        assert path.startswith(f"{spied.storage}/jobs/"), path
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert answers_that_know(project, begun["task_id"], secrets) == []
    http_remote.let_go()
    assert spied.stack.ended(begun["task_id"])["status"] == "completed"
    assert http_remote.packs()[-1].credential == f"mira:{PASSWORD}"
    nobody_knows(project, begun["task_id"], secrets)


@pytest.mark.slow
def test_a_token_is_nowhere_after_a_clone_that_failed_was_cancelled_or_pulled(
    spied: Spied, http_remote: HttpRemote
) -> None:
    http_remote.ways.accounts = {"mira": PASSWORD}
    secrets = forms(PASSWORD)
    repository = http_remote.filled()
    token = spied.token(http_remote.host, PASSWORD)
    http_remote.stall_packs()
    begun = spied.begin(http_remote.url(repository), credential_id=token)
    project = Project(spied, begun["project_id"])
    assert http_remote.stalled.wait(60)
    spied.asked("POST", f"/tasks/{begun['task_id']}/cancel")
    assert spied.stack.ended(begun["task_id"])["status"] == "cancelled"
    http_remote.let_go()
    nobody_knows(project, begun["task_id"], secrets)
    http_remote.ways.cut_after = 10
    nobody_knows(project, project.again()["id"], secrets)
    http_remote.ways.cut_after = None
    assert project.again()["status"] == "completed"
    repository.commit({"README": "new\n"})
    nobody_knows(project, project.pull()["id"], secrets)


@pytest.mark.slow
def test_an_ssh_key_is_nowhere_afterwards(spied: Spied, ssh_remote: SshRemote) -> None:
    secrets = key_forms(ssh_remote.private_key)
    repository = ssh_remote.filled()
    key = spied.ssh_key(f"127.0.0.1:{ssh_remote.port}", ssh_remote.private_key)
    project = spied.cloned(ssh_remote.url(repository), credential_id=key)
    repository.commit({"README": "new\n"})
    nobody_knows(project, project.pull()["id"], secrets)
    assert not any(found_in(call.encode(), secrets) for call in spied.calls)


def test_git_is_told_of_the_credential_only_while_it_fetches_into_the_mirror(
    spied: Spied, http_remote: HttpRemote
) -> None:
    """What runs in a checkout sees neither where the secret was nor who asks for it."""
    http_remote.ways.accounts = {"mira": PASSWORD}
    before = len(spied.calls)
    project = spied.cloned(
        http_remote.url(http_remote.filled()), credential_id=spied.token(http_remote.host, PASSWORD)
    )
    project.pull()
    calls = spied.calls[before:]
    assert not any(found_in(call.encode(), forms(PASSWORD)) for call in calls)
    asking = [call for call in calls if "access/askpass" in call]
    assert asking, "no git was told whom to ask"
    for call in calls:
        is_in_a_checkout = str(spied.storage / "projects") in call.partition("\n")[0]
        assert not (is_in_a_checkout and call in asking), call


@pytest.mark.slow
def test_git_sees_nothing_of_the_agents_environment_or_of_the_machines_configuration(
    spied: Spied, http_remote: HttpRemote
) -> None:
    before = len(spied.calls)
    spied.cloned(http_remote.url(http_remote.filled()))
    calls = [call for call in spied.calls[before:] if "--version" not in call.partition("\n")[0]]
    assert calls
    for call in calls:
        assert "GIT_CONFIG_NOSYSTEM=1" in call
        assert "GIT_CONFIG_GLOBAL=/dev/null" in call
        assert "GIT_TERMINAL_PROMPT=0" in call
        assert "AGENT_" not in call
        assert f"HOME={Path.home()}\n" not in call


@pytest.mark.slow
def test_what_a_task_left_around_git_sends_the_credential_nowhere_else(
    spied: Spied, http_remote: HttpRemote, tmp_path: Path
) -> None:
    """Settings beside the mirror, and in a folder above: each would send it by way of another server."""
    http_remote.ways.accounts = {"mira": PASSWORD}
    repository = http_remote.filled()
    token = spied.token(http_remote.host, PASSWORD)
    project = spied.cloned(http_remote.url(repository), credential_id=token)
    repository.commit({"README": "new\n"})
    with HttpRemote(tmp_path / "evil") as evil:
        config = f"[core]\n\trepositoryformatversion = 0\n[http]\n\tproxy = http://{evil.host}\n"
        git("init", "--quiet", "above", cwd=tmp_path)
        (tmp_path / "above" / ".git" / "config").write_text(config)
        shutil.copytree(tmp_path / "above" / ".git", spied.storage / ".git")
        for mirror in (spied.storage / "mirrors").glob("*.git"):
            (mirror / "commondir").write_text(f"{tmp_path}/above/.git\n")
        task = project.pull()
        shutil.rmtree(spied.storage / ".git")
        assert evil.seen == []
    assert task["status"] == "completed", spied.stack.log(task["id"])
    assert project.checkout["commit"] == repository.head()
