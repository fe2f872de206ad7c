"""Fetch htmx and its WebSocket extension, check them, and put them into static/vendor/.

They come out of a wheel on PyPI that carries them, so that no Node and no other host is needed. Nothing of
the wheel is imported or kept. Prints the `integrity` values that the templates carry; with `--check` only
answers, by its exit code, whether the files are there and right.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENT = ROOT / "requirements-vendor.txt"
TARGET = ROOT / "static" / "vendor"


class Script(NamedTuple):
    name: str  # in static/vendor/
    source: str  # inside the wheel
    sha256: str


SCRIPTS = (
    # htmx 2.0.10
    Script(
        "htmx.min.js",
        "django_htmx/static/django_htmx/htmx-2.min.js",
        "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
    ),
    # htmx-ext-ws 2.0.4
    Script(
        "ws.min.js",
        "django_htmx/static/django_htmx/ext/hx-ws-2.min.js",
        "896afc2936ded7a56373edf16ce75b0fe9bf49c03d1f55aee9baa94cb87c8d3e",
    ),
)


class WrongContent(Exception):
    """A file of the wheel isn't the one that was reviewed. Nothing was written."""


def is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def integrity(content: bytes) -> str:
    """The value of `integrity=` in a script tag."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


def install_wheel(folder: Path) -> None:
    """Let pip fetch the pinned wheel into `folder`; pip refuses anything without the pinned hash."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes"]
    subprocess.run([*command, "--target", str(folder), "-r", str(REQUIREMENT)], check=True)


def copy_checked(unpacked: Path, target: Path) -> None:
    """Check all files before the first is written, and write each so that no reader sees half of it."""
    contents = {script: (unpacked / script.source).read_bytes() for script in SCRIPTS}
    for script, content in contents.items():
        if hashlib.sha256(content).hexdigest() != script.sha256:
            raise WrongContent(f"{script.source} isn't the file that was reviewed; nothing was written.")
    target.mkdir(parents=True, exist_ok=True)
    for script, content in contents.items():
        part = target / f".{script.name}.part"
        part.write_bytes(content)
        part.replace(target / script.name)


def main(arguments: list[str]) -> int:
    complete = all(is_right(TARGET / script.name, script.sha256) for script in SCRIPTS)
    if "--check" in arguments:
        return 0 if complete else 1
    if not complete:
        with tempfile.TemporaryDirectory(prefix="garageswarm-js-") as folder:
            install_wheel(Path(folder))
            copy_checked(Path(folder), TARGET)
    for script in SCRIPTS:
        print(f"static/vendor/{script.name} {integrity((TARGET / script.name).read_bytes())}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (WrongContent, subprocess.CalledProcessError) as error:
        sys.exit(f"The JavaScript could not be fetched: {error}")
