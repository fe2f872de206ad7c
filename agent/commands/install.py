"""`install`: let systemd start the agent, and keep it running."""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from agent import config, durable, exits, identity, lock, machine, program, roots
from agent.errors import BadConfig, Stop
from agent.unit import MARK, NAME, Unit

HELP = "run the agent as a service of systemd"

SYSTEM_UNITS = Path("/etc/systemd/system")
LINGERING = Path("/var/lib/systemd/linger")
# Is there as long as systemd runs.
BOOTED = Path("/run/systemd/system")
PATIENCE_S = 120.0
# What the way to the server needs as much as this shell does.
CARRIED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CARRIED_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# The unit starts in another folder than this shell.
PATHS = frozenset(
    {
        "AGENT_POLICY",
        "AGENT_JOBS_WORKSPACE",
        *roots.VARIABLES.values(),
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        *CARRIED_TOO,
    }
)
# The identity has them, or they are said on the command line.
LEFT_OUT = frozenset(
    {"AGENT_JOIN_TOKEN", "AGENT_SERVER_URL", "AGENT_PIN", "AGENT_INSECURE", "AGENT_STORAGE_PATH"}
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--user", action="store_true", help="a service of your own account, without root")
    whose.add_argument("--user-name", metavar="NAME", help="as root: the account that tasks run as")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="only show the unit")
    what.add_argument("--remove", action="store_true", help="stop the service and remove it; tasks go on")
    config.add_storage(parser)


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    account = None if chosen.user else _account(chosen.user_name, environ, is_any=chosen.remove)
    service = Service(account, environ, config.given_storage(chosen, environ))
    if chosen.print:
        print(service.unit().text(), end="")
        return exits.DONE
    if account is not None and os.geteuid() != 0:
        again = program.typed("install")
        raise BadConfig(
            f"a service of the whole machine needs root: sudo {again} --user-name {account.pw_name}, or --user"
        )
    _refuse_without_systemd(service)
    if chosen.remove:
        service.remove()
    else:
        service.install()
    return exits.DONE


def _account(name: str | None, environ: Mapping[str, str], *, is_any: bool) -> pwd.struct_passwd:
    """Root is nobody's account by mistake: it has to be named, unless it doesn't matter whose it is."""
    own = machine.account_name(os.geteuid())
    not_meant = {None} if is_any else {None, "root"}
    name = name or next((one for one in (environ.get("SUDO_USER"), own) if one not in not_meant), None)
    if name is None:
        raise BadConfig(
            "say which account tasks run as: --user-name NAME (whoever may create tasks there has it)"
        )
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise BadConfig(
            f"there is no account {name!r} here: make one with useradd --create-home {name}"
        ) from None


def _refuse_without_systemd(service: Service) -> None:
    if not BOOTED.is_dir():
        start = f"cd {shlex.quote(str(program.directory()))} && {shlex.join(service.unit().argv)}"
        raise Stop(
            "systemd doesn't run here, so it can't start the agent. Let whatever starts programs on this machine "
            f"start this one, for instance a line in crontab -e: @reboot {start}",
            exits.REFUSED,
        )


class _Becoming(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _becoming(account: pwd.struct_passwd) -> _Becoming:
    if account.pw_uid == os.getuid():
        return {}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def _why_not_started(account: pwd.struct_passwd) -> str:
    """Tried in earnest, as that account. Empty where it starts."""
    try:
        tried = subprocess.run(
            [*program.argv(), "--version"],
            cwd=program.directory(),
            **_becoming(account),
            env={"PATH": os.defpath, "HOME": account.pw_dir},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["it doesn't say why"])[-1]


def _from_anywhere(name: str, value: str) -> str:
    is_here = name in PATHS and not value.startswith("~")
    return str(Path(value).absolute()) if is_here else value


class Service:
    def __init__(
        self, account: pwd.struct_passwd | None, environ: Mapping[str, str], storage: Path | None
    ) -> None:
        """`account`: None for a service of this one's own."""
        self._account = account
        self._environ = environ
        self._is_any = storage is None
        self.storage = storage or (
            config.DEFAULT_STORAGE if account is None else Path(account.pw_dir) / config.STORAGE_NAME
        )
        own = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
        self.path = (own if account is None else SYSTEM_UNITS) / NAME

    def unit(self) -> Unit:
        argv = [*program.argv(), "run", "--storage", str(self.storage)]
        name = self._account.pw_name if self._account else ""
        return Unit(argv, program.directory(), name, self._carried(), config.drain_s(self._environ))

    def _carried(self) -> dict[str, str]:
        """Whoever may ask systemd sees these, so that passwords are left out."""
        names = [*CARRIED, *(name.lower() for name in CARRIED), *CARRIED_TOO]
        names += [name for name in self._environ if name.startswith("AGENT_") and name not in LEFT_OUT]
        # Root's path is no account's; a person's own leads to the tools that the person has.
        names += ["PATH"] if self._account is None else []
        return {
            name: _from_anywhere(name, self._environ[name])
            for name in names
            if self._environ.get(name) and not self._is_secret(name)
        }

    def _is_secret(self, name: str) -> bool:
        return name.lower().endswith("_proxy") and "@" in self._environ[name]

    def install(self) -> None:
        self._refuse_unready()
        text = self.unit().text()
        is_active = self._systemctl("is-active", "--quiet", NAME).returncode == 0
        pid = None if is_active else lock.holder(self.storage)
        if pid is not None:
            raise Stop(
                f"an agent runs with {self.storage} already (process {pid}): stop it first", exits.IN_USE
            )
        self._write(text)
        for words in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
            self._must(*words)
        print(f"{self.path} is written, and the agent runs. How it is: {self._typed(f'status {NAME}')}")
        print(f"Its log: {self._journal()}. To undo this: {program.typed('install --remove')}{self._whose()}")
        self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        for name in sorted(self._environ):
            if self._is_secret(name) and name.upper() in CARRIED:
                print(
                    f"{name} holds a password, and anybody could read it in the unit. Put it into a file of its own,"
                )
                print(
                    f"which only root reads, and name that as EnvironmentFile= with: {self._typed(f'edit {NAME}')}"
                )
        if self._account is None and not (LINGERING / machine.account_name(os.getuid())).exists():
            print("It runs as long as you are signed in. So that it always does: loginctl enable-linger")

    def remove(self) -> None:
        if not self.path.exists():
            print(f"There is no {self.path}: nothing to remove.")
            return
        self._refuse_foreign(is_any=self._is_any)
        self._must("disable", "--now", NAME)
        self.path.unlink()
        self._must("daemon-reload")
        print(
            f"{self.path} is removed, and the agent has stopped. Tasks that were running go on, for the next agent;"
        )
        print(f"this machine is still a worker. To forget that too: {program.typed('reset', self.storage)}")

    # What could go wrong later is found now.

    def _refuse_unready(self) -> None:
        me = identity.look(self.storage)
        if me is None or not me.is_registered:
            as_whom = f"sudo -u {self._account.pw_name} " if self._account else ""
            join = program.typed("join --server URL", self.storage)
            raise Stop(f"{self.storage} belongs to no worker yet. First: {as_whom}{join}", exits.REFUSED)
        self._refuse_foreign()
        if self._account is not None:
            self._refuse_unreadable(self._account)

    def _refuse_unreadable(self, account: pwd.struct_passwd) -> None:
        name = account.pw_name
        if self.storage.stat().st_uid != account.pw_uid:
            raise Stop(f"{self.storage} isn't {name}'s: chown -R {name} {self.storage}", exits.REFUSED)
        why = _why_not_started(account)
        if why:
            raise Stop(
                f"{name} can't start {' '.join(program.argv())} ({why}): put it where {name} may read it, "
                "for instance below /opt, and install from there",
                exits.REFUSED,
            )

    def _refuse_foreign(self, *, is_any: bool = False) -> None:
        """A unit of this name that somebody else wrote, or that is of another storage (`is_any`: of whichever), stays."""
        try:
            there = self.path.read_text()
        except FileNotFoundError:
            return
        is_this = is_any or f"--storage {self._quoted_storage()}\n" in there
        if MARK not in there or not is_this:
            raise Stop(
                f"{self.path} is there already, and of another agent: look at it, and remove it yourself",
                exits.REFUSED,
            )

    def _quoted_storage(self) -> str:
        return self.unit().text().partition("--storage ")[2].partition("\n")[0]

    # systemd.

    def _write(self, text: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(self.path, text.encode())
            self.path.chmod(0o644)
        except OSError as error:
            raise Stop(f"{self.path} can't be written: {error.strerror}", exits.REFUSED) from error

    def _must(self, *words: str) -> None:
        done = self._systemctl(*words)
        if done.returncode != 0:
            said = done.stderr.strip() or f"status {done.returncode}"
            raise Stop(
                f"{self._typed(' '.join(words))} failed: {said}. The agent's log: {self._journal()}",
                exits.REFUSED,
            )

    def _systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = ["--user"] if self._account is None else []
        try:
            return subprocess.run(
                ["systemctl", *own, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Stop(f"{self._typed(' '.join(words))} failed: {error}", exits.REFUSED) from error

    def _typed(self, words: str) -> str:
        return f"systemctl {'--user ' if self._account is None else ''}{words}"

    def _journal(self) -> str:
        return f"journalctl {'--user-unit' if self._account is None else '--unit'} {NAME}"

    def _whose(self) -> str:
        return " --user" if self._account is None else ""
