"""Does nothing, inside the agent: to try a worker out, and to measure."""

from __future__ import annotations

from typing import Any, ClassVar

from agent.tools import BadInput, InlineTool, Input, Job, Result, checked_text, refuse_unknown

MAX_MESSAGE = 1000
MAX_SLEEP_MS = 60_000


class Noop(InlineTool):
    name = "noop"
    title = "No-op"
    description = "Runs nothing: logs a message, waits if asked to. Tries a worker out."
    repeatable = True
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "message": {
                "type": "string",
                "title": "Message",
                "description": "Goes to the log as one line.",
                "maxLength": MAX_MESSAGE,
                "examples": ["hello"],
            },
            "sleep_ms": {
                "type": "integer",
                "title": "Wait (ms)",
                "description": "How long the task takes, in milliseconds.",
                "minimum": 0,
                "maximum": MAX_SLEEP_MS,
                "default": 0,
            },
            "fail": {
                "type": "boolean",
                "title": "Fail",
                "description": "End as failed, to see what that looks like.",
                "default": False,
            },
        },
        "additionalProperties": False,
    }

    def check(self, task_input: Input) -> None:
        refuse_unknown(task_input, self.schema["properties"])
        message = checked_text("message", task_input.get("message", ""), 4 * MAX_MESSAGE)
        if len(message) > MAX_MESSAGE:
            raise BadInput(f"message must have at most {MAX_MESSAGE} characters")
        sleep_ms = task_input.get("sleep_ms", 0)
        if isinstance(sleep_ms, bool) or not isinstance(sleep_ms, int) or not 0 <= sleep_ms <= MAX_SLEEP_MS:
            raise BadInput(f"sleep_ms must be a whole number from 0 to {MAX_SLEEP_MS}")
        if not isinstance(task_input.get("fail", False), bool):
            raise BadInput("fail must be true or false")

    def run(self, task_input: Input, job: Job) -> Result:
        message = task_input.get("message", "")
        if message:
            job.log(" ".join(message.splitlines()))
        if task_input.get("sleep_ms"):
            job.pause(task_input["sleep_ms"] / 1000)
        return Result(output=message, error="failed, as asked" if task_input.get("fail") else None)


TOOL = Noop()
