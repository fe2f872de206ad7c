"""What programs and agents are told of projects."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from webapp.api.answers import Id, NextId, Time
from webapp.projects.rules import CheckoutStatus, RefKind


class CommitAnswer(TypedDict):
    commit: str
    subject: str
    author: str
    committed_at: Time | None


class CheckoutRow(TypedDict):
    """A project on one worker, in short."""

    id: Id
    worker_id: Id
    worker: Annotated[str, Field(description="Its name")]
    status: CheckoutStatus
    task_id: Annotated[Id | None, Field(description="The git operation that runs, or the last one")]
    error: Annotated[str | None, Field(description="What the last one said when it failed")]
    branch: Annotated[str | None, Field(description="null: a tag or a commit")]
    commit: str | None
    synced_at: Annotated[Time | None, Field(description="Cloned or pulled")]


class CheckoutAnswer(CheckoutRow):
    """As its worker found it at `looked_at`."""

    local_path: str | None
    subject: str | None
    author: str | None
    committed_at: Time | None
    ahead: Annotated[int | None, Field(description="Commits that the remote doesn’t have")]
    behind: Annotated[int | None, Field(description="Commits of the remote that aren’t here")]
    dirty: Annotated[list[str], Field(description="Files that differ from the commit, a hundred at most")]
    dirty_count: int
    unpushed: Annotated[list[str], Field(description="Commits that no branch of the remote has")]
    unpushed_count: int
    branches: Annotated[list[str], Field(description="Of the remote")]
    commits: Annotated[list[CommitAnswer], Field(description="The newest first")]
    size_bytes: int | None
    mirror_bytes: Annotated[int | None, Field(description="Of the mirror, which other projects may share")]
    looked_at: Time | None
    created_at: Time


class ProjectRow(TypedDict):
    """A repository, and what of it is wanted."""

    id: Id
    owner: str
    name: str
    path: Annotated[str, Field(description="Its folder, under each worker’s AGENT_PROJECTS_PATH")]
    description: str
    git_url: str
    ref_kind: RefKind
    ref: Annotated[str, Field(description="Empty: the remote’s own branch")]
    depth: int | None
    single_branch: bool
    submodules: bool
    lfs: bool
    credential_id: Id | None
    created_by: str
    created_at: Time
    delete_requested_at: Time | None
    status: Annotated[CheckoutStatus | None, Field(description="Of its checkouts what matters most")]


class ProjectItem(ProjectRow):
    checkouts: list[CheckoutRow]


class ProjectAnswer(ProjectRow):
    checkouts: list[CheckoutAnswer]


class ProjectList(TypedDict):
    items: list[ProjectItem]
    next: NextId


class ProjectStatus(TypedDict):
    """How it is on each worker."""

    project_id: Id
    status: CheckoutStatus | None
    checkouts: list[CheckoutRow]


class Placing(TypedDict):
    """A clone that was begun: `task_id` says how far it is."""

    project_id: Id
    checkout_id: Id
    task_id: Id
    status: CheckoutStatus


class Begun(TypedDict):
    """Tasks that were begun, one for each worker."""

    project_id: Id
    task_ids: list[Id]


class BranchesBegun(TypedDict):
    """Its result's data will be `{branches: [{name, commit}], tags, default}`."""

    task_id: Id


class CallbackAnswer(TypedDict):
    status: Annotated[CheckoutStatus, Field(description="Of the checkout, now")]
