"""What programs are told of events."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from webapp.api.answers import Id, Time


class EventAnswer(TypedDict):
    """What every event says; the others are of its type (task, output, exit_code …)."""

    type: Annotated[str, Field(description="task_queued, step_progress, task_completed …")]
    timestamp: Time
    project_id: Id | None
    stream: Annotated[str, Field(description="What it is about: task:{id}")]
    seq: Annotated[int, Field(description="Its number there, from 1 without holes", ge=1)]
    epoch: int
    cursor: Annotated[int, Field(description="Its place among all events; only grows")]


class EventList(TypedDict):
    items: list[EventAnswer]
    next: Annotated[
        int | None, Field(description="Send it as `after` for the next page; null on the last one")
    ]
