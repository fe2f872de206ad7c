"""A repository as large as wanted, within seconds: made by `git fast-import` from data that nothing compresses well."""

from __future__ import annotations

import base64
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MB = 1000 * 1000
FILES_A_FOLDER = 250
BEGAN = 1_700_000_000  # the first commit's time, in seconds since 1970


@dataclass(frozen=True)
class Shape:
    """`files` of together `size` bytes, added over `commits`; each of these also replaces one file of `churn` bytes.

    So the last commit alone takes `size + churn`, and all of history `size + commits * churn`.
    """

    files: int = 50_000
    size: int = 500 * MB
    commits: int = 50
    churn: int = 0


def build(path: Path, shape: Shape = Shape()) -> Path:
    """A bare repository with the branch `main`. The same shape makes the same commits."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], check=True)
    # Random text has no use for deltas; one pack is what a server has after its housekeeping.
    settings = ["-c", "core.compression=1", "-c", "fastimport.unpackLimit=1"]
    command = ["git", *settings, "-C", str(path), "fast-import", "--quiet", "--depth=0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as pipe:
        for number in range(shape.commits):
            _write_commit(pipe, number, _files_of(shape, number))
    assert process.wait() == 0, "git fast-import failed"
    return path


def _write_commit(pipe: IO[bytes], number: int, files: Iterator[tuple[str, bytes]]) -> None:
    subject = b"Commit %d" % number
    pipe.write(b"commit refs/heads/main\ncommitter Ada <ada@garage.example> %d +0000\n" % (BEGAN + number))
    pipe.write(b"data %d\n%s\n" % (len(subject), subject))
    for path, content in files:
        pipe.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content))


def _files_of(shape: Shape, number: int) -> Iterator[tuple[str, bytes]]:
    dice = random.Random(number)
    each = shape.size // shape.files
    for file in range(number * shape.files // shape.commits, (number + 1) * shape.files // shape.commits):
        yield f"source/{file // FILES_A_FOLDER:04}/file-{file:06}.txt", _text(dice, each)
    if shape.churn:
        yield "changing.txt", _text(dice, shape.churn)


def _text(dice: random.Random, size: int) -> bytes:
    return base64.encodebytes(dice.randbytes(size * 3 // 4 + 1))[:size]
