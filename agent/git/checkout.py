"""A working copy: made from the mirror, brought forward from it. No remote, and no credential, plays a part here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from agent.git import names, tamed
from agent.git.failures import Failed, GitFailed
from agent.git.goal import Goal
from agent.git.mirror import Mirror
from agent.git.remote import HEADS, TAGS
from agent.git.runs import MAX_ANSWER, Git, decoded
from agent.git.wish import Wish

ORIGIN = "refs/remotes/origin/"
# What was fetched by the name of a tag or a commit: it isn’t a commit of one’s own, though no branch leads to it.
START = "refs/garageswarm/start"
# Where the remote was before the last pull.
BEFORE = "refs/garageswarm/before"
# The remote’s tags as they were last seen: another tag is somebody’s own, and so is what only that one leads to.
KNOWN_TAGS = "refs/garageswarm/tags/"
_KNOW_TAGS = f"+{TAGS}*:{KNOWN_TAGS}*"
# What the repository ignores may be somebody’s work too: git would write over it.
KEEPING = "--no-overwrite-ignore"
# For rev-list: without what came from the remote.
REMOTES = ("--not", "--remotes=origin", "--glob=refs/garageswarm/*")
LOCAL = ("file",)
# As `git lfs install` writes them; its hooks are left out.
LFS_FILTERS = {
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.process": "git-lfs filter-process",
    "filter.lfs.required": "true",
}


class Checkout:
    """`has_lfs`: its large files are what they stand for, where the mirror has that; else they stay what was committed."""

    def __init__(self, git: Git, path: Path, *, has_lfs: bool = False) -> None:
        self.git = git
        self.path = path
        self.git_dir = path / ".git"
        self.has_lfs = has_lfs

    @classmethod
    def of(cls, git: Git, root: Path, name: str, *, has_lfs: bool) -> Checkout:
        """Directly in the root. Raises Failed where a link leads somewhere else."""
        if not names.FOLDER.fullmatch(name):
            raise Failed("this is no name for a checkout’s folder")
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = root.resolve(strict=True) / name
        if path.is_symlink():
            raise Failed(f"{path} is a link to somewhere else: remove it, then clone again")
        return cls(git, path, has_lfs=has_lfs)

    @property
    def is_there(self) -> bool:
        return os.path.lexists(self.path)

    def is_whole(self) -> bool:
        """Whether git can work in it. What lies elsewhere (`.git` as a file or a link) isn’t ours."""
        if self.git_dir.is_symlink() or not self.git_dir.is_dir():
            return False
        return self.ask("rev-parse", "--git-dir") is not None

    def run(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        is_logged: bool = True,
        most: int = MAX_ANSWER,
    ) -> bytes:
        return self.git.run(
            *arguments,
            at=self.git_dir,
            tree=self.path,
            settings=self.settings,
            variables={"GIT_LFS_SKIP_SMUDGE": "1", **(variables or {})},
            protocols=LOCAL,
            is_logged=is_logged,
            most=most,
        )

    @cached_property
    def settings(self) -> list[str]:
        """For every call of git here. Raises Failed."""
        keys = self.git.run(
            "config", "--list", "--name-only", "-z", at=self.git_dir, tree=self.path, is_logged=False
        )
        large = [f"{name}={value}" for name, value in LFS_FILTERS.items()] if self.has_lfs else []
        return [*tamed.overruled(decoded(keys).split("\0")), *large]

    def ask(self, *arguments: str) -> str | None:
        """What it says, in a word; None where git says no."""
        try:
            return decoded(self.run(*arguments, is_logged=False)).strip()
        except GitFailed:
            return None

    def commit_of(self, name: str) -> str | None:
        return self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    @property
    def head(self) -> str | None:
        """None before the first commit."""
        return self.commit_of("HEAD")

    @property
    def branch(self) -> str | None:
        """None where HEAD is a commit and no branch."""
        said = self.ask("symbolic-ref", "--quiet", "HEAD")
        return said.removeprefix(HEADS) if said else None

    @property
    def url(self) -> str | None:
        return self.ask("config", "--local", "--get", "remote.origin.url")

    def counted(self, *revisions: str) -> int:
        """Raises GitFailed: what can’t be counted isn’t none."""
        return int(self.run("rev-list", "--count", *revisions, "--", is_logged=False))

    def is_ancestor(self, one: str, other: str) -> bool:
        return self.ask("merge-base", "--is-ancestor", one, other) is not None

    def create(self, mirror: Mirror, wish: Wish, goal: Goal) -> None:
        """In an empty place. Whole history comes by hard links, a part of it is copied."""
        if goal.commit is not None and wish.depth is None:
            self._clone(mirror, wish, goal)
        else:
            self.git.run(
                "init", "--quiet", "--template=", *_format(goal), "--", str(self.path), settings=_UNBORN
            )
            self.configure(mirror, wish, goal)
            self.fetch(mirror, wish, goal)
        self.configure(mirror, wish, goal)
        if goal.commit is not None:
            self.set_default(mirror)
            self.switch(goal)

    def _clone(self, mirror: Mirror, wish: Wish, goal: Goal) -> None:
        is_single = _is_single(wish, goal)
        one = ["--single-branch", "--no-tags"] if is_single else ["-c", f"remote.origin.fetch={_KNOW_TAGS}"]
        branch = [f"--branch={goal.branch}"] if goal.branch else []
        self.git.run(
            *("clone", "--quiet", "--no-checkout", "--origin=origin", "--template=", *one, *branch),
            *("--", str(mirror.path), str(self.path)),
            protocols=LOCAL,
        )
        default = self.branch
        if goal.branch is None and default is not None and self.commit_of(HEADS + default):
            # It would be taken for a branch of one’s own once the remote’s has gone on.
            self.run("update-ref", "--no-deref", "HEAD", goal.commit or "")
            self.run("update-ref", "-d", HEADS + default)

    def configure(self, mirror: Mirror, wish: Wish, goal: Goal) -> None:
        """The remote as people know it, so that git pull and git push mean it."""
        one = (
            f"+{HEADS}{goal.branch}:{ORIGIN}{goal.branch}"
            if _is_single(wish, goal)
            else f"+{HEADS}*:{ORIGIN}*"
        )
        self.run("config", "--replace-all", "remote.origin.url", mirror.url)
        self.run("config", "--replace-all", "remote.origin.fetch", one)
        if goal.branch is not None:
            self.run("config", "--replace-all", f"branch.{goal.branch}.remote", "origin")
            self.run("config", "--replace-all", f"branch.{goal.branch}.merge", HEADS + goal.branch)

    def fetch(self, mirror: Mirror, wish: Wish, goal: Goal) -> None:
        """What the mirror has now. Tags of one’s own stay; branches that the remote dropped go."""
        if goal.commit is None:
            return
        heads, more = self._refspecs(wish, goal)
        if self.head is None:
            depth = [f"--depth={wish.depth}"] if wish.depth else []
            self._fetch(mirror, [*heads, *more], *depth)
            return
        if heads:
            self._fetch(mirror, heads, "--prune")
        if more:
            self._fetch(mirror, more)

    def fetch_commit(self, mirror: Mirror, commit: str) -> None:
        """With all branches: of a submodule, whose commit may be on none."""
        self._fetch(mirror, [f"+{HEADS}*:{ORIGIN}*", _KNOW_TAGS, f"+{commit}:{START}"], "--prune")

    @staticmethod
    def _refspecs(wish: Wish, goal: Goal) -> tuple[list[str], list[str]]:
        """Of what is known of the remote, and of what stays where the remote drops it: the same name may be one’s own."""
        start = [] if goal.branch else [f"+{goal.commit}:{START}"]
        if _is_single(wish, goal):
            return [f"+{HEADS}{goal.branch}:{ORIGIN}{goal.branch}"], []
        if wish.depth is None:
            return [f"+{HEADS}*:{ORIGIN}*", _KNOW_TAGS], [f"+{TAGS}*:{TAGS}*", *start]
        if goal.branch is not None:
            return [f"+{HEADS}*:{ORIGIN}*"], []
        name = f"{TAGS}{wish.ref}"
        tag = [f"+{name}:{name}", f"+{name}:{KNOWN_TAGS}{wish.ref}"] if wish.ref_kind == "tag" else []
        return [], [*start, *tag]

    def _fetch(self, mirror: Mirror, refspecs: list[str], *options: str) -> None:
        self.run(
            *("fetch", "--progress", "--no-tags", "--force", "--update-shallow", "--no-recurse-submodules"),
            *(*options, "--", str(mirror.path), *refspecs),
            is_logged=False,
        )

    def set_default(self, mirror: Mirror) -> None:
        """What `origin` alone means: the remote’s default branch."""
        default = mirror.default_branch()
        if default and self.commit_of(ORIGIN + default):
            self.run("symbolic-ref", f"{ORIGIN}HEAD", ORIGIN + default)

    def switch(self, goal: Goal, how: str = "--force") -> None:
        """Files, index and HEAD as the goal says: by force whatever they were, or KEEPING what somebody may need."""
        commit = goal.commit or ""
        where = ["--no-track", "-B", goal.branch] if goal.branch else ["--detach"]
        if goal.branch is None:
            self.run("update-ref", START, commit)
        self.git.reporter.say("checking out", "checking_out", "Checking out files")
        self.run(
            *("checkout", "--quiet", "--progress", how, "--no-recurse-submodules"),
            *(*where, commit, "--"),
        )


def _is_single(wish: Wish, goal: Goal) -> bool:
    return wish.single_branch and goal.branch is not None


def _format(goal: Goal) -> list[str]:
    return ["--object-format=sha256"] if goal.commit is not None and len(goal.commit) == 64 else []


_UNBORN = ("init.defaultBranch=main",)
