"""The README's picture: a task with its log while it runs. `GSW_SCREENSHOTS=1` makes it anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.looks import FONTS, too_wide
from tests.browser.people import People, Session, Visits
from tests.stack import ROOT, Stack, eventually, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

PICTURE = ROOT / "docs" / "images" / "task.png"
MOST_BYTES = 250_000
# A stand-in for pytest in the agent's PATH: fails at once the first time, then prints and stays.
PYTEST = r"""#!/bin/sh
if [ ! -e "{folder}/tried" ]; then touch "{folder}/tried"; sleep 2; echo "database is starting up"; exit 1; fi
green='\033[32m' cyan='\033[36m' red='\033[31m' off='\033[0m'
for i in $(seq 1 310); do
  printf "tests/storage/test_blocks_%03d.py $green....................$off $cyan[%3d%%]$off\n" $i $((i * 45 / 310)); done
percent=45
for name in accounts/test_login accounts/test_notifications api/test_badge api/test_bounce_handler api/test_checks \
  api/test_create api/test_delete api/test_flips api/test_list api/test_notify_email api/test_pause; do
  percent=$((percent + 2))
  printf "tests/$name.py $green..........................$off $cyan[%3d%%]$off\n" $percent; done
printf "tests/api/test_notify_webhook.py $green.........$off${{red}}F$green.......$off $cyan[ 69%%]$off\n\n"
printf "${{red}}__________________ test_it_says_when_the_other_side_times_out __________________$off\n"
printf "tests/api/test_notify_webhook.py:118: in test_it_says_when_the_other_side_times_out\n"
printf "    channel.notify(flip)\nintegrations/webhook.py:64: in notify\n"
printf "    self.request(method, url, headers=headers, data=body, timeout=(5, 10))\n"
printf "\033[1;31mE   AssertionError: 'Connection timed out' != 'Request timed out'$off\n"
printf "${{red}}E   - Connection timed out$off\n${{green}}E   + Request timed out$off\n\n"
printf "\033[33m1 failed so far, 4 more would stop the run (--maxfail=5)$off\n\n"
percent=69
for name in front/test_add_check front/test_add_email front/test_channels front/test_details front/test_log; do
  percent=$((percent + 1))
  printf "tests/$name.py $green..........................$off $cyan[%3d%%]$off\n" $percent; done
while [ ! -e "{folder}/stop" ]; do sleep 0.2; done
"""


@pytest.fixture
def garage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A few machines with something to do, and one that asks to be let in."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "pytest"
    fake.write_text(PYTEST.format(folder=tmp_path))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with running_stack(tmp_path) as stack:
        stack.start_agent("lab-02", labels="os=linux python=3.12")
        stack.start_agent("old-thinkpad", join=False)
        eventually(lambda: stack.worker("old-thinkpad"), what="the second machine to ask")
        yield stack


def submitted(stack: Stack, person: Session) -> str:
    """By the one who looks, so that the page says who."""
    for name in ("make html", "nightly backup"):
        stack.submit("sleep 300", name=name)
    headers = {"Authorization": f"Bearer {person.api_token('laptop')}"}
    wish = {
        "tool": "shell",
        "name": "pytest -q",
        "input": {"argv": ["pytest", "-q", "--maxfail=5", "-n", "auto"]},
        "labels": {"os": "linux", "python": "3.12"},
        "retry_on": ["exit_code", "worker_lost"],
    }
    answer = requests.post(f"{stack.url}/api/v1/tasks", json=wish, headers=headers, timeout=20)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_the_page_in_the_readme_looks_as_it_does_there(
    garage: Stack, new_visits: Callable[[People], Visits]
) -> None:
    assert "(docs/images/task.png)" in (ROOT / "README.md").read_text()
    people = People(garage)
    mira = people.newcomer("mira", "admin")
    page = new_visits(people).page(mira, bypass_csp=True)
    tasks.open_task(page, submitted(garage, mira))
    expect(page.locator("#attempts")).to_contain_text("Attempt 2", timeout=90_000)
    page.add_style_tag(content=FONTS)
    expect(page.get_by_text("test_log.py")).to_be_in_viewport()
    tasks.expect_state(page, "Running", "^Running: pytest -q", "running")
    assert too_wide(page) == []
    if os.environ.get("GSW_SCREENSHOTS") == "1":
        expect(page.locator("#task-head time[data-elapsed]")).to_have_text("24 s", timeout=40_000)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE, animations="disabled")
    assert 20_000 < PICTURE.stat().st_size <= MOST_BYTES
