"""What people and programs say of credentials and hosts' keys, and what is said to them: never the secret."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from webapp.api.answers import Id as IdAnswer
from webapp.api.answers import Next, NextId, Time
from webapp.api.body import Body, Query, example
from webapp.api.paging import AFTER, MOST, Limit
from webapp.projects.rules import HOST_LONGEST, CredentialKind
from webapp.projects.schemas import Line, UserName
from webapp.tasks.schemas import Id


def _not_blank(text: str) -> str:
    if not text:
        raise ValueError("Give it a name.")
    return text


class NewCredential(Body):
    """A token, or an ssh key. Its secret can be read by nobody afterwards."""

    model_config = example(name="deploy key", kind="ssh", host="git.example")

    name: Annotated[Line, AfterValidator(_not_blank), Field(max_length=100)]
    kind: CredentialKind
    host: Annotated[
        str, Field(max_length=HOST_LONGEST, description="As in the URL, with the port where it names one")
    ]
    username: UserName = Field(
        "", description="Sent beside a token. Left out: git, which is fine nearly everywhere"
    )
    token: Annotated[str, Field(max_length=4000)] | None = None
    private_key: Annotated[str, Field(max_length=20_000)] | None = Field(
        None, description="In OpenSSH or PEM form, without a passphrase. Left out for an ssh key: one is made"
    )
    project_id: Id | None = Field(None, description="Of this project alone. Left out: of the organisation")


class CredentialAnswer(TypedDict):
    """A credential without its secret."""

    id: IdAnswer
    name: str
    kind: CredentialKind
    host: str
    username: str
    project_id: Annotated[
        IdAnswer | None, Field(description="Of this project alone; null: of the organisation")
    ]
    public_key: Annotated[str | None, Field(description="Of an ssh key: for the remote’s deploy keys")]
    projects: Annotated[list[str], Field(description="The paths of those that use it")]
    created_by: str
    created_at: Time
    used_at: Annotated[Time | None, Field(description="Given to a task")]


class CredentialList(TypedDict):
    items: list[CredentialAnswer]
    next: NextId


class CredentialGone(TypedDict):
    """The paths of the projects that used it."""

    projects: list[str]


class HostKeyQuery(Query):
    """A page of a list in the order of hosts."""

    limit: Limit = MOST
    after: str = Field("", max_length=400, description=AFTER)


def place_of(after: str) -> tuple[str, str]:
    """Host and kind of key, of the last line of the page before."""
    host, _, key_type = after.partition(" ")
    return host, key_type


class ForgottenHost(Query):
    """Which one."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"host": "git.example"}]})

    host: str = Field(
        min_length=1, max_length=HOST_LONGEST, description="As the list has it: name, or [name]:port"
    )


class HostKeyAnswer(TypedDict):
    """A key of an ssh server; `fingerprint` as ssh-keygen shows it."""

    host: str
    key_type: str
    key: Annotated[str, Field(description="In base64")]
    fingerprint: str
    worker_id: IdAnswer | None
    worker: Annotated[str, Field(description="Which one found it first")]
    first_seen_at: Time
    other_fingerprint: Annotated[
        str | None, Field(description="Of another key, found later and not accepted")
    ]
    other_seen_at: Time | None
    other_seen_by: str | None


class HostKeyList(TypedDict):
    items: list[HostKeyAnswer]
    next: Next
