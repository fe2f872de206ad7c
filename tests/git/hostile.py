"""Repositories that somebody made against whoever clones them. Where one gets its way, its mark is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.git.repositories import Content, Link, Program, Repository, Submodule

NULL_COMMIT = "1" * 40


def payload(mark: Path) -> str:
    return f"#!/bin/sh\ntouch '{mark}'\n"


def module(url: str, path: str = "sub", name: str = "sub", **settings: str) -> str:
    """An entry of `.gitmodules`, in which anything can stand."""
    more = "".join(f"\t{key} = {value}\n" for key, value in settings.items())
    return f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n{more}'


def with_module(repository: Repository, entry: str, path: str = "sub", commit: str = NULL_COMMIT) -> None:
    repository.commit({"README": "hello\n", ".gitmodules": entry, path: Submodule(commit)})


# ---- submodules: each of these runs a program or reads a file in a git that does as it is told

MODULES: dict[str, Callable[[Path, Path], str]] = {
    "ext": lambda mark, other: module(f"ext::sh -c touch% {mark}"),
    "upload-pack": lambda mark, other: module(f"--upload-pack=touch {mark}"),
    "ssh option": lambda mark, other: module(f"ssh://-oProxyCommand=touch%20{mark}/x"),
    "a command": lambda mark, other: module(str(other), update=f"!touch {mark}"),
    "a file": lambda mark, other: module(f"file://{other}"),
    "a path": lambda mark, other: module(str(other)),
    "a name above": lambda mark, other: module(str(other), name="../../../hooks"),
    "a path as an option": lambda mark, other: module(str(other), path="-x"),
    "into .git": lambda mark, other: module(str(other), path=".git/modules/x"),
    "a line end": lambda mark, other: module(f"https://git.example/x\\n--upload-pack=touch {mark}"),
}

# ---- trees: names that a file system may take for others


def in_case(name: str) -> Mapping[str, object]:
    """A folder that some file systems take for `.git`, with a configuration in it."""
    return {"README": "hello\n", name: {"config": "[core]\n\tfsmonitor = touch mark\n", "hooks": {"x": "y"}}}


TREES: dict[str, Mapping[str, object]] = {
    ".git": in_case(".git"),
    ".GIT": in_case(".GIT"),
    ".Git": in_case(".Git"),
    "git~1": in_case("git~1"),
    ".g\u200cit": in_case(".g\u200cit"),
    ".git in a folder": {"README": "hello\n", "sub": in_case(".git")},
    "..": {"README": "hello\n", "..": {"outside": "x\n"}},
    ".": {"README": "hello\n", ".": {"x": "y\n"}},
    "a link for .gitmodules": {"README": "hello\n", ".gitmodules": Link("/etc/passwd")},
}

# ---- files that mean something to git, in an ordinary commit


def booby_trapped(repository: Repository, mark: Path) -> str:
    """Hooks, filters, templates, configuration: all that a repository may contain and nobody may run."""
    run = Program(payload(mark))
    files: dict[str, Content] = {
        "README": "hello\n",
        "evil.sh": run,
        **{f"hooks/{name}": run for name in HOOKS},
        **{f".githooks/{name}": run for name in HOOKS},
        ".gitconfig": f"[core]\n\tfsmonitor = touch {mark}\n\thooksPath = .githooks\n",
        ".gitattributes": "*.txt filter=evil diff=evil merge=evil\n",
        "a.txt": "filtered\n",
        ".lfsconfig": f'[lfs]\n\tstandalonetransferagent = evil\n[lfs "customtransfer.evil"]\n\tpath = {mark}\n',
    }
    return repository.commit(files, "A trap")


HOOKS = (
    "post-checkout",
    "post-merge",
    "pre-merge-commit",
    "post-rewrite",
    "reference-transaction",
    "post-index-change",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "push-to-checkout",
)


def tampered(checkout: Path, mark: Path) -> None:
    """What a task that ran in a checkout can leave there for the git that comes after it."""
    program = checkout / ".git" / "evil"
    program.write_text(payload(mark) + "cat\n")
    program.chmod(0o755)
    hooks = checkout / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        (hooks / name).write_text(payload(mark))
        (hooks / name).chmod(0o755)
    (checkout / ".git" / "info").mkdir(exist_ok=True)
    (checkout / ".git" / "info" / "attributes").write_text("* filter=evil diff=evil merge=evil\n")
    with (checkout / ".git" / "config").open("a") as config:
        config.write(TAMPERED.format(program=program, hooks=hooks))


TAMPERED = """
[core]
	fsmonitor = {program}
	hooksPath = {hooks}
	sshCommand = {program}
	askPass = {program}
	pager = {program}
	editor = {program}
	gitProxy = {program}
	alternateRefsCommand = {program}
[credential]
	helper = {program}
[filter "evil"]
	clean = {program}
	smudge = {program}
	process = {program}
	required = true
[filter "lfs"]
	clean = {program}
	smudge = {program}
	process = {program}
	required = true
[diff "evil"]
	textconv = {program}
	command = {program}
[merge "evil"]
	driver = {program}
[diff]
	external = {program}
[remote "origin"]
	uploadpack = {program}
	proxy = http://127.0.0.1:1
[protocol "ext"]
	allow = always
[gpg]
	program = {program}
[log]
	showSignature = true
[submodule]
	recurse = true
[alias]
	status = !{program}
	merge = !{program}
	rev-parse = !{program}
[uploadpack]
	packObjectsHook = {program}
[extensions]
	worktreeConfig = true
"""
