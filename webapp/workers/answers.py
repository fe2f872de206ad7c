"""What agents and programs are told by and of workers."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from webapp.api.answers import Id, Next, NextId, Time
from webapp.workers.rules import ShownStatus


class RegisteredAnswer(TypedDict):
    """The key is shown only now."""

    worker_id: Id
    api_key: Annotated[str, Field(description="gsw_…: send it as X-Worker-API-Key")]
    status: Annotated[str, Field(description="pending, or approved at once with a join token")]
    code: Annotated[str, Field(description="What an admin compares before approving")]


class ReleaseAnswer(TypedDict):
    """The agent that this server gives away, as one file for a bare Python."""

    version: str
    protocol: Annotated[int, Field(description="Of the wire, as that agent speaks it")]
    sha256: Annotated[str, Field(description="Of the whole file, in hex")]
    size: int
    url: Annotated[str, Field(description="A path on this server")]


class MetricsAnswer(TypedDict):
    """The newest vitals of the machine."""

    cpu_percent: float | None
    memory_percent: float | None
    disk_free_bytes: int | None
    load_1m: float | None
    disk_total_bytes: int | None
    memory_total_bytes: int | None


class FoundTool(TypedDict):
    """What the agent found of a tool on its machine."""

    name: str
    works: bool
    version: str
    signed_in: Annotated[bool | None, Field(description="null where the tool has no accounts")]
    problem: Annotated[str, Field(description="Why it doesn't work; empty where it does")]


class OwnersPolicy(TypedDict, total=False):
    """What the machine's owner allows, as its agent says it and holds to it. What is left out allows everything."""

    tools: list[str]
    organisations: list[str]
    repositories: list[str]
    commands: list[str]
    variables: list[str]
    max_minutes: int
    max_disk_bytes: int
    run_as: str
    problem: Annotated[str, Field(description="Why it can’t be read: then nothing is allowed")]
    digest: str


class WorkerAnswer(TypedDict):
    """A machine. `shown_status` follows from the time and from what runs; `status` is what an admin decided."""

    id: Id
    name: str
    status: Literal["pending", "approved", "revoked"]
    shown_status: ShownStatus
    code: Annotated[str | None, Field(description="While it is pending: the code in its terminal")]
    hostname: str
    platform: str
    agent_version: str
    labels: dict[str, str]
    tools: Annotated[list[str], Field(description="Those that work")]
    tool_facts: list[FoundTool]
    policy: OwnersPolicy
    slots: int
    plan_limit: int
    admins_only: bool
    drain_requested_at: Time | None
    drain_until: Annotated[Time | None, Field(description="When it takes work again by itself")]
    drain_note: str | None
    quarantined_until: Time | None
    rotate_requested_at: Annotated[Time | None, Field(description="Its agent shall get itself a fresh key")]
    twin_seen_at: Annotated[Time | None, Field(description="When two machines were seen with its key")]
    announcement: str | None
    metrics: MetricsAnswer | None
    created_at: Time
    last_seen_at: Time | None


class WorkerList(TypedDict):
    items: list[WorkerAnswer]
    next: NextId


class AnnouncedAnswer(TypedDict):
    announced_to: Annotated[int, Field(description="How many workers")]


class ConnectionAnswer(TypedDict):
    """The control socket of one agent."""

    agent_id: Id
    connected: bool
    connected_at: Time | None
    last_heartbeat_at: Time | None


class ConnectionList(TypedDict):
    items: list[ConnectionAnswer]
    next: NextId


class RotationAnswer(TypedDict):
    """To the agent its fresh key, shown only now; to an admin since when one is asked for."""

    rotate_requested_at: Time | None
    api_key: NotRequired[
        Annotated[str, Field(description="gsw_…: store it, then send it as X-Worker-API-Key")]
    ]
    key_id: NotRequired[Annotated[str, Field(description="The part of the key that isn't secret")]]
    old_key_expires_at: NotRequired[
        Annotated[
            Time, Field(description="If the fresh key is used now; the older one's end counts from there")
        ]
    ]


class JoinTokenAnswer(TypedDict):
    """What it gives to the machines that join with it."""

    id: Annotated[str, Field(description="The part of the token that isn't secret")]
    name: str
    labels: dict[str, str]
    admins_only: bool
    slots: Annotated[int | None, Field(description="null: as many as each agent says")]
    approves: Annotated[bool, Field(description="false: its machines wait until an admin approves them")]
    uses_left: Annotated[int | None, Field(description="null: any number")]
    created_at: Time
    expires_at: Annotated[Time | None, Field(description="null: never")]
    workers: Annotated[list[Id], Field(description="Those that came with it and are still here")]


class NewJoinTokenAnswer(JoinTokenAnswer):
    """The token itself is shown only now."""

    token: Annotated[str, Field(description="gsj_…: for the agent's --join-token")]


class JoinTokenList(TypedDict):
    items: list[JoinTokenAnswer]
    next: Next


# ---- what an agent is told


class TaskToRun(TypedDict):
    """`input` is whole: its secret parts are here and nowhere else."""

    id: Id
    attempt_id: Id
    attempt: Annotated[int, Field(description="Which try this is, from 1")]
    tool: str
    type: str
    action: str
    input: dict[str, Any]
    timeout_s: int
    no_output_timeout_s: int | None
    context: dict[str, Any]
    created_at: Time


class ProjectToUse(TypedDict):
    """The project that a task works in."""

    id: Id
    name: str
    path: Annotated[str, Field(description="Its folder, under the agent's projects")]
    branch: Annotated[str, Field(description="Which one is wanted; empty: the remote's own")]


class TaskData(TypedDict):
    """What it takes to run a task."""

    task: TaskToRun
    project: NotRequired[ProjectToUse]


class Whose(TypedDict):
    """An organisation, as the owner of a machine may have named it."""

    id: Id
    name: str


class Offer(TypedDict):
    """A task that is this worker's now."""

    task_id: Id
    attempt_id: Id
    attempt: int
    organisation: Whose
    tool: str
    timeout_s: int
    no_output_timeout_s: int | None
    on_lost: Literal["fail", "requeue"]
    data_url: Annotated[str, Field(description="A path on this server")]
    data: NotRequired[Annotated[TaskData, Field(description="What data_url answers, up to 64 kB")]]
    lease_left_s: NotRequired[
        Annotated[
            float, Field(description="In an offer that is repeated: its lease began with the first one")
        ]
    ]


class Cancel(TypedDict):
    attempt_id: Id
    reason: str


class Reported(TypedDict):
    """What became of one report: a status as a request of its own would get."""

    attempt_id: str
    status: int
    new_status: NotRequired[str]
    detail: NotRequired[str]
    next_offset: NotRequired[Annotated[int, Field(description="Of a report whose log isn't all here")]]
    errors: NotRequired[list[dict[str, Any]]]


class SyncAnswer(TypedDict):
    offers: list[Offer]
    cancel: Annotated[list[Cancel], Field(description="Attempts to end")]
    unknown: Annotated[list[str], Field(description="Of held: no longer this worker's")]
    reported: list[Reported]
    stream: Annotated[list[str], Field(description="Attempts that somebody watches: send their log promptly")]
    drain: Annotated[bool, Field(description="Finish what runs, take no more")]
    announce: Annotated[str | None, Field(description="Words for the agent's terminal")]
    notice: NotRequired[
        Annotated[str, Field(description="To an agent that introduces itself: what its owner should know")]
    ]
    lease_s: float
    lost_after_s: float
    rotate_key: NotRequired[
        Annotated[bool, Field(description="Get a fresh key: POST /workers/{worker_id}/rotate-key")]
    ]
