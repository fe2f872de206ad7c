"""What can go wrong, in words for people: what failed, and what to do. Never git's whole output, never a secret."""

from __future__ import annotations

import re

MAX_TEXT = 900

# The first that is found in what git said last. `{host}`, `{url}` and `{said}` are filled in.
REASONS: list[tuple[str, str]] = [
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "{host} shows another host key than the one that is pinned for it. If its key was changed on purpose, forget the "
        "pinned key in the settings and try again; if not, somebody may be in between",
    ),
    (
        r"Permission denied \(|Authentication failed|could not read (?:Username|Password)|HTTP Basic: Access denied"
        r"|The requested URL returned error: 40[13]|Too many authentication failures|Load key|invalid format",
        "{host} refused the login. Check that the project has a credential for {host}, that it hasn’t expired, and that it "
        "may read this repository",
    ),
    (
        r"repository '.*' not found|Repository not found|does not appear to be a git repository|returned error: 404"
        r"|Could not find repository|not valid: is this a git repository|project you were looking for could not be found",
        "{url} was not found. Check the address; if the repository is private, the project needs a credential that may "
        "read it",
    ),
    (
        r"update cannot be followed|unable to update url base from redirection|returned error: 30[12378]",
        "{host} sends git to another address, which isn’t followed, or a credential could go astray. Use the address "
        "that it leads to, as a browser shows it",
    ),
    (
        r"SSL certificate problem|server certificate verification failed|certificate subject name|SSL: ",
        "the certificate of {host} can’t be trusted by this machine: {said}",
    ),
    (
        r"transport '.*' not allowed",
        "addresses of this kind are not allowed here: ask an administrator to allow them",
    ),
    (
        r"No space left on device|Disk quota exceeded|unable to write file .*: No space",
        "the disk is full: make room on the worker, then try again",
    ),
    (
        r"index\.lock': File exists|Another git process seems to be running",
        "another git command works in this checkout, or was killed there. When none runs, remove .git/index.lock",
    ),
    (
        r"fsck error|Error in object|fatal: fsck|invalid .gitmodules|disallowed",
        "the repository holds something that git takes for dangerous or broken, and it isn’t taken: {said}",
    ),
    (
        r"dubious ownership",
        "its files belong to another account of the worker than the one that runs git. Delete the checkout and clone it "
        "again",
    ),
    (r"File name too long", "a file’s name is too long for the worker’s disk: {said}"),
    (
        r"would be overwritten by|Please commit your changes or stash them|untracked working tree files",
        "files were changed here that the new commits change too. Commit or undo the changes, then pull again",
    ),
]
# The remote can't be reached, or went away in the middle: what it would say is not known.
AWAY = re.compile(
    r"Could not resolve host|Couldn't connect|Failed to connect|Connection (?:refused|timed out|reset|closed)"
    r"|No route to host|Network is unreachable|Operation timed out|Operation too slow|unexpected disconnect"
    r"|the remote end hung up|early EOF|RPC failed|Empty reply from server|Temporary failure in name resolution"
    r"|Name or service not known|No address associated|kex_exchange_identification|Broken pipe"
    r"|The requested URL returned error: (?:429|5\d\d)|Couldn't resolve|Recv failure|Send failure|GnuTLS recv error"
)
# The files of a mirror are not what git wrote: after a power cut, or because somebody changed them.
DAMAGED = re.compile(
    r"bad object|object file .* is empty|loose object .* is corrupt|packfile .* (?:is far too short|does not match|"
    r"cannot be|signature mismatch|index unavailable)|missing (?:blob |tree |commit )?object|not a git repository"
    r"|bad (?:ref|signature|config)|index file .* is too small|unable to read tree|did not send all necessary objects"
    r"|inflate: data stream error|pack has bad object|failed to read object|unresolved deltas?|bad line in shallow"
    r"|error in object: unshallow|Could not read [0-9a-f]{40}|remote did not send all|unable to parse object"
)
NO_SHALLOW = re.compile(r"does not support (?:shallow|--depth)|dumb http transport does not support")
NO_ROOM = re.compile(REASONS[6][0])


class Failed(Exception):
    """The message is one line for a person; `refused` where a person's `force` would help."""

    def __init__(self, message: str, *, failure_class: str | None = None, refused: str | None = None) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.refused = refused


class DiskLow(Failed):
    def __init__(self, message: str) -> None:
        super().__init__(message, failure_class="disk_low")


class Stopped(Exception):
    """SIGTERM came: clean up and go."""


class GitFailed(Exception):
    """One git command ended with `code`; `said` is the end of its stderr."""

    def __init__(self, code: int, said: list[str]) -> None:
        super().__init__(said[-1] if said else f"exit code {code}")
        self.code = code
        self.said = said

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    @property
    def is_away(self) -> bool:
        return not self._has_reason and AWAY.search(self.text) is not None

    @property
    def is_damage(self) -> bool:
        """Of the mirror. What the remote sent, and git refused, says nothing about it."""
        return "fsck error" not in self.text and DAMAGED.search(self.text) is not None

    @property
    def lacks_shallow(self) -> bool:
        return NO_SHALLOW.search(self.text) is not None

    @property
    def is_unadvertised(self) -> bool:
        """The remote gives no commit that isn’t the tip of a branch, or hasn’t got it."""
        return "unadvertised object" in self.text or "not our ref" in self.text

    @property
    def _has_reason(self) -> bool:
        return any(re.search(pattern, self.text) for pattern, _ in REASONS)

    def for_people(self, what: str, url: str, host: str) -> Failed:
        """`what` is what failed, as the beginning of a sentence: “The clone failed”."""
        reason = self._reason(url, host)
        failure_class = "disk_low" if NO_ROOM.search(self.text) else None
        return Failed(f"{what}: {reason}", failure_class=failure_class)

    def _reason(self, url: str, host: str) -> str:
        said = cleaned(self._telling_line())
        for pattern, words in REASONS:
            if re.search(pattern, self.text):
                return words.format(url=url, host=host, said=said)
        if AWAY.search(self.text):
            return f"{host} can’t be reached from this worker, or went away in the middle ({said}). Try again later"
        if "invalid index-pack output" in self.text:  # it was killed, or may write no more
            return "git couldn’t store what it fetched. Look at the worker’s disk, memory and limits, then try again"
        if self.code < 0:
            return f"git was killed (signal {-self.code}) while it worked. Try again"
        return said or f"git ended with exit code {self.code}"

    def _telling_line(self) -> str:
        """Git says what is wrong first, and what follows from it later."""
        marked = [
            line
            for line in self.said
            if re.match(r"(?:fatal|error|ERROR|ssh|batch re(?:quest|sponse)|LFS): ?", line)
        ]
        return (marked or self.said or [""])[0]


def cleaned(text: str, limit: int = MAX_TEXT) -> str:
    """One line without control and direction characters: it comes from a stranger."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:limit]
