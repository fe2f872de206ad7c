"""Make .venv ready: `prepare.py run` for the programs, `prepare.py test` for the tests as well.

Says nothing when there is nothing to do. Standard library only: it runs before anything is installed, with
the Python that .venv is made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# There while pip works. Found at the start, it means that an install was cut short and can't be trusted.
UNFINISHED = VENV / "unfinished"
LISTS = {"run": ["requirements.txt"], "test": ["requirements.txt", "requirements-dev.txt"]}


class CannotPrepare(Exception):
    """Something is missing that this script can't fetch by itself. The message says what to type."""


def main(purpose: str) -> None:
    lists = LISTS[purpose]
    with one_at_a_time():
        if not is_usable():
            say(1, f"Python {sys.version.split()[0]}, {sys.executable}")
            say(2, "making .venv")
            make_venv()
        for name in lists:
            if not is_installed(name):
                say(3, f"installing what {name} lists, into .venv only")
                install(name)
        vendor_javascript()
        if purpose == "test":
            run("sh", "scripts/system_packages.sh")


def say(step: int, what: str) -> None:
    print(f"{step}/4 {what}", flush=True)


def run(*command: str, stdout: int | None = None) -> None:
    subprocess.run(command, check=True, cwd=ROOT, stdout=stdout)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """`make run` and `make test` in two terminals would install into each other."""
    with (ROOT / "requirements.txt").open() as anchor:
        try:
            fcntl.flock(anchor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make is preparing .venv: waiting for it.", flush=True)
            fcntl.flock(anchor, fcntl.LOCK_EX)
        yield


def is_usable() -> bool:
    """Whether .venv is whole and its Python still exists and is new enough."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    probe = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([PYTHON, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0


def make_venv() -> None:
    if VENV.is_symlink():
        raise CannotPrepare(".venv is a symbolic link. Remove it, then type the same again.")
    shutil.rmtree(VENV, ignore_errors=True)
    if importlib.util.find_spec("ensurepip") is None:
        install_ensurepip()
    VENV.mkdir()
    UNFINISHED.touch()
    run(sys.executable, "-m", "venv", str(VENV))
    UNFINISHED.unlink()


def install_ensurepip() -> None:
    """Debian and Ubuntu split what makes a virtual environment into a package of its own."""
    package = f"python3.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotPrepare(
            f"This Python can't make virtual environments yet. Type: sudo apt-get install {package}"
        )
    print(f"    {package} is missing, apt-get installs it", flush=True)
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package, stdout=subprocess.DEVNULL)


def stamp_of(name: str) -> Path:
    return VENV / f"installed-{name}"


def is_installed(name: str) -> bool:
    stamp = stamp_of(name)
    return stamp.exists() and stamp.read_text() == digest(name)


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def install(name: str) -> None:
    """pip shows its progress bars to a person, and only errors to a log file."""
    UNFINISHED.touch()
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *quiet]
    run(*pip, "--require-hashes", "-r", name)
    stamp_of(name).write_text(digest(name))
    UNFINISHED.unlink()


def vendor_javascript() -> None:
    script = [str(PYTHON), "scripts/vendor_js.py"]
    if not subprocess.run([*script, "--check"], cwd=ROOT, check=False).returncode:
        return
    say(4, "fetching htmx into static/vendor")
    run(*script, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except CannotPrepare as problem:
        sys.exit(str(problem))
    except subprocess.CalledProcessError as problem:
        sys.exit(
            f"This failed, and its reason is above: {problem.cmd[0]}. The next make starts again cleanly."
        )
    except OSError as problem:
        sys.exit(f"{problem}. Does .venv belong to another user? Remove it, then type the same again.")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The next make starts again cleanly.")
