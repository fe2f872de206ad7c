"""drains that end, key rotation, owners' policies, vitals, repeated requests

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OBJECT = sa.text("'{}'")


def upgrade() -> None:
    op.add_column("workers", sa.Column("drain_until", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("drain_note", sa.String(length=500), nullable=True))
    op.add_column("workers", sa.Column("rotate_requested_at", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("policy", sa.JSON(), nullable=False, server_default=_OBJECT))
    op.add_column(
        "workers", sa.Column("has_refused", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("workers", sa.Column("protocol", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("workers", sa.Column("twin_seen_at", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("twin_address", sa.String(length=64), nullable=True))
    op.add_column("workers", sa.Column("join_key_id", sa.String(length=8), nullable=True))

    op.add_column("worker_keys", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column("worker_keys", sa.Column("replaces", sa.String(length=8), nullable=True))
    op.add_column("worker_keys", sa.Column("used_at", sa.BigInteger(), nullable=True))
    op.add_column("worker_keys", sa.Column("used_from", sa.String(length=64), nullable=True))

    op.add_column("attempts", sa.Column("boot_id", sa.String(length=64), nullable=False, server_default=""))

    op.add_column("join_tokens", sa.Column("slots", sa.Integer(), nullable=True))
    op.add_column(
        "join_tokens", sa.Column("approves", sa.Boolean(), nullable=False, server_default=sa.true())
    )

    op.create_table(
        "worker_vitals",
        sa.Column("worker_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("cpu_percent", sa.Double(), nullable=True),
        sa.Column("memory_percent", sa.Double(), nullable=True),
        sa.Column("disk_free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("load_1m", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("worker_id", "at"),
    )
    op.create_index("ix_worker_vitals_at", "worker_vitals", ["at"])

    op.create_table(
        "refusals",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("worker_id", sa.String(length=36), nullable=False),
        sa.Column("rule", sa.String(length=500), nullable=False),
        sa.Column("refused_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "worker_id"),
    )
    op.create_index("ix_refusals_worker_id", "refusals", ["worker_id"])

    op.create_index("ix_tasks_worker_ended", "tasks", ["worker_id", "ended_at"])
    failed = sa.text("status = 'failed'")
    op.create_index(
        "ix_tasks_failed",
        "tasks",
        ["organisation_id", "ended_at"],
        sqlite_where=failed,
        postgresql_where=failed,
    )

    op.create_table(
        "repeated_requests",
        sa.Column("credential", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("credential", "key"),
    )
    op.create_index("ix_repeated_requests_created_at", "repeated_requests", ["created_at"])


def downgrade() -> None:
    for index in ("ix_tasks_failed", "ix_tasks_worker_ended"):
        op.drop_index(index, "tasks")
    for table in ("repeated_requests", "refusals", "worker_vitals"):
        op.drop_table(table)
    for table, columns in (
        ("join_tokens", ("approves", "slots")),
        ("attempts", ("boot_id",)),
        ("worker_keys", ("used_from", "used_at", "replaces", "expires_at")),
        (
            "workers",
            (
                "join_key_id",
                "twin_address",
                "twin_seen_at",
                "protocol",
                "has_refused",
                "policy",
                "rotate_requested_at",
                "drain_note",
                "drain_until",
            ),
        ),
    ):
        for column in columns:
            op.drop_column(table, column)
