"""An attempt whose tool runs inside the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent import clock, ending
from agent.ending import Ending
from agent.logs import MemorySource
from agent.tools import InlineTool, Input, Stopped
from agent.watch import Deadline, Wish


class InlineJob:
    """What the tool sees: a log, and waits that end early when the task shall end."""

    def __init__(self, source: MemorySource, wish: Wish, deadlines: Callable[[], Iterable[Deadline]]) -> None:
        self._source = source
        self._wish = wish
        self._deadlines = deadlines

    def log(self, line: str) -> None:
        self._source.append(f"{line}\n".encode(errors="replace"))

    def pause(self, seconds: float) -> None:
        until = clock.now() + seconds
        while (now := clock.now()) < until:
            # After the look at the clock: one that moves on, like that of the room, is beyond it unless it is reached.
            at, why, text = min(self._deadlines(), default=(until, None, ""), key=lambda one: one[0])
            if why is not None and now >= at:
                self._wish.ask(why, text)
                raise Stopped
            if self._wish.wait(max(0.0, min(until, at) - now)):
                raise Stopped


def run(tool: InlineTool, task_input: Input, job: InlineJob) -> Ending:
    """Raises Stopped."""
    result = tool.run(task_input, job)
    if result.error is not None:
        return Ending("failed", 1, result.error, "exit_code", result.data, result.output)
    return Ending("completed", 0, data=result.data, output=result.output)


def stopped(wish: Wish) -> Ending:
    """For an attempt that was stopped where there is no process: not begun, or inside the agent."""
    if wish.why is None:
        return ending.failure("stopped")
    return ending.by_wish(wish.why, wish.text, None)
