"""By what a scan of the same image is found: its place, the digest of its bytes, its judge."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, NULL for all that is there, and an index for uploads and one for places."""
    op.add_column("scans", sa.Column("place", sa.String(32), nullable=True))
    op.add_column("scans", sa.Column("sha256", sa.String(64), nullable=True))
    op.add_column("scans", sa.Column("judge", sa.String(64), nullable=True))
    _index("ix_scans_place", "place", "place IS NOT NULL AND completed_at IS NOT NULL")
    _index("ix_scans_sha256", "sha256", "judge IS NOT NULL AND upload_id IS NOT NULL")


def downgrade() -> None:
    """Drop them; no scan is lost."""
    op.drop_index("ix_scans_sha256", "scans")
    op.drop_index("ix_scans_place", "scans")
    for column in ("judge", "sha256", "place"):
        op.drop_column("scans", column)


def _index(name: str, column: str, condition: str) -> None:
    covered = sa.text(condition)
    op.create_index(
        name,
        "scans",
        [column, "completed_at"],
        sqlite_where=covered,
        postgresql_where=covered,
    )
