"""The first table: one row a scan."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table of scans, and the index by which the sweep finds those not final."""
    op.create_table(
        "scans",
        sa.Column("id", sa.String(31), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.Column("completed_at", sa.Double, nullable=True),
        sa.Column("url", sa.Text, nullable=True),
        sa.Column("upload_id", sa.String(30), nullable=True),
        sa.Column("operating_point", sa.String(16), nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("opened", sa.Text, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=True),
    )
    is_open = sa.text("completed_at IS NULL")
    op.create_index(
        "ix_scans_open", "scans", ["created_at"], sqlite_where=is_open, postgresql_where=is_open
    )
    has_upload = sa.text("upload_id IS NOT NULL")
    op.create_index(
        "ix_scans_upload",
        "scans",
        ["upload_id"],
        sqlite_where=has_upload,
        postgresql_where=has_upload,
    )


def downgrade() -> None:
    """Drop the table, and every scan with it."""
    op.drop_table("scans")
