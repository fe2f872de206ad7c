from __future__ import annotations

import threading

import pytest

from agent.pool import Pool
from tests.agent.conftest import wait_for


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_work_that_finds_no_thread_is_never_run_and_the_next_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, done = Pool("test", 1), list[str]()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            pool.submit(lambda: done.append("refused"))
    pool.submit(lambda: done.append("taken"))
    wait_for(lambda: pool.is_idle)
    assert done == ["taken"]
