"""An sshd of the test's own, on loopback, that lets one key in and lets it do nothing but git."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.git.repositories import Repository, filled
from tests.ports import free_port
from tests.services import need, sshd_path
from tests.stack import eventually

# Whoever runs the tests is whom it lets in; what its login shell would read at the start has no part in it.
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
StrictModes no
UsePAM no
PermitRootLogin yes
PermitUserEnvironment no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTTY no
PrintMotd no
PrintLastLog no
MaxStartups 100
ForceCommand {folder}/git_only
"""
# git-shell lets through what git asks a remote for, and refuses the rest.
GIT_ONLY = """#!/bin/sh
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >>{folder}/commands
exec git-shell -c "$SSH_ORIGINAL_COMMAND"
"""


def make_key(path: Path, comment: str = "") -> str:
    """An Ed25519 key without a passphrase in `path` and `path`.pub. Returns the public one."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


class SshRemote:
    """Serves the repositories in its folder `repositories`. `with SshRemote(folder) as remote:`"""

    def __init__(self, folder: Path) -> None:
        need("sshd")
        need("git")
        self.folder = folder
        self.repositories = folder / "repositories"
        self.repositories.mkdir(parents=True)
        self.port = free_port()
        self.user = getpass.getuser()
        self._process: subprocess.Popen[bytes] | None = None
        self.host_key = self.new_host_key()
        self.public_key = make_key(folder / "client_key", "the test's own")
        (folder / "authorized_keys").write_text(f"{self.public_key}\n")
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))
        (folder / "git_only").write_text(GIT_ONLY.format(folder=folder))
        (folder / "git_only").chmod(0o755)

    # ---- what it has

    @property
    def host(self) -> str:
        """As `known_hosts` has it."""
        return f"[127.0.0.1]:{self.port}"

    @property
    def private_key(self) -> str:
        """Of who may come in."""
        return (self.folder / "client_key").read_text()

    @property
    def known_hosts(self) -> str:
        """The line of `known_hosts` for its key of now."""
        return f"{self.host} {' '.join(self.host_key.split()[:2])}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.host_key.split()[1])).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def commands(self) -> list[str]:
        """What it was asked to run, by whoever came in."""
        asked = self.folder / "commands"
        return asked.read_text().splitlines() if asked.exists() else []

    def url(self, repository: Repository) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{repository.path}"

    def make(self, name: str = "garage") -> Repository:
        return Repository(self.repositories / f"{name}.git")

    def filled(self, name: str = "garage", commits: int = 3) -> Repository:
        return filled(self.repositories / f"{name}.git", commits)

    def let_in(self, public_key: str) -> None:
        """Another one besides."""
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(f"{public_key}\n")

    # ---- its life

    def new_host_key(self) -> str:
        """From its next start on it is another machine, for all that anybody can tell."""
        self.host_key = make_key(self.folder / "host_key")
        return self.host_key

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it keeps nothing, but insists on
        # It starts itself again for each connection, so that it wants its own absolute path.
        command = [str(sshd_path()), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._answers, what="sshd to listen")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> SshRemote:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing listens there meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def becomes_another_machine(self) -> None:
        """The same address with another host key."""
        self.stop()
        self.new_host_key()
        self.start()
