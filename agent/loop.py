"""sync → start, cancel, drain. Everything the agent holds, and the one call that keeps it in step.

At most two calls are on their way. One is parked at the server; when there is news a second goes out at once,
and the server ends the first. News that comes while both are out waits for one of them: it gathers by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from agent import clock, retry
from agent.answer import objects, offset, strings
from agent.attempt import Attempt
from agent.call import DRAINED, STOPPING, Call
from agent.holding import Crew, Holding
from agent.notices import Notices
from agent.progress import LOOK_S, Progress
from agent.server import Distrusted, Refused, Server, Unreachable

log = logging.getLogger("agent")

WAIT_S = 25.0
FIRST = 1  # not held, so that a person at the terminal learns at once where this worker stands
IN_FLIGHT = 2
MAX_REPORTS = 32
MAX_TAIL_BYTES = 512 * 1024
# With every slot taken the server has nothing to offer: the next call may wait a little for the first report.
FULL_PAUSE_S = 0.1
# While others run, a report waits this long for company: a call costs both sides more than a report in it.
GATHER_S = 0.002
PENDING_PAUSE_S = 0.5
BLOCKED_S = 60.0
QUICK_S = 0.2
PENDING = "urn:garageswarm:error:worker-pending"
TOO_DIFFERENT = "urn:garageswarm:error:protocol-refused"
ANSWERED = frozenset({200, 400, 409})  # a report that got one of these is done with
# Its log isn't all there, or something of it makes no sense to the server.
REJECTED = frozenset({412, 413, 422})
ORDERS = ("offers", "reported", "cancel", "unknown")
TOO_MUCH = frozenset({400, 413, 422})


class Loop:
    def __init__(self, server: Server, crew: Crew, slots: int, notices: Notices) -> None:
        self._server = server
        self._crew = crew
        self._slots = slots
        self._notices = notices
        self._changed = threading.Condition()
        self.progress = Progress()
        self._holding = Holding(crew, notices)
        self._held = self._holding.attempts
        self._ready: dict[str, Attempt] = {}  # of these the report can be sent
        self._news = 0
        self._told = 0  # the news that the last call carried
        self._in_flight = 0
        self._calls = 0
        self._not_before = 0.0
        self._rest_until = 0.0
        self._gather_until = 0.0
        self._failures = 0
        self._untaken = 0  # reports in a row that were neither taken nor refused
        self._hollow = 0  # answers in a row that said nothing and came too soon
        self._is_urgent = False  # there is news that doesn't wait for a better moment
        self._report_limit = MAX_REPORTS
        self._facts = 1  # counts what there was to declare in this session
        self._declared = 0  # so much of it has the server taken in
        self._is_stopping = False  # by a signal here
        self._is_over = False
        # Told of each change of what is held, for the control socket's heartbeat.
        self.when_changed: Callable[[], None] = lambda: None
        self.is_known = threading.Event()  # the server has answered this session
        self.has_parted = threading.Event()  # it was told, as far as it can be, that nothing more is taken

    # Told by others.

    def hold(self, attempt: Attempt) -> None:
        """An attempt of an earlier session."""
        with self._changed:
            self._held[attempt.attempt_id] = attempt

    def report(self, attempt: Attempt) -> None:
        """It has ended, and its report can be sent."""
        with self._changed:
            if attempt.attempt_id in self._held:
                if not self._ready:
                    self._gather_until = clock.now() + GATHER_S
                self._ready[attempt.attempt_id] = attempt
                self._tell()

    def drop(self, attempt: Attempt) -> None:
        """Not held any more, and never reported."""
        with self._changed:
            self._held.pop(attempt.attempt_id, None)
            self._tell()

    def redeclare(self) -> None:
        """What this agent is or can do has changed."""
        with self._changed:
            self._facts += 1
            self._tell()

    def stop_accepting(self) -> None:
        with self._changed:
            self._is_stopping = True
            if self._not_before > clock.now():  # there is nobody to be told now
                self.has_parted.set()
            self._tell()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def held(self) -> list[Attempt]:
        with self._changed:
            return list(self._held.values())

    def heartbeat(self) -> tuple[list[Attempt], dict[str, Any]]:
        """What is held now, and the body that says so: for the control socket."""
        with self._changed:
            held = list(self._held.values())
            return held, self._said(held, self._refusing())

    def refusing(self) -> str:
        """Why no new work is taken; empty where it is."""
        with self._changed:
            return self._refusing()

    def pushed(self, order: Callable[[Holding], None]) -> None:
        """Something that came down the control socket."""
        with self._changed:
            if not self._is_over:
                order(self._holding)

    def _tell(self) -> None:
        self._news += 1
        self._is_urgent = True
        self._changed.notify_all()
        self.when_changed()

    # One step.

    def run(self) -> None:
        """Until `end`. An error that nobody expected costs a pause, never the loop."""
        while not self._is_over:
            self.progress.mark()
            try:
                self.step(LOOK_S)
            except Exception:
                log.exception("sync: an error that nobody expected")
                with self._changed:
                    self._delay(retry.CAP_BUSY_S)

    def step(self, timeout_s: float | None = None) -> bool:
        """Wait until a call is due, make it, act on its answer. False where none was due in `timeout_s`."""
        call = self._next_call(timeout_s)
        if call is None:
            return False
        try:
            body = self._body(call)
            with self.progress.away():
                answer = self._server.sync(body, 0.0 if call.number == FIRST or call.is_last else WAIT_S)
        except (Unreachable, Refused) as error:
            self._failed(call, error)
        except BaseException:
            self._failed(call, Unreachable("the call broke off"))
            raise
        else:
            try:
                self._answered(call, answer)
            except BaseException:
                self._take_back(call)
                raise
        return True

    def _next_call(self, timeout_s: float | None) -> Call | None:
        until = None if timeout_s is None else clock.now() + timeout_s
        with self._changed:
            while not self._is_over:
                pause_s = self._pause_s()
                if pause_s == 0:
                    return self._open_call()
                left = None if until is None else until - clock.now()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(min((one for one in (pause_s, left) if one is not None), default=None))
        return None

    def _pause_s(self) -> float | None:
        """0: a call is due. None: only a change makes one due."""
        if self._in_flight >= IN_FLIGHT or (self._in_flight and self._news == self._told):
            return None
        due = self._gathered_at() if self._is_urgent else self._rest_until
        return max(0.0, max(due, self._not_before) - clock.now())

    def _gathered_at(self) -> float:
        is_alone = not self._ready or len(self._ready) >= min(len(self._held), self._report_limit)
        return 0.0 if is_alone else self._gather_until

    def _open_call(self) -> Call:
        self._calls += 1
        self._in_flight += 1
        has_news, self._told = self._news != self._told, self._news
        self._is_urgent = False
        return Call(
            number=self._calls,
            sent_at=clock.now(),
            held=list(self._held.values()),
            reports=self._pick_reports(),
            refusing=self._refusing(),
            declares=0 if self._declared == self._facts else self._facts,
            has_news=has_news,
        )

    def _refusing(self) -> str:
        if self._is_stopping:
            return STOPPING
        return DRAINED if self._holding.is_drained else self._crew.unable()

    def _pick_reports(self) -> list[Attempt]:
        picked: list[Attempt] = []
        tail_bytes = 0
        now = clock.now()
        for attempt in self._ready.values():
            if attempt.report_not_before > now:
                continue
            tail_bytes += attempt.log.unsent()
            if len(picked) == self._report_limit or (picked and tail_bytes > MAX_TAIL_BYTES):
                break
            picked.append(attempt)
        for attempt in picked:
            del self._ready[attempt.attempt_id]
        return picked

    def _body(self, call: Call) -> dict[str, Any]:
        return {
            **self._said(call.held, call.refusing),
            **(self._crew.declaration() if call.declares else {}),
            "reports": [attempt.report_body() for attempt in call.reports],
        }

    def _said(self, held: list[Attempt], refusing: str) -> dict[str, Any]:
        return {
            **self._crew.situation(),
            "accepting": not refusing,
            **({"not_accepting": refusing} if refusing else {}),
            "held": [attempt.attempt_id for attempt in held],
        }

    # Its answer.

    def _answered(self, call: Call, answer: dict[str, Any]) -> None:
        with self._changed:
            self._close_call(call)
            self._failures = 0
            self._declared = max(self._declared, call.declares)
            self._report_limit = min(2 * self._report_limit, MAX_REPORTS)
            self._notices.connected()
            self._holding.renew(call.held, answer, call.sent_at)
            is_new = self._settle_reports(call, objects(answer, "reported"))
            is_new |= self._holding.end_wanted(strings(answer, "unknown"), objects(answer, "cancel"))
            is_new |= self._take_offers(objects(answer, "offers"), call.sent_at)
            self._take_levels(call, answer)
            self._holding.notice(answer.get("notice"))
            self._pace(call, is_new=is_new)
        self.is_known.set()

    def _close_call(self, call: Call) -> None:
        if call.refusing == STOPPING:
            self.has_parted.set()
        self._in_flight -= 1
        self._changed.notify_all()

    def _settle_reports(self, call: Call, reported: list[dict[str, Any]]) -> bool:
        """→ whether the answer had a word about any report."""
        answers = {str(one.get("attempt_id")): one for one in reported}
        done = []
        for attempt in call.reports:
            answer = answers.get(attempt.attempt_id, {})
            if answer.get("status") in ANSWERED:
                done.append(attempt)
                self._held.pop(attempt.attempt_id, None)
                self._notices.settled(attempt, answer)
            elif answer.get("status") in REJECTED:
                attempt.reject(offset(answer))
            else:
                self._put_back(attempt)
        if done:
            self._untaken = 0
            self._crew.clean(done)
        return bool(answers)

    def _put_back(self, attempt: Attempt) -> None:
        """Not taken and not refused: to be sent again, not at once."""
        self._ready[attempt.attempt_id] = attempt
        self._untaken += 1
        self._delay(retry.delay_s(self._untaken, retry.CAP_BUSY_S))
        self._tell()

    def _take_offers(self, offers: list[dict[str, Any]], sent_at: float) -> bool:
        """→ whether any of them was taken."""
        if self._is_over or not self._holding.take(offers, sent_at):
            return False
        self._news += 1
        self.when_changed()
        if len(self._held) >= self._slots and not self._ready:
            self._rest_until = clock.now() + FULL_PAUSE_S
        return True

    def _take_levels(self, call: Call, answer: dict[str, Any]) -> None:
        """What holds until it is said otherwise. An answer cut short by a newer call knows nothing of it."""
        if call.number != self._calls and not any(answer.get(name) for name in ORDERS):
            return
        if isinstance(answer.get("drain"), bool) and self._holding.drain(answer["drain"]):
            self._tell()
        if isinstance(answer.get("stream"), list):
            self._holding.watch(strings(answer, "stream"))
        self._holding.announce(answer.get("announce"))
        if answer.get("rotate_key") is True:
            self._holding.rotate_key()

    def _pace(self, call: Call, *, is_new: bool) -> None:
        """A server that doesn't hold our calls, or repeats what we know, isn't asked in a circle. News still
        goes out at once."""
        is_quick = clock.now() - call.sent_at < QUICK_S and call.number > FIRST
        if is_new or call.has_news or not is_quick:
            self._hollow = 0
        elif call.number == self._calls:
            self._hollow += 1
            self._rest_until = clock.now() + retry.delay_s(self._hollow, retry.CAP_BUSY_S)

    # Its failure.

    def _failed(self, call: Call, error: Unreachable | Refused) -> None:
        with self._changed:
            self._close_call(call)
            self._take_back(call)
            if call.has_news:  # or it would wait until the call that is parked comes back
                self._tell()
            if isinstance(error, Unreachable):
                say = self._notices.distrusts if isinstance(error, Distrusted) else self._notices.unreachable
                say(str(error))
                self._retry_later(error.retry_after_s)
            else:
                self._refused(call, error)

    def _take_back(self, call: Call) -> None:
        """Its reports were not settled: they are still to be sent."""
        with self._changed:
            self._ready.update((one.attempt_id, one) for one in call.reports if one.attempt_id in self._held)

    def _refused(self, call: Call, error: Refused) -> None:
        if error.type == PENDING:
            self._notices.pending()
            self._delay(call.sent_at + PENDING_PAUSE_S - clock.now())
        elif error.status in {401, 403}:
            say = self._notices.too_different if error.type == TOO_DIFFERENT else self._notices.blocked
            say(str(error))
            self._delay(retry.around(BLOCKED_S))
        else:
            if error.status in TOO_MUCH and call.reports:
                self._single_out(call.reports)
            self._notices.unreachable(str(error))
            self._retry_later()

    def _single_out(self, reports: list[Attempt]) -> None:
        """One report that the server can't read mustn't keep the others, or the leases from being renewed: send
        them one at a time, and leave the one that is refused alone out for a while."""
        self._report_limit = 1
        if len(reports) == 1:
            reports[0].report_not_before = clock.now() + retry.around(BLOCKED_S)

    def _retry_later(self, retry_after_s: float | None = None) -> None:
        self._failures += 1
        self._give_up_old_reports()
        cap_s = retry.CAP_BUSY_S if self._held else retry.CAP_S
        self._delay(retry.delay_s(self._failures, cap_s, retry_after_s))

    def _give_up_old_reports(self) -> None:
        now = clock.now()
        old = [one for one in self._ready.values() if now - one.log.ended_at > retry.REPORT_KEPT_S]
        for attempt in old:
            del self._ready[attempt.attempt_id], self._held[attempt.attempt_id]
            self._notices.given_up(attempt)
        self._crew.clean(old)

    def _delay(self, seconds: float) -> None:
        self._not_before = max(self._not_before, clock.now() + seconds)
