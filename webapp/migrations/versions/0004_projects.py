"""projects, checkouts, credentials, host keys, webhooks; tasks that run in a project

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LIST = sa.text("'[]'")


def upgrade() -> None:
    op.add_column("placements", sa.Column("project_id", sa.String(length=36), nullable=True))
    op.add_column(
        "placements", sa.Column("project_use", sa.String(length=16), nullable=False, server_default="")
    )
    op.create_index(
        "ix_tasks_project",
        "tasks",
        ["project_id", "id"],
        sqlite_where=sa.text("project_id IS NOT NULL"),
        postgresql_where=sa.text("project_id IS NOT NULL"),
    )

    op.create_table(
        "credentials",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=261), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("public_key", sa.String(length=2000), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_credentials_organisation", "credentials", ["organisation_id"])
    for name, whose, where in (
        ("ix_credentials_name", "organisation_id", "project_id IS NULL"),
        ("ix_credentials_project_name", "project_id", "project_id IS NOT NULL"),
    ):
        op.create_index(
            name,
            "credentials",
            [whose, "name"],
            unique=True,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )

    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("path_key", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=False),
        sa.Column("git_url", sa.String(length=2000), nullable=False),
        sa.Column("ref_kind", sa.String(length=16), nullable=False),
        sa.Column("ref", sa.String(length=255), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=True),
        sa.Column("single_branch", sa.Boolean(), nullable=False),
        sa.Column("submodules", sa.Boolean(), nullable=False),
        sa.Column("lfs", sa.Boolean(), nullable=False),
        sa.Column("credential_id", sa.String(length=36), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_by_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delete_requested_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.ForeignKeyConstraint(["credential_id"], ["credentials.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organisation_id", "path_key"),
    )

    op.create_table(
        "checkouts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("worker_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.Column("ends_as", sa.String(length=16), nullable=True),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.Column("pull_wished_by", sa.String(length=36), nullable=True),
        sa.Column("local_path", sa.String(length=4096), nullable=True),
        sa.Column("branch", sa.String(length=255), nullable=True),
        sa.Column("commit", sa.String(length=64), nullable=True),
        sa.Column("subject", sa.String(length=500), nullable=True),
        sa.Column("author", sa.String(length=255), nullable=True),
        sa.Column("committed_at", sa.BigInteger(), nullable=True),
        sa.Column("ahead", sa.Integer(), nullable=True),
        sa.Column("behind", sa.Integer(), nullable=True),
        sa.Column("dirty", sa.JSON(), nullable=False, server_default=_LIST),
        sa.Column("dirty_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unpushed", sa.JSON(), nullable=False, server_default=_LIST),
        sa.Column("unpushed_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("branches", sa.JSON(), nullable=False, server_default=_LIST),
        sa.Column("commits", sa.JSON(), nullable=False, server_default=_LIST),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("mirror_bytes", sa.BigInteger(), nullable=True),
        sa.Column("synced_at", sa.BigInteger(), nullable=True),
        sa.Column("looked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "worker_id"),
    )
    op.create_index("ix_checkouts_worker", "checkouts", ["worker_id", "status"])
    for name, columns, where in (
        ("ix_checkouts_error", ["organisation_id", "task_id"], "status = 'error'"),
        ("ix_checkouts_pull_wished", ["project_id"], "pull_wished_by IS NOT NULL"),
    ):
        op.create_index(
            name, "checkouts", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )

    op.create_table(
        "host_keys",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=261), nullable=False),
        sa.Column("key_type", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=4000), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("worker_id", sa.String(length=36), nullable=True),
        sa.Column("worker_name", sa.String(length=255), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("other_fingerprint", sa.String(length=64), nullable=True),
        sa.Column("other_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("other_seen_by", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.PrimaryKeyConstraint("organisation_id", "host", "key_type"),
    )

    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_by_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"]),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhooks_project_id", "webhooks", ["project_id"])

    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=100), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("said", sa.String(length=500), nullable=False),
        sa.Column("is_refused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("webhook_id", "delivery_id"),
    )
    op.create_index("ix_webhook_deliveries_received_at", "webhook_deliveries", ["received_at"])


def downgrade() -> None:
    for table in ("webhook_deliveries", "webhooks", "host_keys", "checkouts", "projects", "credentials"):
        op.drop_table(table)
    op.drop_index("ix_tasks_project", table_name="tasks")
    op.drop_column("placements", "project_use")
    op.drop_column("placements", "project_id")
