"""What agents and programs say about workers."""

from typing import Annotated, Any, Literal

from jsonschema import Draft202012Validator, SchemaError
from pydantic import AfterValidator, Field, field_validator

from webapp.api.body import AgentBody, Body, Query, example, one_line
from webapp.api.paging import AFTER, MOST, ByIdQuery, Limit
from webapp.workers.rules import (
    SCHEMA_PARTS,
    SLOTS_MOST,
    TOOL_NAME,
    ShownStatus,
    SlotClass,
    checked_label,
    label_problem,
    parts_of,
    schema_problem,
)


def _not_blank(text: str) -> str:
    if not text:
        raise ValueError("must have letters")
    return text


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if problem := label_problem(labels):
        raise ValueError(problem)
    return labels


Name = Annotated[str, Field(max_length=255), AfterValidator(one_line), AfterValidator(_not_blank)]
Words = Annotated[str, Field(max_length=255), AfterValidator(one_line)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Slots = Annotated[int, Field(ge=1, le=SLOTS_MOST)]


class Found(AgentBody):
    """What an agent found of a tool on its machine. `signed_in` where the tool has accounts."""

    works: bool = True
    version: Words = ""
    signed_in: bool | None = None
    problem: Words = ""


class DeclaredTool(AgentBody):
    """A tool as its agent describes it. Without `found`, from agents that don't look, it counts as working."""

    name: str
    version: int = Field(1, ge=1, le=1_000_000)
    title: Words = ""
    description: str = Field("", max_length=2000)
    schema_: dict[str, Any] = Field({"type": "object"}, alias="schema")
    slot_class: SlotClass = "task"
    found: Found | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not TOOL_NAME.fullmatch(value):
            raise ValueError("a tool's name is small letters, digits, _ and -, at most 64")
        return value

    @field_validator("schema_")
    @classmethod
    def _known_vocabulary(cls, value: dict[str, Any]) -> dict[str, Any]:
        if problem := schema_problem(value):
            raise ValueError(problem)
        try:
            Draft202012Validator.check_schema(value)  # or checking an input against it would break
        except SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message[:200]}") from error
        return value


Patterns = Annotated[list[Words], Field(max_length=200)]


class Policy(AgentBody):
    """What a machine's owner allows, for people to read: the agent holds to it. What is left out allows everything."""

    tools: Patterns | None = None
    organisations: Patterns | None = None
    repositories: Patterns | None = None
    commands: Patterns | None = None
    variables: Patterns | None = None
    max_minutes: int | None = Field(None, ge=1, le=2**31 - 1)
    max_disk_bytes: int | None = Field(None, ge=1, le=2**63 - 1)
    run_as: Words = ""
    problem: Words = Field("", description="Why it can’t be read: then nothing is allowed")
    digest: Words = Field("", description="Of all of it, also of what was too long to be sent")

    def as_stored(self) -> dict[str, Any]:
        return self.model_dump(exclude_defaults=True)


class Introduction(AgentBody):
    """What an agent says about itself, at registration and at the first sync of each session."""

    hostname: Words = ""
    platform: Words = ""
    agent_version: Annotated[str, Field(max_length=64), AfterValidator(one_line)] = ""
    protocol: int = Field(
        1, ge=1, le=1_000_000, description="Of the wire; agents from before it was counted speak 1"
    )
    policy: Policy = Policy()
    labels: Labels = Field(default_factory=dict)
    tools: list[DeclaredTool] = Field([], max_length=200, description="A bare name will do, too")

    @field_validator("tools", mode="before")
    @classmethod
    def _not_too_much(cls, value: Any) -> Any:
        if parts_of(value) > SCHEMA_PARTS:
            raise ValueError(f"tools and their schemas have more than {SCHEMA_PARTS} parts together")
        return value

    @field_validator("tools", mode="before")
    @classmethod
    def _names_will_do(cls, value: Any) -> Any:
        """A simple client may send bare names of tools."""
        return (
            [{"name": tool} if isinstance(tool, str) else tool for tool in value]
            if isinstance(value, list)
            else value
        )

    @field_validator("tools")
    @classmethod
    def _each_once(cls, value: list[DeclaredTool]) -> list[DeclaredTool]:
        if len({tool.name for tool in value}) < len(value):
            raise ValueError("a tool is declared twice")
        return value


class Registration(Introduction):
    """A machine that wants to work. `machine_id` and `nonce` tell a repeated call from another machine."""

    model_config = example(
        name="lab-01", machine_id="3f9c2a7be1d04c55", nonce="b7e15162", tools=[{"name": "shell"}], slots=2
    )
    name: Name
    machine_id: str = Field(min_length=8, max_length=128)
    nonce: str = Field(min_length=8, max_length=128)
    slots: Slots = 1
    plan_limit: Slots = 1
    join_token: str | None = Field(None, max_length=128)


class Metrics(AgentBody):
    """Vitals of the machine. A value that makes no sense is refused, not drawn."""

    cpu_percent: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    memory_percent: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    disk_free_bytes: int | None = Field(None, ge=0, le=2**63 - 1)
    load_1m: float | None = Field(None, ge=0, le=1_000_000, allow_inf_nan=False)
    # How much there is of it in all.
    disk_total_bytes: int | None = Field(None, ge=0, le=2**63 - 1)
    memory_total_bytes: int | None = Field(None, ge=0, le=2**63 - 1)


class SyncRequest(Introduction):
    """The one call that an agent lives on. It introduces itself again in the first one of a session."""

    model_config = example(session_id="3d1f0b52", slots=2, held=[], wait_s=20)

    session_id: str = Field(min_length=1, max_length=64)
    boot_id: str = Field(
        "",
        max_length=64,
        description="New at each boot and in each copy of the agent's folder: tells it from a copy",
    )
    slots: Slots = 1
    plan_limit: Slots = 1
    accepting: bool = True
    # Why not, in the agent's words.
    not_accepting: Words = ""
    held: list[Annotated[str, Field(max_length=36)]] = Field([], max_length=2000)
    # Each is checked by the domain that takes it, so that one bad report doesn't hold back the others.
    reports: list[dict[str, Any]] = Field([], max_length=200)
    metrics: Metrics = Metrics()
    wait_s: float = Field(0, ge=0, le=25, allow_inf_nan=False)

    @property
    def introduces(self) -> bool:
        return "tools" in self.model_fields_set


class WorkerChange(Body):
    """What is left out stays; `slots` of null are the agent's own again."""

    model_config = example(name="lab-01", labels={"site": "attic"}, slots=4)

    name: Name | None = None
    labels: Labels | None = None
    slots: Slots | None = None
    admins_only: bool | None = None


class DrainWish(Body):
    """Why, and for how long; both may be left out. `for_s` of null: until somebody resumes it."""

    model_config = example(note="new disk", for_s=7200)

    note: Annotated[str, Field(max_length=500), AfterValidator(one_line)] | None = None
    for_s: int | None = Field(None, ge=1, le=366 * 24 * 3600)


class WorkerQuery(ByIdQuery):
    """Which workers. What is left out doesn't narrow it."""

    model_config = example(status="approved", limit=50)

    status: Literal[ShownStatus, "approved"] | None = Field(
        None, description="As people see it, or approved: any that may work"
    )
    label: Annotated[str, AfterValidator(checked_label)] = Field("", description="A key, or key=value")
    q: str = Field("", description="Part of the name, the host's name, the platform, a label or a tool")


class NewJoinToken(Body):
    """For `uses` machines (null: any number) within `hours` (null: for ever). `slots` of null: what each agent says."""

    model_config = example(name="the rack", uses=10, hours=24, labels={"site": "attic"})

    name: Name
    uses: int | None = Field(1, ge=1, le=1_000_000)
    hours: float | None = Field(24, gt=0, le=10 * 365 * 24, allow_inf_nan=False)
    labels: Labels = Field(default_factory=dict)
    admins_only: bool = False
    slots: Slots | None = None
    approves: bool = True


class JoinTokenQuery(Query):
    """A page of the list, which is in the order of ids."""

    limit: Limit = MOST
    after: str = Field("", max_length=8, description=AFTER)


class Announcement(Body):
    """A text for the terminals of agents. Empty: take the last one back."""

    model_config = example(text="The server restarts at noon.")

    text: Annotated[str, Field(max_length=1000), AfterValidator(one_line)]
