"""What programs, pages and agents say about projects."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from webapp.api.body import AgentBody, Body, Query, cleaned, example, one_line
from webapp.api.paging import AFTER, IdCursor, Limit
from webapp.projects.rules import COMMIT, CredentialKind, RefKind, ref_problem
from webapp.tasks.schemas import Id


def _username(text: str) -> str:
    if " " in text or ":" in text:
        raise ValueError("has no spaces and no colon")
    return text


Line = Annotated[str, AfterValidator(one_line)]
UserName = Annotated[Line, AfterValidator(_username), Field(max_length=255)]
DEPTH_MOST = 1_000_000  # what the tool takes
WORKER = "01900000-0000-7000-8000-000000000003"
URL = "https://git.example/team/app.git"


class Refs(Body):
    """Which part of the repository is checked out: at most one of the three; without any, the remote’s own branch."""

    branch: str | None = Field(None, max_length=255)
    tag: str | None = Field(None, max_length=255)
    commit: str | None = Field(None, max_length=64, description="Its whole id")

    @model_validator(mode="after")
    def _one_ref(self) -> Self:
        said = {name: ref for name, ref in self._refs().items() if ref is not None}
        if len(said) > 1:
            raise ValueError(f"give one of {' and '.join(said)}, not more")
        if problem := ref_problem(self.ref_kind, self.ref):
            raise ValueError(problem)
        return self

    def _refs(self) -> dict[RefKind, str | None]:
        return {"branch": self.branch, "tag": self.tag, "commit": self.commit}

    @property
    def ref_kind(self) -> RefKind:
        return next((kind for kind, ref in self._refs().items() if ref is not None), "default")

    @property
    def ref(self) -> str:
        return self._refs().get(self.ref_kind) or ""


class InlineCredential(Body):
    """A credential that is typed in with the project: it becomes the project’s own."""

    kind: CredentialKind
    username: UserName = ""
    token: Annotated[str, Field(max_length=4000)] | None = None
    private_key: Annotated[str, Field(max_length=20_000)] | None = None


class Remote(Body):
    """A repository, the worker that shall speak to it, and what opens it."""

    git_url: str = Field(
        min_length=1, max_length=2000, description="https, or ssh; without password or token"
    )
    worker_id: Id
    credential_id: Id | None = None
    credential: InlineCredential | None = Field(None, description="Instead of credential_id")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.credential and self.credential_id:
            raise ValueError("give credential or credential_id, not both")
        return self


class BranchesWish(Remote):
    """Which branches and tags a remote has, asked by a worker."""

    model_config = example(git_url=URL, worker_id=WORKER)


class CloneWish(Refs, Remote):
    """A repository as it is wanted on a worker."""

    model_config = example(
        name="app", git_url=URL, branch="main", worker_id=WORKER, description="The web shop"
    )

    name: Annotated[str, Field(max_length=100, description="Left out: as the URL ends")] = ""
    description: Annotated[Line, Field(max_length=1000)] = ""
    depth: int | None = Field(None, ge=1, le=DEPTH_MOST, description="Commits of history; null: all")
    single_branch: bool = False
    submodules: bool = Field(
        False, description="Fetch them too: what they name is the repository’s own choice"
    )
    lfs: bool = Field(False, description="Fetch large files of Git LFS")


class OnWorker(Body):
    """Where."""

    model_config = example(worker_id=WORKER)

    worker_id: Id


class OnWorkers(Body):
    """Where; left out: on every worker that has it and is online."""

    model_config = example(worker_id=WORKER)

    worker_id: Id | None = None


class ProjectChange(Refs):
    """What is left out stays. A branch of null is the remote’s own. It counts from the next pull on."""

    model_config = example(description="The web shop", branch="release/2")

    description: Annotated[Line, Field(max_length=1000)] | None = None
    credential_id: Id | None = Field(None, description="null: none")

    @property
    def changes_ref(self) -> bool:
        return bool({"branch", "tag", "commit"} & self.model_fields_set)


class ProjectQuery(Query):
    limit: Limit = 50
    after: IdCursor | None = Field(None, description=AFTER)


class DeleteQuery(Query):
    """How much of it, and how."""

    worker_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$")] | None = Field(
        None, description="Only there; left out: everywhere, and then the project itself"
    )
    force: bool = Field(False, description="Even what isn’t committed or pushed")
    forget: bool = Field(False, description="Where the worker is gone: its files stay as they are")


# ---- what an agent says: git's words are others' words, so they are cleaned and cut, not refused


def _line(most: int) -> BeforeValidator:
    return BeforeValidator(lambda value: cleaned(value, most) if isinstance(value, str) else value)


def _moment(value: Any) -> Any:
    """A commit may say any time; what no calendar has is none."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=0, le=2**63 - 1)]
Name = Annotated[str, _line(255)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
CommitId = Annotated[str, StringConstraints(pattern=f"^({COMMIT.pattern})$")]


class CommitSeen(AgentBody):
    commit: CommitId
    subject: Annotated[str, _line(500)] = ""
    author: Name = ""
    committed_at: Moment = None


class CheckoutReport(AgentBody):
    """How a git operation went, and how the checkout is now. What is left out stays as it was known."""

    model_config = example(
        attempt_id="01900000-0000-7000-8000-000000000002",
        success=True,
        message="cloned",
        local_path="/var/lib/garageswarm/projects/ada_app",
        branch="main",
        commit="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        size=184_220_000,
    )

    attempt_id: str = Field(max_length=36)
    success: bool
    message: Annotated[str, _line(1000)] = ""
    usable: bool | None = Field(None, description="false: no task could work in it")
    refused: Name | None = Field(None, description="Of a delete: what would be lost, so that it needs force")
    local_path: Annotated[str, _line(4096)] | None = None
    branch: Name | None = None
    commit: CommitId | None = None
    subject: Annotated[str, _line(500)] | None = None
    author: Name | None = None
    committed_at: Moment = None
    ahead: Count | None = None
    behind: Count | None = None
    dirty: Annotated[list[Annotated[str, _line(500)]], Field(max_length=100)] = Field(default_factory=list)
    dirty_count: Count = 0
    unpushed: Annotated[list[Annotated[str, _line(500)]], Field(max_length=100)] = Field(default_factory=list)
    unpushed_count: Count = 0
    branches: Annotated[list[Name], Field(max_length=500)] = Field(default_factory=list)
    commits: Annotated[list[CommitSeen], Field(max_length=20)] = Field(default_factory=list)
    size: Bytes | None = None
    mirror_bytes: Bytes | None = None
    host_keys: Annotated[list[Annotated[str, Field(max_length=8192)]], Field(max_length=20)] = Field(
        default_factory=list
    )

    @property
    def is_unreadable(self) -> bool:
        """Git has no checkout there that it can read: a delete that is refused without a name to show, too."""
        names_nothing = self.refused is not None and not self.dirty_count and not self.unpushed_count
        return self.usable is False or names_nothing
