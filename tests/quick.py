"""What thousands of apps in one run needn't do again, or needn't do as carefully as one that people use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event
from werkzeug.routing import Rule


@contextmanager
def quick_apps() -> Iterator[None]:
    """Apps of this process start in a third of the time, and wait for no disk: no test pulls the plug on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", _compiled_once())
        patch.setattr("webapp.security.os", _Os())
        patch.setattr("webapp.tasks.logs.os", _Os())
        yield


def forget_durability(engine: Engine) -> None:
    """What is committed need not outlive this process. PostgreSQL gets the same from `PostgresServer`."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))


class _Os:
    """`os`, whose fsync is done at once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, file: int) -> None:
        os.fstat(file)


def _compiled_once() -> Any:
    """Nine tenths of what an app's start costs is that werkzeug compiles a function for each of its routes. What is
    compiled takes its rule as an argument, and depends on nothing but the route's words: one does for all apps."""
    compile_builder: Any = Rule._compile_builder
    compiled: dict[Any, Any] = {}

    def once(rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:
            return compile_builder(rule, append_unknown)
        key = (rule.rule, append_unknown, *rule._trace)
        if key not in compiled:
            compiled[key] = compile_builder(rule, append_unknown)
        return compiled[key]

    return once
