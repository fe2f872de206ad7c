"""The remotes that tests start must be whole, private, and gone afterwards: a plain git tells."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.certificates import make as make_certificate
from tests.git.http_remote import HttpRemote
from tests.git.repositories import ENVIRONMENT, git
from tests.git.ssh_remote import SshRemote, make_key
from tests.services import need


def clone(url: str, to: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "clone", *options, "--", url, str(to)],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_repository_is_cloned_over_http_and_each_request_is_seen(
    http_remote: HttpRemote, tmp_path: Path
) -> None:
    repository = http_remote.filled()
    done = clone(http_remote.url(repository), tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone") == repository.head()
    assert [one.method for one in http_remote.seen] == ["GET", "POST", "POST"]


def test_who_has_no_password_is_asked_for_one(http_remote: HttpRemote, tmp_path: Path) -> None:
    url = http_remote.url(http_remote.filled())
    http_remote.ways.accounts = {"mira": "secret"}
    assert clone(url, tmp_path / "refused").returncode != 0
    assert {one.status for one in http_remote.seen} == {401}
    done = clone(url.replace("//", "//mira:secret@"), tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    assert http_remote.seen[-1].credential == "mira:secret"


def test_it_speaks_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "forge")
    with HttpRemote(tmp_path / "forge", pair) as remote:
        url = remote.url(remote.filled())
        assert url.startswith("https://")
        assert clone(url, tmp_path / "refused").returncode != 0
        done = clone(url, tmp_path / "clone", GIT_SSL_CAINFO=str(pair.cert_file))
        assert done.returncode == 0, done.stderr


def test_a_transfer_is_cut_and_goes_whole_again(http_remote: HttpRemote, tmp_path: Path) -> None:
    repository = http_remote.make()
    repository.commit({"noise": os.urandom(300_000)})
    http_remote.ways.cut_after = 100_000
    assert clone(http_remote.url(repository), tmp_path / "cut").returncode != 0
    http_remote.ways.cut_after = None
    assert clone(http_remote.url(repository), tmp_path / "whole").returncode == 0


def test_a_server_that_is_away_comes_back_on_the_same_port(http_remote: HttpRemote, tmp_path: Path) -> None:
    url = http_remote.url(http_remote.filled())
    with http_remote.away():
        assert "onnect" in clone(url, tmp_path / "away").stderr
    assert clone(url, tmp_path / "back").returncode == 0


def test_a_server_of_files_alone_knows_no_shallow_clone(http_remote: HttpRemote, tmp_path: Path) -> None:
    url = http_remote.url(http_remote.filled())
    http_remote.ways.is_dumb = True
    assert "shallow" in clone(url, tmp_path / "shallow", "--depth=1").stderr
    assert clone(url, tmp_path / "clone").returncode == 0


def test_large_files_are_fetched_by_their_pointers(http_remote: HttpRemote, tmp_path: Path) -> None:
    need("git-lfs")
    repository = http_remote.make()
    files = {
        "big.bin": http_remote.lfs(b"large"),
        ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    }
    repository.commit(files)
    settings = [f"--config=filter.lfs.{name}=git-lfs {name} %f" for name in ("clean", "smudge")]
    done = clone(http_remote.url(repository), tmp_path / "clone", *settings)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "big.bin").read_bytes() == b"large"


def test_ssh_lets_one_key_in_and_nothing_but_git(ssh_remote: SshRemote, tmp_path: Path) -> None:
    url = ssh_remote.url(ssh_remote.filled())
    (tmp_path / "known_hosts").write_text(f"{ssh_remote.known_hosts}\n")
    make_key(tmp_path / "stranger")
    options = f"-F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile={tmp_path}/known_hosts"
    mine, other = (
        f"ssh {options} -i {key}" for key in (ssh_remote.folder / "client_key", tmp_path / "stranger")
    )
    done = clone(url, tmp_path / "clone", GIT_SSH_COMMAND=mine)
    assert done.returncode == 0, done.stderr
    assert [command.split()[0] for command in ssh_remote.commands] == ["git-upload-pack"]
    assert "Permission denied" in clone(url, tmp_path / "refused", GIT_SSH_COMMAND=other).stderr
    ran = subprocess.run(
        [*mine.split(), "-p", str(ssh_remote.port), f"{ssh_remote.user}@127.0.0.1", "id"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (128, ""), ran.stderr
    ssh_remote.becomes_another_machine()
    changed = clone(url, tmp_path / "changed", GIT_SSH_COMMAND=mine).stderr
    assert "Host key verification failed" in changed


def test_a_stopped_remote_listens_no_more(tmp_path: Path) -> None:
    with SshRemote(tmp_path / "ssh") as ssh, HttpRemote(tmp_path / "http") as http:
        ports = (ssh.port, http.port)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
