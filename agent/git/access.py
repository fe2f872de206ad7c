"""What opens the remote, for as long as git talks to it: files that only this account can read, gone afterwards."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from agent.git import names
from agent.git.runs import CALL
from agent.git.wish import Credential

# Those that take a token as a password take any name with it.
ANY_USER = "x-access-token"
MAX_KNOWN_HOSTS = 64 * 1024
# In one call of git: name and password, and once more.
MOST_ANSWERS = 4
_MARKS = ("'", '"')  # of git, and of git-lfs


@dataclass(frozen=True)
class Access:
    """`variables` are for git; `known` is where ssh writes the host keys that it learns."""

    variables: dict[str, str]
    known: Path
    pinned: list[str]

    def learned(self) -> list[str]:
        """Lines of known_hosts that weren’t pinned."""
        try:
            text = self.known.read_bytes()[:MAX_KNOWN_HOSTS].decode("utf-8", "replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip() and line not in self.pinned]


@contextmanager
def opened(home: Path, url: str, credential: Credential | None, host_keys: list[str]) -> Iterator[Access]:
    """`credential` is for the host of `url` and no other."""
    folder = home / "access"
    folder.mkdir(mode=0o700)
    try:
        known = folder / "known_hosts"
        _write(known, "".join(f"{line}\n" for line in host_keys))
        variables = {"GIT_SSH_COMMAND": _ssh(folder, credential, known), "GIT_SSH_VARIANT": "ssh"}
        if credential is not None and credential.kind == "token":
            variables["GIT_ASKPASS"] = _askpass(folder, credential, url)
        yield Access(variables, known, host_keys)
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _ssh(folder: Path, credential: Credential | None, known: Path) -> str:
    """The account’s own keys, agent and ssh config play no part: what opens a project is its credential."""
    key = "none"
    if credential is not None and credential.kind == "ssh":
        _write(folder / "key", credential.secret.rstrip("\n") + "\n")
        key = str(folder / "key")
    is_known = known.stat().st_size > 0
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": _quoted(key),
        "UserKnownHostsFile": _quoted(str(known)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes" if is_known else "accept-new",
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "20",
        "ServerAliveCountMax": "6",
    }
    words = ["ssh", "-F", "/dev/null"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return shlex.join(words)


def _quoted(path: str) -> str:
    """For ssh, which takes a space for the end of a file’s name, and % for the beginning of a variable."""
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if any(one.isspace() for one in path) else escaped


def _askpass(folder: Path, credential: Credential, url: str) -> str:
    """A program that git asks. It knows the questions about this host word by word, and no other: a submodule or a
    repository’s own settings may have git ask for another host, with a name that makes it look like this one.

    One call of git gets few answers: git-lfs would ask for ever where they open nothing."""
    user = credential.username or ANY_USER
    _write(folder / "user", user)
    _write(folder / "secret", credential.secret)
    program = folder / "askpass"
    for_user, for_secret = (_either(questions) for questions in _questions(url, user))
    script = f"""#!/bin/sh
cd {shlex.quote(str(folder))} || exit 1
printf . >>"asked.${CALL}"
[ "$(wc -c <"asked.${CALL}")" -le {MOST_ANSWERS} ] || exit 1
case "$1" in
    {for_user}) exec cat user ;;
    {for_secret}) exec cat secret ;;
esac
exit 1
"""
    _write(program, script, mode=0o700)
    return str(program)


def _questions(url: str, user: str) -> tuple[list[str], list[str]]:
    """As git and git-lfs word them, for the name and for the password. They write a name as a URL has it."""
    scheme, host = names.scheme_of(url), urlsplit(url).netloc
    written = {user, quote(user, safe=""), quote(user, safe="$&+,;=")}
    for_user = [f"Username for {mark}{scheme}://{host}{mark}" for mark in _MARKS]
    for_secret = [
        f"Password for {mark}{scheme}://{name}@{host}{mark}" for mark in _MARKS for name in sorted(written)
    ]
    return for_user, for_secret


def _either(questions: list[str]) -> str:
    return "|".join(shlex.quote(question + end) for question in questions for end in (": ", ""))


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
