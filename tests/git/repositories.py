"""Repositories as people have them, made by a real git: bare, ready to be served."""

from __future__ import annotations

import atexit
import copy
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Nothing of the machine's own configuration: a test means the same wherever it runs.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Mira"), ("EMAIL", "mira@garage.example"))
    },
}
# The first commit of each repository; later ones follow a minute apart, so that the same story has the same ids.
FIRST_COMMIT_AT = 1_767_225_600


def git(*arguments: str, cwd: Path, given: bytes = b"", **environment: str) -> str:
    """What it printed, without the last line's end. Raises CalledProcessError with what it said."""
    command = ["git", "-c", "safe.directory=*", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(
        command, cwd=cwd, input=given, capture_output=True, check=False, env={**ENVIRONMENT, **environment}
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode().removesuffix("\n")


@dataclass(frozen=True)
class Link:
    """A symbolic link, as a file of a commit."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """Another repository's commit, as a file of a commit. What is at its path is in `.gitmodules`."""

    commit: str


@dataclass(frozen=True)
class Program:
    """A file that may be run."""

    text: str


Content = str | bytes | Link | Submodule | Program | None  # None: it goes


def mode_of(content: Content) -> str:
    return {Link: "120000", Submodule: "160000", Program: "100755"}.get(type(content), "100644")


def bytes_of(content: Content) -> bytes:
    match content:
        case bytes():
            return content
        case Link():
            return content.target.encode()
        case Program():
            return content.text.encode()
    return str(content).encode()


class Repository:
    """A bare repository, and what somebody who may push does to it. `path` may be served, or cloned as it is."""

    def __init__(self, path: Path, default: str = "main") -> None:
        self.path = path
        path.mkdir(parents=True)
        git("init", "--quiet", "--bare", f"--initial-branch={default}", ".", cwd=path)
        self._commits = 0

    def git(self, *arguments: str, given: bytes = b"", **environment: str) -> str:
        return git(*arguments, cwd=self.path, given=given, **environment)

    @property
    def default(self) -> str:
        return self.git("symbolic-ref", "--short", "HEAD")

    def head(self, branch: str = "") -> str:
        return self.git("rev-parse", "--verify", f"refs/heads/{branch or self.default}")

    def commit(
        self, files: Mapping[str, Content], message: str = "A change", branch: str = "", on: str = ""
    ) -> str:
        """A commit on top of the branch, or, as after a force push, of the commit `on`. Returns its id."""
        branch = branch or self.default
        parent = on or self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        self._commits += 1
        when = f"{FIRST_COMMIT_AT + 60 * self._commits} +0000"
        text = message.encode()
        stream = f"commit refs/heads/{branch}\ncommitter Mira <mira@garage.example> {when}\n".encode()
        stream += b"data %d\n%s\n" % (len(text), text)
        stream += f"from {parent}\n".encode() if parent else b""
        for name, content in files.items():
            stream += self._change(name, content)
        self.git("fast-import", "--quiet", "--force", given=stream)
        self.git("update-server-info")
        return self.head(branch)

    @staticmethod
    def _change(name: str, content: Content) -> bytes:
        quoted = '"' + "".join(f"\\{byte:03o}" for byte in os.fsencode(name)) + '"'
        if content is None:
            return f"D {quoted}\n".encode()
        if isinstance(content, Submodule):
            return f"M {mode_of(content)} {content.commit} {quoted}\n".encode()
        body = bytes_of(content)
        return f"M {mode_of(content)} inline {quoted}\ndata {len(body)}\n".encode() + body + b"\n"

    def commit_tree(self, tree: Mapping[str, object], message: str = "A change", branch: str = "") -> str:
        """A commit of exactly that tree (a mapping is a folder), whatever its names are: also what git itself would
        refuse to add."""
        branch = branch or self.default
        self._commits += 1
        when = f"{FIRST_COMMIT_AT + 60 * self._commits} +0000"
        dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        commit = self.git("commit-tree", self._tree(tree), "-m", message, given=b"", **dates)
        self.git("update-ref", f"refs/heads/{branch}", commit)
        self.git("update-server-info")
        return commit

    def _tree(self, tree: Mapping[str, object]) -> str:
        lines = b""
        for name, content in tree.items():
            if isinstance(content, Mapping):
                mode, kind, found = "040000", "tree", self._tree(content)
            elif isinstance(content, Submodule):
                mode, kind, found = mode_of(content), "commit", content.commit
            else:
                assert isinstance(content, str | bytes | Link | Program)
                stored = self.git("hash-object", "-w", "--stdin", given=bytes_of(content))
                mode, kind, found = mode_of(content), "blob", stored
            lines += f"{mode} {kind} {found}\t".encode() + os.fsencode(name) + b"\0"
        return self.git("mktree", "-z", "--missing", given=lines)

    def tag(self, name: str, at: str = "", message: str = "") -> str:
        """The commit that it names. With a message it is an annotated one."""
        options = ["-m", message, "-a"] if message else []
        self.git("tag", *options, "--", name, at or self.head())
        self.git("update-server-info")
        return self.git("rev-parse", f"refs/tags/{name}^{{commit}}")

    def branch(self, name: str, at: str = "") -> None:
        """Make it, or let it point somewhere else, as a force push does."""
        self.git("update-ref", f"refs/heads/{name}", at or self.head())
        self.git("update-server-info")

    def delete_branch(self, name: str) -> None:
        self.git("update-ref", "-d", f"refs/heads/{name}")
        self.git("update-server-info")

    def rename_default(self, name: str) -> None:
        """As a forge does when somebody renames “master”."""
        before, at = self.default, self.head()
        self.git("update-ref", f"refs/heads/{name}", at)
        self.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
        self.delete_branch(before)

    def force_push(self, files: Mapping[str, Content], message: str = "Rewritten", branch: str = "") -> str:
        """The newest commit is replaced by another one."""
        branch = branch or self.default
        parent = self.git("rev-parse", "--verify", f"refs/heads/{branch}~1")
        return self.commit(files, message, branch, on=parent)


def filled(path: Path, commits: int = 3) -> Repository:
    """A small one with a few commits on main, a branch `topic/two` and a tag `v1.0`."""
    first = _filled(commits)
    shutil.copytree(first.path, path)
    made = copy.copy(first)
    made.path = path
    return made


@cache
def _filled(commits: int) -> Repository:
    """What the others are copies of: git is started two dozen times for it."""
    folder = Path(tempfile.mkdtemp(prefix="gsw-filled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Repository(folder / "filled")
    for number in range(1, commits + 1):
        made.commit({"README": f"commit {number}\n", f"src/{number}.txt": f"{number}\n"}, f"Commit {number}")
    made.tag("v1.0", message="The first")
    made.branch("topic/two")
    made.commit({"topic.txt": "two\n"}, "On the side", branch="topic/two")
    return made


def with_long_names(path: Path) -> Repository:
    """The longest name that a file system takes, and letters of many scripts, also such as look the same twice."""
    made = Repository(path)
    names = [
        "x" * 255,
        "日本語/ファイル.txt",
        "a\u0301.txt",
        "\u00e1.txt",
        "tab\there",
        "new\nline",
        '"quoted"',
        " ",
    ]
    made.commit({name: f"{number}\n" for number, name in enumerate(names)}, "Ünïcödé \u202e names")
    return made
