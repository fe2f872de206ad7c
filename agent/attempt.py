"""One attempt's life: prepare, run, flush the log, report."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from agent import callback, clock, ending, inline, orphans, project, retry, tools
from agent.ending import Ending, Why
from agent.journal import Entry, Place
from agent.lease import Lease
from agent.limits import Limits
from agent.logs import AttemptLog, FileSource, MemorySource
from agent.mask import Masker
from agent.masked import MaskedSource
from agent.offer import BadOffer, Offer, task_of
from agent.process_run import ProcessRun
from agent.project import Project
from agent.secret_forms import secrets_of
from agent.server import Refused, Unreachable
from agent.telling import Telling
from agent.tools import BadInput, InlineTool, ProcessTool, Stopped, Tool
from agent.watch import Deadline, Wish
from agent.workshop import Workshop

log = logging.getLogger("agent")

# How often a renewal is written down, for the agent that may adopt the attempt.
RENEWAL_NOTED_S = 10.0
MAX_ERROR = 2000
MAX_REJECTIONS = 3
REJECTED_S = 60.0
# What a report can't do without.
REQUIRED = frozenset({"task_id", "attempt_id", "status", "execution_time_ms", "failure_class"})
_KEY_TROUBLE = frozenset({401, 403})
_KEY_TROUBLE_S = 60.0


@functools.lru_cache(maxsize=1)
def _plain_masker(keys: tuple[str, ...]) -> Masker:
    """Of attempts that have no secrets of their own: most, and it takes longer to make than many a task."""
    return Masker(keys)


class _Unexpected(Exception):
    """Says what another error said, without the secrets in it."""


class Attempt:
    """Held from the offer until its report is accepted. `run` is called once, on a thread of its own."""

    def __init__(
        self,
        workshop: Workshop,
        offer: Offer,
        *,
        data: dict[str, Any] | None = None,
        entry: Entry | None = None,
        tool: Tool | None = None,
        refusal: Ending | None = None,
    ) -> None:
        self.offer = offer
        self.wish = Wish()
        self.lease = Lease()
        self.place = Place(workshop.jobs / offer.attempt_id)
        self.report: dict[str, Any] | None = None
        self._workshop = workshop
        self._tool = tool or tools.registry().get(offer.tool)
        self._data = data  # what `data_url` returns, where the offer brought it
        self._refusal = refusal  # how it ends because this agent doesn't start it
        self._entry = entry  # of an earlier agent, whose attempt this goes on with
        self._secrets: list[str] | None = None  # not known yet
        self._project: Project | None = None  # that it works in, or places
        self.report_not_before = 0.0
        self._rejections = 0
        self._renewal_noted_at = float("-inf")
        if entry is not None:
            # The lease ran on while no agent was there.
            noted = self.place.renewal() or (entry.prepared_at, self.lease.seconds)
            self.lease.renewed_at, self.lease.seconds = noted
        self._limits = Limits(self.place.path)
        self._run_s: float | None = None
        self._memory = MemorySource() if isinstance(self._tool, InlineTool) else None
        raw = FileSource(self.place.output) if self._memory is None else self._memory
        self._masker = _plain_masker(workshop.server.secrets)
        self._masked = MaskedSource(raw, self.place.hole)
        self.log = AttemptLog(offer.task_id, offer.attempt_id, self._masked, owner=self, cap=workshop.log_cap)

    @property
    def attempt_id(self) -> str:
        return self.offer.attempt_id

    @property
    def is_repeatable(self) -> bool:
        """Leaves nothing on disk: running it again after a crash harms nothing."""
        return self._tool is not None and self._tool.repeatable

    @property
    def _is_fenced(self) -> bool:
        return self.offer.on_lost == "requeue" and clock.now() >= self.lease.fence_at

    # What others ask of it.

    def cancel(self, reason: str = "") -> None:
        self.wish.ask(Why.CANCELLED, reason)

    def cancel_asked(self) -> None:
        self.cancel()

    def lease_lost(self) -> None:
        """Not ours any more. Where it has ended already, the answer to its report decides."""
        self.wish.ask(Why.ABANDONED)

    def lease_renewed(self, sent_at: float) -> None:
        self.lease.renew(sent_at)
        is_due = self.offer.on_lost == "requeue" and sent_at - self._renewal_noted_at > RENEWAL_NOTED_S
        if is_due and self.place.note_renewal(sent_at, self.lease.seconds):
            self._renewal_noted_at = sent_at

    # Its life.

    def run(self) -> None:
        started_at = clock.now()
        if self._refusal is None:
            log.info("task %s started (%s)", self.offer.task_id, self.offer.tool, extra=self._names())
        self._workshop.pump.follow(self.log)
        try:
            outcome = self._refusal or self._work()
        except Exception as error:
            text = self._masker.text(f"{type(error).__name__}: {error}")
            where = _Unexpected(text).with_traceback(error.__traceback__)
            log.exception("task %s: an error that nobody expected", self.offer.task_id, exc_info=where)
            orphans.end_all(self.attempt_id, None)
            outcome = ending.failure(f"the agent failed: {text}")
        if self._run_s is None:
            self._run_s = 0.0 if outcome.failure_class == ending.REFUSED else clock.now() - started_at
        if self.wish.why is Why.ABANDONED:
            self._drop()
        else:
            self._conclude(outcome)

    def _work(self) -> Ending:
        try:
            task, secrets = self._task()
            if self._tool is None:
                return ending.failure(f"this agent has no tool {self.offer.tool!r}")
            self._tool.check(task.get("input") or {})
            return self._run_tool(self._tool, task, secrets)
        except BadInput as error:
            return ending.bad_input(f"input: {error}")
        except (BadOffer, Refused) as error:
            return ending.failure(f"the server did not give the task: {error}")
        except Stopped:
            return inline.stopped(self.wish)
        except OSError as error:
            return ending.not_done("this machine could not run it", error)

    def _task(self) -> tuple[dict[str, Any], list[str]]:
        """The task and its secrets. Nothing of its log shows before they are known."""
        if self._entry is not None:
            task, secrets, data = self._entry.task, self._entry.secrets, vars(self._entry)
        else:
            data = self._fetched()
            task, secrets = task_of(data), self._secrets_in(data)
        self._know(secrets)
        self._project = project.of(data)
        return task, secrets

    def _secrets_in(self, data: dict[str, Any]) -> list[str]:
        return secrets_of(data, self._tool.schema, self._tool.is_open) if self._tool else secrets_of(data, {})

    def _know(self, secrets: list[str]) -> None:
        self._secrets = secrets
        keys: tuple[str, ...] | None = None
        while keys != self._workshop.server.secrets:  # a fresh key may come while this one goes on
            keys = self._workshop.server.secrets
            self._masker = Masker([*secrets, *keys]) if secrets else _plain_masker(keys)
            self._masked.know(self._masker)

    def learn_key(self) -> None:
        """The worker has a fresh key. No log has it yet: what was masked before stays as it is."""
        if self._secrets is not None:
            self._know(self._secrets)

    def _run_tool(self, tool: Tool, task: dict[str, Any], secrets: list[str]) -> Ending:
        if self.wish.why is not None and self._entry is None:
            raise Stopped
        if self._entry is None and self._is_fenced:  # its data came late: it may run elsewhere by now
            return ending.by_wish(Why.FENCED, "", None)
        policy = self._workshop.policy()
        rule = policy.refusal(self.offer, tool, task.get("input") or {}) if self._entry is None else None
        if rule is not None:
            return ending.refused(rule)
        if isinstance(tool, InlineTool) and self._memory is not None:
            started_at = clock.now()
            job = inline.InlineJob(self._memory, self.wish, lambda: self._deadlines(started_at))
            return inline.run(tool, task.get("input") or {}, job)
        if not isinstance(tool, ProcessTool):
            raise TypeError(f"{tool.name} is neither a process nor an inline tool")
        run = ProcessRun(self.offer, self.place, self.wish, self._deadlines, self._workshop, policy)
        with self._telling(tool):
            if self._entry is not None:
                outcome = run.resume(tool, self._entry)
            else:
                outcome = run.begin(tool, task, secrets, self._project)
        self._run_s = run.run_s
        return outcome

    def _telling(self, tool: ProcessTool) -> AbstractContextManager[Telling | None]:
        if not tool.has_notes:
            return nullcontext()
        offer, server = self.offer, self._workshop.server
        return Telling(
            server, offer.task_id, offer.attempt_id, self.place.notes, self._masked_value, self.cancel_asked
        )

    def _masked_value(self, value: Any) -> Any:
        return self._masker.value(value)  # by the masker of that moment: a fresh key may have come

    def _fetched(self) -> dict[str, Any]:
        """The task's data; asked for until it comes, or the attempt shall end."""
        failures = 0
        while self._data is None:
            try:
                self._data = self._workshop.server.task_data(self.offer.data_url)
            except Unreachable as error:
                failures += 1
                self._pause(retry.delay_s(failures, retry.CAP_BUSY_S, error.retry_after_s), error)
            except Refused as error:
                if error.status in {404, 409}:
                    self.lease_lost()
                if error.status not in _KEY_TROUBLE:
                    raise
                self._pause(retry.around(_KEY_TROUBLE_S), error)
        return self._data

    def _pause(self, seconds: float, cause: Exception) -> None:
        if self.wish.wait(seconds):
            raise Stopped from cause

    def _deadlines(self, started_at: float) -> Iterator[Deadline]:
        limit, silence = self.offer.timeout_s, self.offer.no_output_timeout_s
        if limit is not None:
            text = f"time limit of {ending.seconds(limit)} reached"
            yield started_at + limit, Why.TIMEOUT, text
        if silence is not None:
            self.log.notice_growth()
            yield self.log.grown_at + silence, Why.NO_OUTPUT, f"no output for {ending.seconds(silence)}"
        if self.offer.on_lost == "requeue":
            yield self.lease.fence_at, Why.FENCED, ""
        yield from self._limits.deadlines(self._workshop.policy(), started_at)

    def _drop(self) -> None:
        log.info("task %s is not ours any more", self.offer.task_id, extra=self._names())
        self._workshop.pump.forget(self.attempt_id)
        self.clean()
        self._workshop.when_dropped(self)

    # Its report.

    def _conclude(self, raw_outcome: Ending) -> None:
        self._masked.finish()
        outcome = replace(
            raw_outcome,
            error=self._masker.value(raw_outcome.error),
            data=self._masker.value(raw_outcome.data),
            output=self._masker.value(raw_outcome.output),
        )
        self.report = self._report_of(outcome)
        self._admit_missing(self._missing(self.log.sent))
        if not self.is_repeatable:
            self._workshop.spool.put(self.report)
        what = outcome.status if outcome.error is None else f"{outcome.status}: {outcome.error}"
        log.info("task %s ended, %s", self.offer.task_id, what, extra=self._names())
        self.deliver()

    @property
    def calls_back(self) -> bool:
        """Whether the server hears what became of a project before it gets the report."""
        return (
            self._project is not None and isinstance(self._tool, ProcessTool) and self._tool.places_projects
        )

    def deliver(self) -> None:
        """Also after a restart: what was told before and is told again changes nothing."""
        body = callback.body_of(self.report or {}) if self.calls_back else None
        if self._project is not None and body is not None:
            callback.deliver(self._workshop.server, self._project.id, body)
        self.flush()

    def flush(self, *, whole: bool = False) -> None:
        """Have the log sent as far as the report can't carry it, then be reportable."""
        self.log.ended_at = self.log.ended_at or clock.now()
        self._workshop.pump.finish(self.log, lambda: self._workshop.when_reportable(self), whole=whole)

    def _report_of(self, outcome: Ending) -> dict[str, Any]:
        size, digest = self.log.checksum()
        output = self.log.last_output() if outcome.output is None else outcome.output
        report = {
            "task_id": self.offer.task_id,
            "attempt_id": self.attempt_id,
            "status": outcome.status,
            "execution_time_ms": round(1000 * (self._run_s or 0.0)),
            "exit_code": outcome.exit_code,
            "error": outcome.error and outcome.error[:MAX_ERROR],
            "failure_class": outcome.failure_class,
            "result": {"output": output, **({} if outcome.data is None else {"data": outcome.data})},
            "log_size": size,
            "log_sha256": digest,
        }
        return {name: value for name, value in report.items() if value is not None}

    def restore(self, report: dict[str, Any]) -> None:
        """It ended in an earlier session: take up its report, with what that says of the log. What is gone from
        here since, the server may have already. Without the journal nobody knows its secrets: then it counts as gone."""
        self.report = report
        entry = self.place.read_journal()
        if entry is not None:
            self._know(entry.secrets)
            self._tool = tools.registry().get(str(entry.offer.get("tool")))
            with suppress(BadOffer):
                self._project = project.of(vars(entry))
        self._masked.finish()

    def report_body(self) -> dict[str, Any]:
        """The report as it is sent, with what is left of the log."""
        if self.log.is_refused:
            self._leave_log_unchecked()
        tail = None if self.log.is_refused else self.log.tail()
        return {**(self.report or {}), **({"log_tail": tail} if tail else {})}

    def reject(self, next_offset: int | None) -> None:
        """The server wants more of the log before it takes the report: send all of it, then report again.

        One that is rejected again and again says less each time, because how it ended matters most.
        """
        self._rejections += 1
        if next_offset is not None:
            self.log.sent = next_offset
            self._admit_missing(self._missing(next_offset))
        if self._rejections == MAX_REJECTIONS:
            log.warning("task %s: the server's log is not ours; reported without", self.offer.task_id)
            self.log.is_refused = True
        elif self._rejections > MAX_REJECTIONS:
            self.report = {key: value for key, value in (self.report or {}).items() if key in REQUIRED}
            self.report_not_before = clock.now() + retry.around(REJECTED_S * (self._rejections - 4))
        self.flush(whole=True)

    def _missing(self, stored: int) -> int:
        """Bytes that the server, which has `stored`, can't get any more; or that it has and that are gone from here."""
        here, claimed = self.log.source.size(), (self.report or {}).get("log_size")
        if claimed is None or stored < here:
            return 0
        return int(claimed) - stored if stored < claimed else stored - here

    def _admit_missing(self, missing: int) -> None:
        """Or the server could only reject the report for ever. A cancelled task stays what it is."""
        if missing == 0:
            return
        report = self.report or {}
        log.warning("task %s: %s bytes of its log are missing", self.offer.task_id, missing)
        if report.get("status") != "cancelled":
            report.update(ending.log_incomplete(missing, report.get("error")))
        self._leave_log_unchecked()
        if not self.is_repeatable:
            self._workshop.spool.put(report)

    def _leave_log_unchecked(self) -> None:
        for name in ("log_size", "log_sha256"):
            (self.report or {}).pop(name, None)

    def clean(self) -> None:
        """Nothing of it is needed any more."""
        if not self.is_repeatable:
            self._workshop.spool.drop(self.attempt_id)
            self.place.remove()

    def _names(self) -> dict[str, str]:
        return {"task_id": self.offer.task_id, "attempt_id": self.attempt_id}
