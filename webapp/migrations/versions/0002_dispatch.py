"""named locks, slot classes, drain, quarantine, holes in logs

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LIST = sa.text("'[]'")


def upgrade() -> None:
    op.add_column("placements", _slot_class())
    op.add_column("placements", sa.Column("locks", sa.JSON(), nullable=False, server_default=_LIST))
    op.create_table(
        "placement_locks",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("placement_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["placement_id"], ["placements.id"]),
        sa.PrimaryKeyConstraint("name", "placement_id"),
    )
    op.create_table(
        "held_locks",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("attempt_id", sa.String(length=36), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("organisation_id", "name"),
    )
    op.create_index("ix_held_locks_attempt_id", "held_locks", ["attempt_id"])

    op.add_column("tools", _slot_class())

    op.add_column("workers", sa.Column("tool_facts", sa.JSON(), nullable=False, server_default=_LIST))
    op.add_column("workers", sa.Column("drain_requested_at", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("announcement", sa.String(length=1000), nullable=True))
    op.add_column("workers", sa.Column("failures_in_row", sa.JSON(), nullable=False, server_default=_LIST))
    op.add_column("workers", sa.Column("quarantines", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("workers", sa.Column("quarantined_until", sa.BigInteger(), nullable=True))

    op.add_column("attempts", sa.Column("log_missing", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("attempts", sa.Column("log_removed_at", sa.BigInteger(), nullable=True))
    kept = sa.text("ended_at IS NOT NULL AND log_removed_at IS NULL AND log_size > 0")
    op.create_index(
        "ix_attempts_kept_log", "attempts", ["ended_at"], sqlite_where=kept, postgresql_where=kept
    )


def _slot_class() -> sa.Column[str]:
    return sa.Column("slot_class", sa.String(length=16), nullable=False, server_default="task")


def downgrade() -> None:
    op.drop_index("ix_attempts_kept_log", "attempts")
    for table, columns in (
        ("attempts", ("log_removed_at", "log_missing")),
        (
            "workers",
            (
                "quarantined_until",
                "quarantines",
                "failures_in_row",
                "announcement",
                "drain_requested_at",
                "tool_facts",
            ),
        ),
        ("tools", ("slot_class",)),
    ):
        for column in columns:
            op.drop_column(table, column)
    op.drop_table("held_locks")
    op.drop_table("placement_locks")
    op.drop_column("placements", "locks")
    op.drop_column("placements", "slot_class")
