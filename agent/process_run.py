"""An attempt whose tool is a process: begin it, or go on with what an earlier agent began."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import clock, ending, environment, machine, notes, orphans, process
from agent.ending import Ending
from agent.errors import NoCheckout
from agent.journal import Entry, Place
from agent.offer import Offer
from agent.policy import Policy
from agent.process import Process
from agent.project import Project
from agent.tools import BadInput, Input, NotStartable, ProcessTool, Surroundings
from agent.watch import Deadline, Watch, Wish
from agent.workshop import Workshop

log = logging.getLogger("agent")

# How long a child may take from fork to exec, on a machine that has other things to do.
FORKED_S = 10.0
_LOOK_S = 0.02
Deadlines = Callable[[float], Iterable[Deadline]]


class ProcessRun:
    """`deadlines` gives the limits of a process that started at the time it is called with."""

    def __init__(
        self,
        offer: Offer,
        place: Place,
        wish: Wish,
        deadlines: Deadlines,
        workshop: Workshop,
        policy: Policy,
    ) -> None:
        self._offer = offer
        self._place = place
        self._wish = wish
        self._deadlines = deadlines
        self._workshop = workshop
        self._policy = policy
        self._account = policy.account  # that a new one runs as, where not as the agent
        self.run_s = 0.0  # how long the process took

    def begin(
        self, tool: ProcessTool, task: dict[str, Any], secrets: list[str], project: Project | None = None
    ) -> Ending:
        """A new attempt: its journal is durable before anything is started."""
        self._place.create(self._account)
        entry = Entry(
            self._offer.to_dict(),
            task,
            self._workshop.boot_id,
            clock.now(),
            time.time(),
            secrets=secrets,
            project=project.to_dict() if project else None,
        )
        self._place.write_journal(entry, is_new=True)
        return self._start(tool, entry, project)

    def resume(self, tool: ProcessTool, entry: Entry) -> Ending:
        """An attempt of an earlier agent: still running, ended meanwhile, never begun, or gone."""
        if self._place.exit_code() is not None:
            return self._ended_meanwhile(tool)
        if entry.boot_id != self._workshop.boot_id:
            return ending.failure("the machine restarted while the task ran")
        found = self._found(entry)
        if found is not None:
            return self._watch(tool, found, entry.started_at or entry.prepared_at)
        if self._place.exit_code() is not None:  # it ended while we looked
            return self._ended_meanwhile(tool)
        if self._is_untouched(entry):
            # The server may have decided meanwhile, so it isn't started now either.
            return ending.offer_lost("the agent stopped before it started this")
        orphans.end_all(self._offer.attempt_id, None)
        return self._by_itself(tool, None, None)

    def _start(self, tool: ProcessTool, entry: Entry, project: Project | None) -> Ending:
        try:
            started = self._started(tool, entry.task.get("input") or {}, project)
        except NotStartable as error:
            return ending.not_started(error.code, str(error))
        except BadInput as error:
            return ending.bad_input(f"input: {error}")
        except NoCheckout as error:
            return ending.bad_input(str(error))
        except OSError as error:
            return ending.not_done("could not start", error)
        started_at = clock.now()
        self._note(replace(entry, pid=started.pid, start_time=started.start_time, started_at=started_at))
        return self._watch(tool, started, started_at)

    def _note(self, entry: Entry) -> None:
        """It runs already: a full disk must not lose sight of it. Without the note it is found by what it says."""
        try:
            self._place.write_journal(entry, is_new=False)
        except OSError as error:
            log.warning("task %s: its process can't be noted: %s", self._offer.task_id, error)

    def _started(self, tool: ProcessTool, task_input: Input, project: Project | None) -> Process:
        """In the project's folder, or in the attempt's own. Raises what `tool.command` does, and NoCheckout."""
        roots = self._workshop.roots
        work = None if project is None or tool.places_projects else project.checkout(roots.projects)
        if tool.has_notes:
            self._place.notes.mkdir(mode=0o700)
        command = tool.command(task_input, self._surroundings(work, project))
        more = project.variables(work, roots) if project and work else {}
        variables = environment.for_task(self._offer, command.env, self._account, more)
        if self._account is None:
            return process.start(command.argv, variables, self._place, work)
        self._place.hand_over(self._account)
        own = environment.for_task(self._offer, {})
        return process.start_as(self._account, command.argv, variables, own, self._place, work)

    def _surroundings(self, work: Path | None, project: Project | None) -> Surroundings:
        return Surroundings(
            directory=self._place.path,
            work=work or self._place.work,
            notes=self._place.notes,
            path=environment.base()["PATH"],
            roots=self._workshop.roots,
            disk_floor_bytes=self._workshop.disk_floor_bytes,
            project=project,
            account=self._account,
            held=self._workshop.held(),
            repositories=self._policy.repositories,
        )

    def _watch(self, tool: ProcessTool, watched: Process, started_at: float) -> Ending:
        watch = Watch(watched, self._wish, lambda: self._deadlines(started_at))
        try:
            why = watch.until_end(tool.ladder)
        except Exception:  # unseen it must not go on: its task may be given to another
            watched.kill()
            orphans.end_all(self._offer.attempt_id, watched.pid)
            watched.collect()
            raise
        self.run_s = clock.now() - started_at
        if why is None and watched.is_own:
            orphans.after_normal_end(self._offer.attempt_id, watched.pid)
        else:
            orphans.end_all(self._offer.attempt_id, watched.pid)
        if why is not None and not watched.has_ended():
            return ending.failure("the process could not be ended")
        status = watched.collect()
        code = self._place.exit_code()
        if why is not None:
            return ending.by_wish(why, self._wish.text, code)
        return self._by_itself(tool, code, status)

    def _ended_meanwhile(self, tool: ProcessTool) -> Ending:
        orphans.end_all(self._offer.attempt_id, None)
        self.run_s = self._place.run_s()
        return self._by_itself(tool, self._place.exit_code(), None)

    def _by_itself(self, tool: ProcessTool, code: int | None, status: int | None) -> Ending:
        outcome = _of_codes(code, status)
        if tool.has_notes:
            outcome = ending.with_facts(outcome, notes.facts(self._place.notes))
        if outcome.status == "failed" and machine.is_full(self._place.path):
            return ending.on_full_disk(outcome)
        return outcome

    def _is_untouched(self, entry: Entry) -> bool:
        """Whether nothing of it was ever started."""
        has_begun = entry.pid is not None or self._place.began.exists()
        return not (
            has_begun or process.is_output_held(self._place) or orphans.leftovers(self._offer.attempt_id)
        )

    def _found(self, entry: Entry) -> Process | None:
        """What still runs of it. A child that a dying agent had only just forked says who it is a moment later."""
        until = clock.now() + FORKED_S
        while (found := self._find(entry)) is None and entry.pid is None and clock.now() < until:
            if not process.is_output_held(self._place):
                break
            time.sleep(_LOOK_S)
        return found or self._find(entry)

    def _find(self, entry: Entry) -> Process | None:
        """The wrapper that is still running. Where an agent died before it could note the process, by what
        the process says of itself."""
        if entry.pid is not None:
            return process.attach(entry.pid, entry.start_time)
        began = self._place.began_pid()
        pids = orphans.leftovers(self._offer.attempt_id) if began is None else [began]
        for pid in orphans.belonging(pids, self._offer.attempt_id, None):
            if process.is_session_leader(pid):
                return process.attach(pid, process.start_time_of(pid))
        return None


def _of_codes(code: int | None, status: int | None) -> Ending:
    """`code` is what the wrapper wrote; `status` what the system says of the wrapper, -n for signal n."""
    if code is not None:
        return ending.by_exit_code(code)
    if status is None:
        return ending.failure("the process vanished without an exit code")
    return ending.by_exit_code(status if status >= 0 else 128 - status)
