"""Who asks for a project's password, in git's words: its own host hears it, and nobody who only looks like it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.git.access import MOST_ANSWERS, Access, opened
from agent.git.runs import CALL
from agent.git.wish import Credential

URL = "https://Git.example:8443/team/app.git"


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    with opened(tmp_path, URL, Credential("token", "mira@work", "secret'word"), []) as made:
        yield made


def ask(access: Access, question: str, call: str = "1") -> str:
    """The answer; empty where there is none."""
    program = access.variables["GIT_ASKPASS"]
    environment = {"PATH": os.environ["PATH"], CALL: call}
    done = subprocess.run([program, question], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == bool(done.stdout)
    return done.stdout


def test_its_own_host_is_answered(access: Access) -> None:
    assert ask(access, "Username for 'https://Git.example:8443': ") == "mira@work"
    assert ask(access, "Password for 'https://mira%40work@Git.example:8443': ") == "secret'word"
    assert ask(access, 'Password for "https://mira%40work@Git.example:8443"') == "secret'word"


@pytest.mark.parametrize(
    "question",
    [
        "Username for 'https://evil.example': ",
        "Username for 'https://Git.example': ",
        "Username for 'https://Git.example:8443.evil.example': ",
        "Username for 'http://Git.example:8443': ",
        "Password for 'https://Git.example:8443': ",
        "Password for 'https://mira@work@Git.example:8443@evil.example': ",
        "Password for 'https://x'://Git.example:8443'@evil.example': ",
        "Password for 'https://mira@work@Git.example:8443': '@evil.example': ",
        "Are you sure that you want to continue connecting?",
        "",
    ],
)
def test_what_only_looks_like_it_is_not(access: Access, question: str) -> None:
    assert ask(access, question) == ""


def test_one_call_of_git_gets_few_answers_and_the_next_one_as_many(access: Access) -> None:
    question = "Username for 'https://Git.example:8443': "
    answers = [ask(access, question) for _ in range(MOST_ANSWERS + 2)]
    assert answers == ["mira@work"] * MOST_ANSWERS + ["", ""]
    assert ask(access, question, call="2") == "mira@work"
