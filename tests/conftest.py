"""What every test may use, and the rule about skips: loud on a laptop, a failure in CI."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_timeout
from playwright.sync_api import Browser, expect, sync_playwright

from tests import services
from tests.git.http_remote import HttpRemote
from tests.git.ssh_remote import SshRemote
from tests.services import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
SKIPS = pytest.StashKey[Counter[str]]()
# These start whole programs, which takes a busy machine a while; the others have what pyproject.toml gives them.
START_PROGRAMS = {"agent", "browser", "contract", "end_to_end", "faults", "git", "static"}
PROGRAMS_TIMEOUT_S = 180
# Two busy cores run the browser, the server and the agent.
EXPECT_WITHIN_MS = 20_000

# How fast examples are made says something about the machine, and nothing about the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL for the whole run. `fresh_database()` is what a test wants of it."""
    services.need("PostgreSQL")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for the whole run. A test makes its own context, so that nothing is shared."""
    services.need("Chromium")
    expect.set_options(timeout=EXPECT_WITHIN_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**services.chromium_options())
        yield browser
        browser.close()


@pytest.fixture
def http_remote(tmp_path: Path) -> Iterator[HttpRemote]:
    """A git server over http of the test's own; nobody is asked for a password until the test says so."""
    with HttpRemote(tmp_path / "http-remote") as remote:
        yield remote


@pytest.fixture
def ssh_remote(tmp_path: Path) -> Iterator[SshRemote]:
    """A git server over ssh of the test's own, with one key that opens it."""
    with SshRemote(tmp_path / "ssh-remote") as remote:
        yield remote


def allowed_skips(document: Path = ROOT / "docs" / "testing.md") -> set[str]:
    """The reasons for which a test may skip in CI: the lines of the block `allowed-skips`."""
    block = re.search(r"^```allowed-skips\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    if block is None:
        raise pytest.UsageError(f"{document} has no block named allowed-skips.")
    return {line.strip() for line in block[1].splitlines() if line.strip()}


def refused_skips(config: pytest.Config) -> list[str]:
    if os.environ.get("CI", "").lower() not in {"1", "true"}:
        return []
    skips: Counter[str] = config.stash[SKIPS]
    return sorted(set(skips) - allowed_skips())


class SkipCounter:
    """Counts why tests, and whole files of them, were skipped."""

    def __init__(self, skips: Counter[str]) -> None:
        self.skips = skips

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._count(report)

    def _count(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        _, _, reason = (
            report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
        )
        self.skips[reason.removeprefix("Skipped: ")] += 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.nodeid.partition("::")[0].split("/")
        if START_PROGRAMS.intersection(folders) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PROGRAMS_TIMEOUT_S))


def pytest_collection_finish() -> None:
    """A quarter of a run went into looking through all that was ever imported, and the apps, for what isn't used."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A second run gets a time limit of its own: the first one's timer is used up, and it would wait for ever."""
    if getattr(item, "execution_count", 1) > 1:
        hooks = item.config.pluginmanager.hook
        hooks.pytest_timeout_cancel_timer(item=item)
        hooks.pytest_timeout_set_timer(item=item, settings=pytest_timeout._get_item_settings(item))


def pytest_configure(config: pytest.Config) -> None:
    # A run that was started in the background ignores what a terminal says, and so would every program of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    config.stash[SKIPS] = Counter()
    config.pluginmanager.register(SkipCounter(config.stash[SKIPS]))


def pytest_report_header() -> list[str]:
    return [
        f"MISSING: {name}; its tests skip. apt-get install {services.PACKAGES[name]}"
        for name in services.missing()
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and refused_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash[SKIPS].most_common():
        terminalreporter.line(f"SKIPPED {count}: {reason}", yellow=True, bold=True)
    for reason in refused_skips(config):
        terminalreporter.line(
            f"FAILED: docs/testing.md doesn't allow this skip in CI: {reason}", red=True, bold=True
        )
