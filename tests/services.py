"""Programs that the tests start for themselves: a private PostgreSQL, a headless Chromium.

Nothing here touches a server, a cluster or a browser profile that was there before.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.ports import free_port

# The Debian package of each, as a person would type it.
PACKAGES = {
    "PostgreSQL": "postgresql",
    "Chromium": "chromium",
    "git": "git",
    "nginx": "nginx",
    "curl": "curl",
    "sshd": "openssh-server",
    "git-lfs": "git-lfs",
}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM_SWITCHES = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Where a page stands after a turn of the wheel is then known at once.
    "--disable-smooth-scrolling",
)
START_SECONDS = 60
PR_SET_PDEATHSIG = 1


def missing() -> list[str]:
    """Which of PACKAGES aren't on this machine."""
    found = {
        "PostgreSQL": postgres_folder(),
        "Chromium": chromium_path(),
        "git": shutil.which("git"),
        "nginx": nginx_path(),
        "curl": shutil.which("curl"),
        "sshd": sshd_path(),
        "git-lfs": shutil.which("git-lfs"),
    }
    return [name for name in PACKAGES if found[name] is None]


def need(name: str) -> None:
    """Skip the test, by name, when `name` isn't installed."""
    if name in missing():
        pytest.skip(f"{name} is missing: apt-get install {PACKAGES[name]}")


def nginx_path() -> str | None:
    """Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def sshd_path() -> str | None:
    """The same; and it starts only by its whole path."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


# ---- Chromium ----------------------------------------------------------------------------------------------


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def chromium_options() -> dict[str, Any]:
    """Arguments of Playwright's `chromium.launch()`: the system's browser, quiet, and usable as root."""
    switches = [*CHROMIUM_SWITCHES, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    return {"executable_path": chromium_path(), "args": switches, "timeout": 1000 * START_SECONDS}


# ---- PostgreSQL --------------------------------------------------------------------------------------------


def postgres_folder() -> Path | None:
    """Where `initdb` and `postgres` are. Debian keeps them off the PATH, a folder a version."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    on_path = map(Path, os.environ.get("PATH", "").split(os.pathsep))
    for folder in [*sorted(debian, key=_version, reverse=True), *on_path]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0


class PostgresServer:
    """A cluster in a temporary folder, listening on a socket there and on a free port of 127.0.0.1.

    `is_durable`: what it has committed outlives `crash`. Others are faster.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        found = postgres_folder()
        if found is None:
            raise RuntimeError("PostgreSQL isn't installed.")
        self.programs = found
        # Short, because the path of a unix socket may not be longer than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="gsw-pg-", dir="/tmp"))
        self.password = secrets.token_hex(16)
        self.port = 0
        self._is_durable = is_durable
        self._process: subprocess.Popen[bytes] | None = None
        self._templates: set[str] = set()

    def start(self) -> None:
        atexit.register(self.stop)
        self._init_cluster()
        for _ in range(3):  # somebody may take the free port before we do
            self.port = free_port()
            self._process = self._launch()
            if self._is_up():
                return
        log = (self.folder / "log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"PostgreSQL didn't start:\n{log}")

    def stop(self) -> None:
        """End the server that `start` started, by its pid, and remove all it wrote. Can be called again."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown: doesn't wait for open connections
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def crash(self) -> None:
        """All its processes at once, without a checkpoint, as when the machine fails."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)

    def start_again(self) -> None:
        """On the same port and folder, after `crash`."""
        self._process = self._launch()
        if not self._is_up():
            raise RuntimeError((self.folder / "log").read_text(errors="replace"))

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """A database that `fill(url)` fills once a session, for `fresh_database(template=…)`.

        `fill` must leave no connection open: PostgreSQL doesn't copy a database that is in use.
        """
        if name not in self._templates:
            self._create(name, "template1")
            fill(self.url(name))
            self._templates.add(name)
        return name

    def fresh_database(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`."""
        name = f"test_{secrets.token_hex(6)}"
        self._create(name, template)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database of `fresh_database`, whoever is still connected to it."""
        name = sql.Identifier(url.rsplit("/", 1)[1])
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def _create(self, name: str, template: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY = {}")
        strategy = sql.SQL(
            "wal_log"
        )  # with small databases much faster than copying files, which waits for a checkpoint
        self._execute(statement.format(sql.Identifier(name), sql.Identifier(template), strategy))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _init_cluster(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(secret, "postgres", "postgres")
        command = [
            str(self.programs / "initdb"),
            "--pgdata",
            str(self.folder / "data"),
            "--username=postgres",
        ]
        command += [
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **_as_postgres())

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-k", str(self.folder), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        # A power cut may lose all of it: it is thrown away anyway.
        careless = () if self._is_durable else ("synchronous_commit", "full_page_writes")
        for setting in ("fsync", "autovacuum", *careless):
            command += ["-c", f"{setting}=off"]
        # Its own session: a Ctrl-C in the terminal must not end it under the tests that still run.
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # started before any thread
                **_as_postgres(),
            )

    def _is_up(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return True
            time.sleep(0.05)
        return False


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the tests are killed in a way that runs no clean-up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
