"""Workers, their keys, the join tokens that enrol them, and the tools that they brought."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from webapp import clock
from webapp.database import UtcDateTime, new_id
from webapp.extensions import Base
from webapp.workers.rules import SlotClass, is_draining

NAME_LENGTH = 255
WorkerStatus = Literal["pending", "approved", "revoked"]


class Worker(Base):
    """A machine's row. Whether it is online is computed from when it was last seen, never stored."""

    __tablename__ = "workers"
    __table_args__ = (Index("ix_workers_organisation", "organisation_id", "status"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    status: Mapped[WorkerStatus] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(8))

    hostname: Mapped[str] = mapped_column(String(NAME_LENGTH))
    platform: Mapped[str] = mapped_column(String(NAME_LENGTH))
    agent_version: Mapped[str] = mapped_column(String(64))
    machine_id: Mapped[str] = mapped_column(String(128), index=True)
    nonce_digest: Mapped[str] = mapped_column(String(64))
    # The join token that it came with, by its id; None: it came without one.
    join_key_id: Mapped[str | None] = mapped_column(String(8))
    address: Mapped[str] = mapped_column(String(64), default="")

    # Labels given by people win over those that the agent brought.
    agent_labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    tools: Mapped[list[str]] = mapped_column(JSON, default=list)
    # What the agent said of its tools, kept until it is approved: only then the organisation's catalogue takes it.
    declared_tools: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, deferred=True)
    slots: Mapped[int] = mapped_column(default=1)
    # What the agent says when a person hasn't set it.
    slots_set: Mapped[int | None] = mapped_column()
    plan_limit: Mapped[int] = mapped_column(default=1)
    # True for the agent beside the server: an operator there would have the server's own keys.
    admins_only: Mapped[bool] = mapped_column(default=False)

    # What the agent found of its tools: `[{name, works, version, signed_in, problem}]`. `tools` names those that work.
    tool_facts: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)

    # Finish what runs, take no more: a wish of people.
    drain_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When it takes work again by itself; None: when a person says so.
    drain_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    drain_note: Mapped[str | None] = mapped_column(String(500))
    # Shown at the agent's terminal once.
    announcement: Mapped[str | None] = mapped_column(String(1000))
    # Tasks whose attempts failed here in a row for reasons of the machine, not of the task.
    failures_in_row: Mapped[list[str]] = mapped_column(JSON, default=list)
    # How often in a row it was set aside, which doubles the time.
    quarantines: Mapped[int] = mapped_column(default=0)
    quarantined_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # What the machine's owner allows, as its agent says: for people to read. The agent itself holds to it.
    policy: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    # There are tasks that it has refused: only then a claim has to look which.
    has_refused: Mapped[bool] = mapped_column(default=False)
    # Of the wire, as its agent speaks it.
    protocol: Mapped[int] = mapped_column(default=1)
    # Two machines were seen with this worker's key, as after a disk was cloned: when, and where the other one was.
    twin_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    twin_address: Mapped[str | None] = mapped_column(String(64))
    # Its agent shall get itself a fresh key: a wish of people.
    rotate_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    approved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Kept in memory and written now and then: what is here may be a minute old.
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def all_labels(self) -> dict[str, str]:
        return {**self.agent_labels, **self.labels}

    @property
    def is_draining(self) -> bool:
        return is_draining(self.drain_requested_at, self.drain_until, clock.now())

    @property
    def capacity(self) -> int:
        return self.slots if self.slots_set is None else self.slots_set


class WorkerKey(Base):
    __tablename__ = "worker_keys"

    key_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    # Set on the older one while two live, after a rotation.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Of a fresh key that nobody has used yet: the one whose place it takes with its first use.
    replaces: Mapped[str | None] = mapped_column(String(8))
    # Kept in memory and written now and then: what is here may be a minute old.
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    used_from: Mapped[str | None] = mapped_column(String(64))


class Vitals(Base):
    """One sample of a worker's vitals, every few minutes, for a day."""

    __tablename__ = "worker_vitals"
    __table_args__ = (Index("ix_worker_vitals_at", "at"),)

    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    cpu_percent: Mapped[float | None] = mapped_column()
    memory_percent: Mapped[float | None] = mapped_column()
    disk_free_bytes: Mapped[int | None] = mapped_column(BigInteger)
    load_1m: Mapped[float | None] = mapped_column()


class JoinToken(Base):
    """Enrols workers: approved at once, with labels, as often as it says and until it expires."""

    __tablename__ = "join_tokens"

    key_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    admins_only: Mapped[bool] = mapped_column(default=False)
    # How many tasks at a time; None: what the agent says.
    slots: Mapped[int | None] = mapped_column()
    # False: what joins with it is pending, with its labels, until an admin approves it.
    approves: Mapped[bool] = mapped_column(default=True)
    uses_left: Mapped[int | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= clock.now()


class Tool(Base):
    """What a task of this organisation can run: declared by an approved agent, the newest version wins."""

    __tablename__ = "tools"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=1)
    title: Mapped[str] = mapped_column(String(NAME_LENGTH))
    description: Mapped[str] = mapped_column(String(2000))
    slot_class: Mapped[SlotClass] = mapped_column(String(16), default="task")
    # JSON Schema of the input, in the vocabulary that rules.schema_problem allows.
    schema: Mapped[dict[str, Any]] = mapped_column(JSON)
