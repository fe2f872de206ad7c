"""schemathesis calls every operation of the document: nothing breaks, and every answer is as the document says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from tests.webapp.callers import Living
from tests.world import World

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
SEED = 20260101
# Answers that say more than is written down: an event by its type, a problem by its kind, the document itself.
OPEN = {"EventAnswer", "Problem", "DocumentAnswer"}


def config(examples: int) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
            "generation": {
                "max-examples": examples,
                "deterministic": True,
                "database": "none",
                "no-shrink": True,
                "with-security-parameters": False,
            },
            # Wrong methods are tried by other tests; what follows from what isn't in the document.
            "phases": {"coverage": {"unexpected-methods": []}, "stateful": {"enabled": False}},
            "suppress-health-check": ["all"],
        }
    )


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document, but an answer may say nothing that isn't in it: a new field can't be left out."""
    for name, schema in document["components"]["schemas"].items():
        if name not in OPEN and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


@dataclass
class Calls:
    """What came of calling everything: {(operation, status): calls}, and what was wrong."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def take(self, event: Any) -> None:
        if isinstance(event, events.ScenarioFinished):
            label, found = event.recorder.label, event.recorder
            calls = [call for call in found.interactions.values() if call.response is not None]
            self.statuses.update((label, call.response.status_code) for call in calls)
            checks = [check for each in found.checks.values() for check in each]
            self.wrong += [_in_words(label, check) for check in checks if check.status is Status.FAILURE]
        elif isinstance(event, events.NonFatalError):
            self.wrong.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            self.wrong.append(repr(event.exception))

    def let_in(self) -> set[str]:
        return {label for label, status in self.statuses if status < 300}


def _in_words(label: str, check: Any) -> str:
    failure = check.failure_info.failure
    return f"{label}: {failure.title}\n{failure.message}\n{check.failure_info.code_sample}"


@contextmanager
def informed(living: Living) -> Iterator[None]:
    def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
        living.inform(case)

    schemathesis.hook(before_call)
    try:
        yield
    finally:
        schemathesis.hooks.unregister(before_call)


def call_everything(new_world: Callable[..., World], examples: int) -> Calls:
    """In this process, with nothing that limits how often."""
    many = 10**6
    limits = {"requests_per_minute": many, "stranger_requests_per_minute": many, "pending_workers": many}
    world = new_world(**limits, offline_after_s=3600)
    document = world.app.test_client().get("/api/v1/openapi.json").get_json()
    schema = schemathesis.openapi.from_dict(closed(document), config=config(examples))
    schema.app = world.app
    calls = Calls()
    with informed(Living(world)):
        for event in from_schema(schema).execute():
            calls.take(event)
    operations = {f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs}
    assert {label for label, _ in calls.statuses} == operations
    return calls


@pytest.mark.timeout(240)
@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_every_answer_is_as_the_document_says(new_world: Callable[..., World]) -> None:
    calls = call_everything(new_world, 3)
    assert not calls.wrong, "\n\n".join(calls.wrong[:10])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_answer_to_many_more_calls_is_as_the_document_says(new_world: Callable[..., World]) -> None:
    calls = call_everything(new_world, 40)
    assert not calls.wrong, "\n\n".join(calls.wrong[:10])
    refused = {label for label, _ in calls.statuses} - calls.let_in()
    assert refused == set(), f"calls that were never let in prove little: {calls.statuses}"
