"""Git for the agent: a program of its own, which the tool `git` starts as the process of its task.

It needs nothing but this package and the standard library, so that it is light to start and can be handed to another
account. What the two say to each other lies in files of one folder, `<dir>`, which belongs to the account that runs it:

`git.pyz`, `git.json` — written by `prepare()`, which returns the argv that starts it. `git.json` is gone once it was
read: it holds the secret.

    {operation: clone|pull|status|delete|branches, url, ref_kind: default|branch|tag|commit, ref, depth: int|null,
     single_branch, submodules, lfs, force: bool, credential: {kind: token|ssh, username, secret}|null,
     host_keys: [line of known_hosts], schemes: ["https", "ssh", ...],
     path: "owner_name" (not for branches), attempt_id, running: [attempt ids of other git tasks that this agent has now],
     projects: "/absolute/root", mirrors: "/absolute/root", search: PATH where programs are looked for,
     disk_floor_bytes: int, mirrors_bytes: int (0: no limit), repositories: [the owner’s patterns] | null}

    Everything but operation, url, schemes, attempt_id, projects and mirrors may be left out. Unknown names are left alone.

`progress.json` — replaced whole, at most every half second and step:

    {stage, step, step_id, progress: 0-100 | null, message, before: [the same of the last steps before, as they ended]}

`facts.json` — written once, just before it ends; not there after a crash or SIGKILL. Always:

    {operation, success: bool, message: one line for people, failure_class: "disk_low"|null}

    `branches` adds `branches: [{name, commit}], tags: [{name, commit}], default: name|null`. All others add what is known
    of: `local_path, usable: bool, branch, commit, subject, author, committed_at, ahead, behind, dirty, dirty_count,
    unpushed, unpushed_count, branches, commits, default_branch, size, mirror_bytes, host_keys, refused: "dirty"|"unpushed"`.
    `usable` false: there is no checkout at `local_path` that a task could work in (a delete that was done, too).

stdout and stderr — the log, whole lines. Exit code: 0 done; 1 failed, `facts.json` says why; 2 `git.json` can't be used;
3 the disk is low; 143 ended by SIGTERM. SIGTERM ends git and removes what is half done.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pkgutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

# Besides this package itself. Whoever adds an import of something else to it adds it here.
_NEEDS = ("agent", "agent.within")


def prepare(directory: Path, wanted: Mapping[str, Any]) -> list[str]:
    """Everything that the program needs, in `directory`; → the argv that starts it. Raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    program = directory / "git.pyz"
    _write(program, _packed())
    _write(directory / "git.json", json.dumps(dict(wanted)).encode())
    return [sys.executable or "/usr/bin/python3", "-I", "-S", str(program), str(directory)]


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


@functools.lru_cache(maxsize=1)
def _packed() -> bytes:
    """As it is when it is first asked for: `agent update` may put another program in this one’s place."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in _sources():
            archive.writestr(name, source)
    return content.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    """From a checkout or out of the agent’s own archive."""
    own = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    for name in [*_NEEDS, __name__, *own]:
        path = name.replace(".", "/") + ("/__init__.py" if name in {"agent", __name__} else ".py")
        yield path, _source(path)
    yield "__main__.py", _source("agent/git/__main__.py")


def _source(path: str) -> bytes:
    """Of a file next to the package `agent`, wherever this one came from: that is what runs. Where `agent` itself lies there
    may be another program by now."""
    loader: Any = __spec__.loader  # a folder's and an archive's have this method, and no type in common
    content: bytes = loader.get_data(str(PurePath(__path__[0]).parents[1] / path))
    return content
