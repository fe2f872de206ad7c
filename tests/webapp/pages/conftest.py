"""Pages are tested on SQLite by `make test`, and on PostgreSQL by `make test-slow`: the queries behind them have their own
tests on both, and `tests/webapp/test_every_route.py` opens every page on both."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.slow)
