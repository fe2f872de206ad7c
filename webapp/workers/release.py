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
    """Raises NoArchive where it can't be made. The sources are read once a process: what changes in them later is given
    away after a restart."""
    kept = current_app.extensions
    with _lock:
        release: Release | None = kept.get("release")
        if release is None or not release.path.exists():
            folder = Path(current_app.instance_path) / "release"
            release = kept["release"] = offload(_make, folder)
    return release


def _make(folder: Path) -> Release:
    content = archive.pack(REPOSITORY)
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(mode=0o700, exist_ok=True)
    # By its checksum: a process that ends while another one starts mustn't find the other's under its own.
    path = folder / f"agent-{digest[:16]}.pyz"
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
    for former in folder.glob("agent-*.pyz"):
        if former != path:
            former.unlink(missing_ok=True)
    return Release(version(), protocol(), digest, len(content), path)


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
