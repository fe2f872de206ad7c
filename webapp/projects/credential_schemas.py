"""What people and programs say of credentials, and what is said to them: never the secret."""

from typing import Annotated, TypedDict

from pydantic import AfterValidator, Field

from webapp.api.body import Body, example, one_line
from webapp.projects.rules import CredentialKind
from webapp.tasks.schemas import Id


def _not_blank(text: str) -> str:
    if not text:
        raise ValueError("must have letters")
    return text


def _username(text: str) -> str:
    if " " in text or ":" in text:
        raise ValueError("has no spaces and no colon")
    return text


Line = Annotated[str, AfterValidator(one_line)]


class NewCredential(Body):
    """A token, or an ssh key. Its secret can be read by nobody afterwards."""

    model_config = example(name="deploy key", kind="ssh", host="git.example")

    name: Annotated[Line, AfterValidator(_not_blank), Field(max_length=100)]
    kind: CredentialKind
    host: Annotated[str, Field(max_length=255, description="As in the URL, with the port where it names one")]
    username: Annotated[Line, AfterValidator(_username), Field(max_length=255)] = Field(
        "", description="Sent beside a token. Left out: git, which is fine nearly everywhere"
    )
    token: Annotated[str, Field(max_length=4000)] | None = None
    private_key: Annotated[str, Field(max_length=20_000)] | None = Field(
        None, description="In OpenSSH or PEM form, without a passphrase. Left out for an ssh key: one is made"
    )
    project_id: Id | None = Field(None, description="Of this project alone. Left out: of the organisation")


class CredentialAnswer(TypedDict):
    """A credential without its secret. `public_key`: of an ssh key, for the remote's deploy keys."""

    id: str
    name: str
    kind: CredentialKind
    host: str
    username: str
    project_id: str | None
    public_key: str | None
    projects: list[str]
    created_by: str
    created_at: str
    used_at: str | None


class CredentialList(TypedDict):
    items: list[CredentialAnswer]
    next: str | None
