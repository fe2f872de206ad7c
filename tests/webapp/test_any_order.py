"""Everything that workers, people and time can do to tasks, in random order, against a plain model of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from tests.faults.invariants import Records
from tests.webapp.project_tasks import checkout, project
from tests.world import TOOLS, WorkerOf, World, later
from webapp.database import new_id, table_of, transaction
from webapp.live.models import Event, Stream
from webapp.tasks.models import Attempt, HeldLock, LogChunk, Task

LOCKS = ("a", "b")
USES = ("", "", "reads", "writes")  # of the one project
WORKERS = 2
SLOTS = 2
TERMINAL = {"completed", "failed", "cancelled"}
DAY_S = 24 * 3600


@dataclass
class Known:
    """What the model knows of a task."""

    locks: tuple[str, ...]
    attempts_allowed: int
    use: str
    ended_as: str | None = None


@dataclass
class Agent:
    """What a worker's agent would remember: attempts by id, and the log that it has sent of each."""

    worker: WorkerOf
    session: int = 0
    policy: int = 0
    refused: set[str] = field(default_factory=set)  # tasks, by what its owner allows now
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def sync(self, **said: Any) -> dict[str, Any]:
        answer = self.worker.sync(list(self.held), session_id=f"s{self.session}", **said)
        assert answer.status_code == 200, answer.json
        return dict(answer.json)


class AnyOrder(RuleBasedStateMachine):
    """Two workers with two slots each, and a checkout of one project; tasks with locks and policies, some of them in the
    project; and a clock that jumps."""

    offers = Bundle("offers")

    def __init__(self, world: World, records: Records) -> None:
        super().__init__()
        self.world, self.records = world, records
        self.tasks: dict[str, Known] = {}
        self.agents: list[Agent] = []
        self.project_id = ""

    @initialize()
    def begin(self) -> None:
        """On an empty queue: what an earlier run left is taken away."""
        self.records.ended.clear()
        with self.world.app.app_context(), transaction() as session:
            for model in (LogChunk, HeldLock, Attempt, Task, Event, Stream):
                session.execute(delete(table_of(model)))
        self.agents = [Agent(self.world.worker(f"w{number}", slots=SLOTS)) for number in range(WORKERS)]
        self.project_id = project(self.world, new_id())
        for agent in self.agents:
            checkout(self.world, self.project_id, agent.worker)

    # ---- people

    @rule(
        locks=st.sets(st.sampled_from(LOCKS)),
        on_lost=st.sampled_from(["fail", "requeue"]),
        max_retries=st.integers(0, 2),
        retry_on=st.sampled_from([[], ["exit_code"], ["agent_error", "worker_lost"]]),
        priority=st.integers(0, 1),
        use=st.sampled_from(USES),
    )
    def submit(self, locks: set[str], use: str, **policy: Any) -> None:
        in_project = {"project_id": self.project_id, "project_reads_only": use == "reads"} if use else {}
        task_id = self.world.queued_task(locks=sorted(locks), **in_project, **policy)
        may_repeat = bool(policy["retry_on"]) or policy["on_lost"] == "requeue"
        allowed = 1 + policy["max_retries"] if may_repeat else 1
        self.tasks[task_id] = Known(tuple(sorted(locks)), allowed, use)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.tasks:
            return
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        answer = self.world.api("operator", "POST", f"/tasks/{task_id}/cancel")
        assert answer.status_code == (409 if self.tasks[task_id].ended_as else 200)

    @rule(number=st.integers(0, WORKERS - 1), verb=st.sampled_from(["drain", "resume"]))
    def set_aside(self, number: int, verb: str) -> None:
        assert (
            self.world.api("admin", "POST", f"/workers/{self.agents[number].worker.id}/{verb}").status_code
            == 200
        )

    # ---- workers

    @rule(target=offers, number=st.integers(0, WORKERS - 1), is_lost=st.booleans(), accepting=st.booleans())
    def sync(self, number: int, is_lost: bool, accepting: bool) -> Any:
        """With `is_lost` the answer doesn't arrive: the agent knows nothing of the offers in it."""
        agent = self.agents[number]
        answer = agent.sync(accepting=accepting)
        for attempt_id in answer["unknown"]:
            agent.held.pop(attempt_id, None)
        if is_lost:
            return multiple()
        for offer in answer["offers"]:
            assert accepting
            assert offer["task_id"] not in agent.refused, "its owner has refused it"
            agent.held[offer["attempt_id"]] = offer
        return multiple(*((number, offer) for offer in answer["offers"]))

    @rule(number=st.integers(0, WORKERS - 1))
    def restart(self, number: int) -> None:
        """The agent is killed and forgets everything, as one whose disk was lost would."""
        agent = self.agents[number]
        agent.session += 1
        agent.held.clear()

    @rule(offer=offers, size=st.integers(0, 50), skip=st.integers(-20, 5))
    def chunk(self, offer: tuple[int, dict[str, Any]], size: int, skip: int) -> None:
        """The next bytes of a log, or ones that were sent already, or with a gap before them."""
        number, said = offer
        agent, attempt_id = self.agents[number], said["attempt_id"]
        end = agent.sent.get(attempt_id, 0)
        offset = max(0, end + skip)
        answer = agent.worker.send_log(said, bytes(range(offset % 200, offset % 200 + size)), offset)
        assert answer.status_code in {200, 409, 416}
        if answer.status_code == 200:
            agent.sent[attempt_id] = answer.json["next_offset"]
            assert answer.json["next_offset"] == max(end, offset + size)

    @rule(
        offer=offers,
        status=st.sampled_from(["completed", "failed", "cancelled"]),
        failure_class=st.sampled_from(["exit_code", "agent_error"]),
    )
    def report(self, offer: tuple[int, dict[str, Any]], status: str, failure_class: str) -> None:
        self._report(*offer, status, failure_class)

    @rule(offer=consumes(offers))
    def report_twice(self, offer: tuple[int, dict[str, Any]]) -> None:
        first = self._report(*offer, "completed", None)
        second = self._report(*offer, "completed", None)
        if first.status_code == 200:
            assert (second.status_code, second.json) == (200, first.json)
        else:
            assert second.status_code == first.status_code

    @rule(offer=consumes(offers))
    def refuse_twice(self, offer: tuple[int, dict[str, Any]]) -> None:
        """What the machine's owner doesn't allow is as if it had never been tried, unless it was begun."""
        number, said = offer
        made = len(self.world.rows("attempts"))
        first, second = (self._report(number, said, "failed", "refused") for _ in range(2))
        if first.status_code != 200:
            return
        assert (second.status_code, second.json) == (200, first.json)
        if first.json["new_status"] == "queued":
            self.agents[number].refused.add(said["task_id"])
            assert len(self.world.rows("attempts")) == made - 1

    @rule(number=st.integers(0, WORKERS - 1))
    def allow_something_else(self, number: int) -> None:
        agent = self.agents[number]
        agent.policy += 1
        agent.refused.clear()
        agent.sync(accepting=False, tools=TOOLS, policy={"max_minutes": agent.policy})

    def _report(self, number: int, offer: dict[str, Any], status: str, failure_class: str | None) -> Any:
        agent = self.agents[number]
        said = {"failure_class": failure_class} if status == "failed" else {}
        size = agent.sent.get(offer["attempt_id"], 0)
        answer = agent.worker.report(offer, status, log_size=size, **said)
        assert answer.status_code in {200, 409}, answer.json
        agent.held.pop(offer["attempt_id"], None)
        return answer

    # ---- time

    @rule(seconds=st.sampled_from([3, 30, 100, 131, 700, 2000]))
    def time_passes(self, seconds: int) -> None:
        later(seconds)

    @rule()
    def reap(self) -> None:
        self.world.end_lost()

    # ---- what always holds

    @invariant()
    def holds(self) -> None:
        self.records.check(overdue_s=float("inf"))

    @invariant()
    def agrees_with_the_model(self) -> None:
        rows = {row["id"]: row for row in self.world.rows("tasks")}
        attempts = self.world.rows("attempts")
        assert set(rows) == set(self.tasks)
        for task_id, known in self.tasks.items():
            row = rows[task_id]
            assert known.ended_as in (None, row["status"]), "a terminal state changed"
            known.ended_as = row["status"] if row["status"] in TERMINAL else None
            tries = [attempt for attempt in attempts if attempt["task_id"] == task_id]
            assert len(tries) <= known.attempts_allowed, "it ran more often than its policy says"
            assert row["attempts_made"] == len(tries)
        self._locks_and_slots(attempts)

    def _locks_and_slots(self, attempts: list[dict[str, Any]]) -> None:
        open_ones = [attempt for attempt in attempts if attempt["ended_at"] is None]
        for agent in self.agents:
            its = [self.tasks[row["task_id"]] for row in open_ones if row["worker_id"] == agent.worker.id]
            assert len(its) <= SLOTS
            uses = [known.use for known in its if known.use]
            assert "writes" not in uses or len(uses) == 1, "who writes is alone in the checkout"
        wanted = [name for attempt in open_ones for name in self.tasks[attempt["task_id"]].locks]
        held = [row["name"] for row in self.world.rows("held_locks")]
        assert sorted(wanted) == sorted(held), "the locks of what runs are held, each by one, and no others"

    def teardown(self) -> None:
        """Nothing waits for ever: with workers that do their work, everything ends."""
        if not self.agents:
            return
        for agent in self.agents:
            self.world.api("admin", "POST", f"/workers/{agent.worker.id}/resume")
        for _ in range(60):
            if not any(row["ended_at"] is None for row in self.world.rows("tasks")):
                break
            later(2000)
            self.world.end_lost()
            self._work_it_off()
        left = [row for row in self.world.rows("tasks") if row["ended_at"] is None]
        assert not left, f"these never end: {left}"
        self.holds()
        self.agrees_with_the_model()

    def _work_it_off(self) -> None:
        for number, agent in enumerate(self.agents):
            agent.held.clear()
            agent.session += 1
            for offer in agent.sync()["offers"]:
                self._report(number, offer, "completed", None)


def run(world: World, examples: int, steps: int) -> None:
    settings_ = world.app.config["SETTINGS"]
    records = Records(settings_.instance_path, settings_.database_url)
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: AnyOrder(world, records),
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],  # ids differ between runs, so a failure can't be made smaller
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        records.close()


@pytest.mark.timeout(240)
def test_tasks_keep_their_promises_whatever_happens(new_world: Callable[..., World]) -> None:
    run(new_world(), examples=12, steps=25)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tasks_keep_their_promises_whatever_happens_for_long(new_world: Callable[..., World]) -> None:
    run(new_world(), examples=40, steps=50)
