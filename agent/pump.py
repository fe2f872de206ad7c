"""Sends the logs of all attempts: looks often, sends seldom, and never ends a task because of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from agent import clock, retry
from agent.answer import offset
from agent.logs import CHUNK_BYTES, TAIL_BYTES, AttemptLog, Piece
from agent.pool import Pool
from agent.server import Refused, Server, Unreachable

log = logging.getLogger("agent")

FLUSH_BYTES = 64 * 1024
FIRST_FLUSH_S = 0.1
LIVE_FLUSH_S = 0.25  # while somebody watches, and in the first minute
FLUSH_S = 1.0
YOUNG_S = 60.0
LIVE_LOOK_S = 0.05
LOOK_S = 0.25
SENDERS = 4
KEY_TROUBLE = frozenset({401, 403})  # the key may be valid again
DAMAGED = frozenset({416, 422})  # on the way, perhaps
MAX_FAILURES = 5
RETRY_REFUSED_S = 5.0


@dataclass(eq=False)
class _Flow:
    """One log on its way."""

    log: AttemptLog
    sent_at: float = float(
        "-inf"
    )  # so that a line after a pause goes out with the next look, not a flush later
    is_busy: bool = False  # a sender has it
    is_whole: bool = False  # to be sent to its last byte, because a report's tail was not enough
    when_sent: Callable[[], None] | None = None  # set once the attempt has ended
    failures: int = 0
    not_before: float = 0.0

    @property
    def enough(self) -> int:
        """As many bytes may stay unsent: of an ended attempt what fits in its report, of a running one what
        isn't worth a request yet."""
        if self.is_whole:
            return 0
        return TAIL_BYTES if self.when_sent else FLUSH_BYTES - 1

    @property
    def is_enough(self) -> bool:
        """Whether what is unsent may stay so. A report carries bytes of one place."""
        return self.log.unsent() <= self.enough and not (self.when_sent and self.log.is_split())


class Pump:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._senders = Pool("log", SENDERS)
        self._changed = threading.Condition()
        self._flows: dict[str, _Flow] = {}
        self._watched: frozenset[str] = frozenset()

    def follow(self, attempt_log: AttemptLog) -> None:
        """Send it while it grows."""
        with self._changed:
            is_first = not self._flows
            self._flows[attempt_log.attempt_id] = _Flow(attempt_log)
            if is_first:
                self._changed.notify()

    def finish(self, attempt_log: AttemptLog, when_sent: Callable[[], None], *, whole: bool = False) -> None:
        """The attempt has ended: call `when_sent` once what its report can't carry is sent, often at once.

        `whole`: the report shall carry nothing. Also comes back where the server refuses the log.
        """
        with self._changed:
            flow = self._flows.setdefault(attempt_log.attempt_id, _Flow(attempt_log))
            flow.when_sent, flow.is_whole = when_sent, whole
            if flow.is_busy or not self._is_done(flow):
                self._changed.notify()
                return
            del self._flows[attempt_log.attempt_id]
        when_sent()

    def forget(self, attempt_id: str) -> None:
        with self._changed:
            self._flows.pop(attempt_id, None)

    def watch(self, attempt_ids: Iterable[str]) -> None:
        """These are looked at by somebody right now."""
        self._watched = frozenset(attempt_ids)

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._flows:
                    self._changed.wait()
            try:
                pause_s = self.step()
            except Exception:
                log.exception("logs: an error that nobody expected")
                pause_s = RETRY_REFUSED_S
            with self._changed:
                self._changed.wait(pause_s)

    def step(self) -> float:
        """Look at every log once and hand those that are due to senders. → seconds until the next look."""
        now = clock.now()
        with self._changed:
            flows = [flow for flow in self._flows.values() if not flow.is_busy]
        for flow in flows:
            if self._is_due(flow, now):
                flow.is_busy, flow.sent_at = True, now
                try:
                    self._senders.submit(partial(self._send, flow))
                except RuntimeError:
                    flow.is_busy = False
                    raise
        return LIVE_LOOK_S if any(self._is_live(flow, now) for flow in flows) else LOOK_S

    def _is_live(self, flow: _Flow, now: float) -> bool:
        is_young = now - flow.log.started_at < YOUNG_S
        return is_young or flow.when_sent is not None or flow.log.attempt_id in self._watched

    def _is_due(self, flow: _Flow, now: float) -> bool:
        flow.log.notice_growth()
        unsent = flow.log.unsent()
        if now < flow.not_before:
            return False
        if flow.when_sent is not None:
            return True
        if unsent <= 0 or flow.log.is_refused:
            return False
        if flow.log.sent == 0 and now - flow.log.started_at < FIRST_FLUSH_S:
            return False  # most tasks are over before: then their log rides in the report
        flush_s = LIVE_FLUSH_S if self._is_live(flow, now) else FLUSH_S
        return unsent >= FLUSH_BYTES or now - flow.sent_at >= flush_s

    def _is_done(self, flow: _Flow) -> bool:
        return flow.log.is_refused or flow.is_enough

    def _send(self, flow: _Flow) -> None:
        """Runs on a sender. Always gives the flow back."""
        try:
            self._send_what_is_due(flow)
            flow.failures = 0
        except Unreachable as error:
            flow.failures += 1
            flow.not_before = clock.now() + retry.delay_s(
                flow.failures, retry.CAP_BUSY_S, error.retry_after_s
            )
        finally:
            self._give_back(flow)

    def _send_what_is_due(self, flow: _Flow) -> None:
        """At least one chunk, then on while there is more than enough."""
        is_first = flow.when_sent is None
        while not flow.log.is_refused and (is_first or not flow.is_enough):
            is_first = False
            piece = flow.log.piece(CHUNK_BYTES)
            if piece is None:
                self._check_readable(flow)
                return
            self._send_chunk(flow, piece)

    def _check_readable(self, flow: _Flow) -> None:
        """The disk fails, or the task did something to its own log: its report mustn't wait for ever."""
        if flow.when_sent is None or flow.is_enough:
            return
        if flow.failures < MAX_FAILURES:
            raise Unreachable("the log can't be read", retry_after_s=RETRY_REFUSED_S)
        log.warning("the log of %s can't be read: reported without", flow.log.attempt_id)
        flow.log.is_refused = True

    def _send_chunk(self, flow: _Flow, piece: Piece) -> None:
        sent_at = clock.now()
        flow.log.hash_sent(piece.offset, piece.content)
        try:
            answer = self._server.log_chunk(flow.log.task_id, flow.log.attempt_id, piece)
        except Refused as error:
            self._refused(flow, piece, error)
            return
        flow.log.arrived(piece, offset(answer))
        flow.log.owner.lease_renewed(sent_at)
        if answer.get("cancel") is True:
            flow.log.owner.cancel_asked()

    def _refused(self, flow: _Flow, piece: Piece, error: Refused) -> None:
        if error.status == 416 and error.next_offset is not None and _leads_on(piece, error.next_offset):
            flow.log.sent = error.next_offset
        elif error.status in {404, 409}:
            flow.log.is_refused = True
            flow.log.owner.lease_lost()
        elif error.status in KEY_TROUBLE or (error.status in DAMAGED and flow.failures < MAX_FAILURES):
            raise Unreachable(str(error), retry_after_s=RETRY_REFUSED_S)
        else:
            log.warning("the server takes no log of %s: %s", flow.log.attempt_id, error)
            flow.log.is_refused = True

    def _give_back(self, flow: _Flow) -> None:
        with self._changed:
            flow.is_busy = False
            # Where `finish` took it out meanwhile, that has called back already.
            is_ours = self._flows.get(flow.log.attempt_id) is flow
            is_done = is_ours and flow.when_sent is not None and self._is_done(flow)
            if is_done:
                del self._flows[flow.log.attempt_id]
        if is_done and flow.when_sent is not None:
            flow.when_sent()


def _leads_on(piece: Piece, next_offset: int) -> bool:
    """Whether something else is sent from there than what was just refused."""
    if piece.is_jump and piece.dropped is not None:
        return next_offset < piece.dropped[0]  # or the server doesn't take the jump
    return next_offset != piece.offset
