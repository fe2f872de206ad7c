"""agent.pyz: the agent and what it needs in one file, which a bare Python 3.10 starts.

What it needs comes from the packages that this server itself runs with. The same sources give the same bytes.
"""

import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from webapp.errors import GarageError

# What `requests` and `websockets` pull in on any machine; a test holds the list against what they say they need.
PACKAGES = ("certifi", "charset-normalizer", "idna", "requests", "urllib3", "websockets")
SHEBANG = b"#!/usr/bin/env python3\n"
ENTRY = "agent/archive_main.py"
# Python, and the certificates. What was compiled for this machine stays out: each package does without.
KINDS = {".py", ".pem"}
LICENCES = ("licen", "notice", "copying", "authors")
# Neither when the files were written nor whose they are may show in the checksum.
WHEN = (1980, 1, 1, 0, 0, 0)
MODE = 0o100644 << 16


class NoArchive(GarageError):
    """agent.pyz can't be made here. Another machine can still run the agent from a checkout."""

    status, slug = 503, "no-archive"


def pack(repository: Path) -> bytes:
    """The whole file: some tenths of a second of computing. Raises NoArchive."""
    files = dict(_agent(repository))
    files["__main__.py"] = files.pop(ENTRY)
    for package in PACKAGES:
        files.update(_package(package))
    return _zipped(files)


def _agent(repository: Path) -> Iterator[tuple[str, bytes]]:
    for path in (repository / "agent").rglob("*.py"):
        yield path.relative_to(repository).as_posix(), path.read_bytes()


def _package(name: str) -> Iterator[tuple[str, bytes]]:
    try:
        found = metadata.distribution(name)
        for file in found.files or []:
            if _belongs(file):
                yield file.as_posix(), file.locate().read_bytes()  # type: ignore[attr-defined]
    except (metadata.PackageNotFoundError, OSError) as error:
        raise NoArchive(
            f"agent.pyz can't be made: {name} isn't installed as pip does it ({error})."
        ) from error


def _belongs(file: PurePosixPath) -> bool:
    if file.is_absolute() or ".." in file.parts:
        return False
    if file.parts[0].endswith(".dist-info"):
        return file.name.lower().startswith(LICENCES)
    return file.suffix in KINDS


def _zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    made.write(SHEBANG)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, MODE
            archive.writestr(entry, content)
    return made.getvalue()
