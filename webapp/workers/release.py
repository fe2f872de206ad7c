"""The agent that this server gives away: agent.pyz, made when it is first asked for and kept in the instance folder."""

import ast
import hashlib
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import current_app

from webapp.config import REPOSITORY
from webapp.offload import offload
from webapp.workers import archive

FILE = "agent.pyz"
_lock = threading.Lock()


@dataclass(frozen=True)
class Release:
    version: str
    protocol: int
    sha256: str
    size: int
    path: Path

    @property
    def url(self) -> str:
        """A path on this server. With the checksum it names these very bytes."""
        return f"/{FILE}?sha256={self.sha256}"


def current() -> Release:
    """Raises NoArchive where it can't be made. The sources are looked at once a process: another version of them is
    given away when the server itself has been started with it."""
    kept = current_app.extensions
    with _lock:
        release: Release | None = kept.get("release")
        if release is None or not release.path.exists():
            folder = Path(current_app.instance_path) / "release"
            release = kept["release"] = offload(_make, folder)
    return release


def _make(folder: Path) -> Release:
    content = archive.pack(REPOSITORY)
    folder.mkdir(mode=0o700, exist_ok=True)
    fresh = folder / f"{FILE}.{os.getpid()}.tmp"
    fresh.write_bytes(content)
    fresh.replace(folder / FILE)
    digest = hashlib.sha256(content).hexdigest()
    return Release(version(), protocol(), digest, len(content), folder / FILE)


def version() -> str:
    return str(_said("__version__"))


def protocol() -> int:
    return int(str(_said("PROTOCOL")))


@cache
def _said(name: str) -> object:
    """What the agent says of itself. It is read, not imported: the two share the wire alone."""
    tree = ast.parse((REPOSITORY / "agent" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise archive.NoArchive(f"agent/__init__.py doesn't say its {name}.")
