"""Projects: git repositories, and where they are placed."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp import clock
from webapp.database import EncryptedText, UtcDateTime, new_id
from webapp.extensions import Base
from webapp.projects.rules import HOST_LONGEST, CheckoutEnd, CheckoutStatus, CredentialKind, RefKind
from webapp.workers.models import Worker


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Over those rows alone."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Project(Base):
    """A repository, and what of it is wanted. Where it lies is in its checkouts."""

    __tablename__ = "projects"
    # Two that differ only in case would share a folder on some machines.
    __table_args__ = (UniqueConstraint("organisation_id", "path_key"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    owner: Mapped[str] = mapped_column(String(64))  # the name of who made it
    name: Mapped[str] = mapped_column(String(100))
    path: Mapped[str] = mapped_column(String(200))  # {owner}_{name}, under each worker's AGENT_PROJECTS_PATH
    path_key: Mapped[str] = mapped_column(String(200))  # the same in lower case
    description: Mapped[str] = mapped_column(String(1000), default="")

    git_url: Mapped[str] = mapped_column(String(2000))
    # What is checked out; `ref` is empty where the remote's own default branch is.
    ref_kind: Mapped[RefKind] = mapped_column(String(16), default="default")
    ref: Mapped[str] = mapped_column(String(255), default="")
    depth: Mapped[int | None] = mapped_column()  # commits of history; None: all
    single_branch: Mapped[bool] = mapped_column(default=False)
    submodules: Mapped[bool] = mapped_column(default=False)
    lfs: Mapped[bool] = mapped_column(default=False)
    credential_id: Mapped[str | None] = mapped_column(ForeignKey("credentials.id", ondelete="SET NULL"))

    created_by: Mapped[str] = mapped_column(String(255))
    created_by_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    # The whole project shall go, as soon as the last checkout has: a wish.
    delete_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    checkouts: Mapped[list["Checkout"]] = relationship(
        lazy="raise", order_by="Checkout.id", back_populates="project", passive_deletes=True
    )


class Checkout(Base):
    """A project on one worker. What is known of its files is what that worker said last."""

    __tablename__ = "checkouts"
    __table_args__ = (
        UniqueConstraint("project_id", "worker_id"),
        Index("ix_checkouts_worker", "worker_id", "status"),
        # The few among many that somebody asks for again and again: what waits for a person, and for housekeeping.
        _partial("ix_checkouts_error", "organisation_id", "task_id", where="status = 'error'"),
        _partial("ix_checkouts_pull_wished", "project_id", where="pull_wished_by IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"))
    status: Mapped[CheckoutStatus] = mapped_column(String(16), default="pending")
    # The git operation that runs, or the last one that did; what it said when it failed.
    task_id: Mapped[str | None] = mapped_column(String(36))
    # What it becomes when that task ends and has said nothing else; None: nothing, it has said it.
    ends_as: Mapped[CheckoutEnd | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(String(1000))
    # A webhook whose push came while an operation ran that may have fetched before it: pulled when that has ended.
    pull_wished_by: Mapped[str | None] = mapped_column(String(36))

    local_path: Mapped[str | None] = mapped_column(String(4096))
    branch: Mapped[str | None] = mapped_column(String(255))  # None: no branch, a tag or a commit
    commit: Mapped[str | None] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(500))
    author: Mapped[str | None] = mapped_column(String(255))
    committed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ahead: Mapped[int | None] = mapped_column()
    behind: Mapped[int | None] = mapped_column()
    # Files that differ from the commit, and commits that the remote doesn't have: a few of them by name.
    dirty: Mapped[list[str]] = mapped_column(JSON, default=list)
    dirty_count: Mapped[int] = mapped_column(default=0)
    unpushed: Mapped[list[str]] = mapped_column(JSON, default=list)
    unpushed_count: Mapped[int] = mapped_column(default=0)
    branches: Mapped[list[str]] = mapped_column(JSON, default=list)  # of the remote
    # The newest first: `{commit, subject, author, committed_at}`.
    commits: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    mirror_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of the mirror, which others may share
    synced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # cloned or pulled
    looked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when these facts were found
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    project: Mapped[Project] = relationship(lazy="raise", back_populates="checkouts")
    worker: Mapped[Worker] = relationship(lazy="raise")


class Credential(Base):
    """What opens a remote: a token for https, or a key for ssh. Given only to tasks of projects on its host."""

    __tablename__ = "credentials"
    __table_args__ = (
        Index("ix_credentials_organisation", "organisation_id"),
        # A name is there once: among the organisation's, and among each project's own.
        _partial("ix_credentials_name", "organisation_id", "name", where="project_id IS NULL", unique=True),
        _partial(
            "ix_credentials_project_name", "project_id", "name", where="project_id IS NOT NULL", unique=True
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    # Of this project alone; None: of the organisation, for any project on its host. No foreign key: projects name
    # credentials already. Whoever removes a project removes its own.
    project_id: Mapped[str | None] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[CredentialKind] = mapped_column(String(16))
    host: Mapped[str] = mapped_column(
        String(HOST_LONGEST)
    )  # as in the URL, with the port where that names one
    username: Mapped[str] = mapped_column(String(255), default="")
    secret: Mapped[str] = mapped_column(EncryptedText, deferred=True)
    public_key: Mapped[str | None] = mapped_column(String(2000))  # of an ssh key: what the remote must know
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class HostKey(Base):
    """An ssh server's key as the first worker that spoke to it found it. Later ones accept no other."""

    __tablename__ = "host_keys"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    # As in known_hosts: name, or [name]:port.
    host: Mapped[str] = mapped_column(String(HOST_LONGEST), primary_key=True)
    key_type: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(4000))  # base64
    fingerprint: Mapped[str] = mapped_column(String(64))  # SHA256:…, as ssh-keygen shows it
    worker_id: Mapped[str | None] = mapped_column(String(36))
    worker_name: Mapped[str] = mapped_column(String(255))
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    # Another key that a worker found there later: told to people, never used.
    other_fingerprint: Mapped[str | None] = mapped_column(String(64))
    other_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    other_seen_by: Mapped[str | None] = mapped_column(String(255))


class Webhook(Base):
    """An address that the remote calls after a push, so that checkouts are pulled."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    # Signatures are made with the secret itself, so a digest of it would be no use.
    secret: Mapped[str] = mapped_column(EncryptedText, deferred=True)
    created_by: Mapped[str] = mapped_column(String(255))
    created_by_id: Mapped[str] = mapped_column(String(36))  # whose rights its pulls have
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


class Delivery(Base):
    """A call of a webhook that was taken: the same one again changes nothing."""

    __tablename__ = "webhook_deliveries"

    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True)
    delivery_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now, index=True)
    event: Mapped[str] = mapped_column(String(64), default="")  # as the remote calls it
    said: Mapped[str] = mapped_column(String(500))  # what came of it, for people
    is_refused: Mapped[bool] = mapped_column(default=False)  # its maker may no longer pull here
