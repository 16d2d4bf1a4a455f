"""Keys, batches, appeals, webhooks, the audit log; and by what scans are listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = (
    "audit",
    "deliveries",
    "events",
    "endpoints",
    "overrides",
    "appeals",
    "tombstones",
    "batches",
    "replays",
    "keys",
)


def upgrade() -> None:
    """Make the tables, and give scans what a list of them is filtered by."""
    _make_records()
    _make_webhooks()
    _make_audit()
    _widen_scans()


def downgrade() -> None:
    """Take it all away again; what only these tables and columns say is lost."""
    for name in (
        "batch",
        "judged",
        "accused",
        "owner_sha256",
        "owner_status",
        "owner_verdict",
        "owner",
    ):
        op.drop_index(f"ix_scans_{name}", "scans")
    for name in (
        "rescore_of",
        "superseded_by",
        "appeal_state",
        "callback_url",
        "batch_index",
        "batch_id",
        "verdict",
    ):
        op.drop_column("scans", name)
    for name in _TABLES:
        op.drop_table(name)


def _make_records() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(2), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("origins", sa.Text, nullable=False),
        sa.Column("rate_per_minute", sa.Integer, nullable=True),
        sa.Column("parallel", sa.Integer, nullable=True),
        sa.Column("quota_per_day", sa.Integer, nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=True),
        sa.Column("revoked_at", sa.Double, nullable=True),
        sa.Column("last_used_at", sa.Double, nullable=True),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
    )
    op.create_index("ix_keys_owner", "keys", ["owner"])
    is_publishable = sa.text("kind = 'pk'")
    op.create_index(
        "ix_keys_publishable",
        "keys",
        ["id"],
        sqlite_where=is_publishable,
        postgresql_where=is_publishable,
    )
    op.create_table(
        "replays",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
    )
    op.create_index("ix_replays_created_at", "replays", ["created_at"])
    op.create_index("ix_replays_subject", "replays", ["subject"])
    op.create_table(
        "batches",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("refused_json", sa.Text, nullable=False),
        sa.Column("metadata_json", sa.Text, nullable=False),
        sa.Column("callback_url", sa.Text, nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("completed_at", sa.Double, nullable=True),
    )
    op.create_index("ix_batches_owner", "batches", ["owner"])
    op.create_table(
        "tombstones",
        sa.Column("scan_id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("erased_at", sa.Double, nullable=False),
        sa.Column("erased_by", sa.String(64), nullable=False),
    )
    op.create_table(
        "appeals",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("scan_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence_url", sa.Text, nullable=True),
        sa.Column("note", sa.Text, nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("decided_at", sa.Double, nullable=True),
        sa.Column("decided_by", sa.String(64), nullable=True),
        sa.UniqueConstraint("scan_id", name="uq_appeals_scan_id"),
    )
    op.create_index("ix_appeals_owner", "appeals", ["owner", "id"])
    op.create_table(
        "overrides",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("appeal_id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def _make_webhooks() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events_json", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("secrets_json", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("disabled_reason", sa.Text, nullable=True),
        sa.Column("failing_since", sa.Double, nullable=True),
        sa.Column("warned_days", sa.Integer, nullable=False),
        sa.Column("is_callback", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_endpoints_owner", "endpoints", ["owner", "is_callback", "id"])
    op.create_table(
        "events",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("replay_of", sa.String(32), nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_events_owner", "events", ["owner", "created_at"])
    op.create_index("ix_events_subject", "events", ["subject"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("endpoint_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Double, nullable=True),
        sa.Column("lease_until", sa.Double, nullable=True),
        sa.Column("lease", sa.String(32), nullable=True),
        sa.Column("last_status", sa.Integer, nullable=True),
        sa.Column("last_error", sa.Text, nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("delivered_at", sa.Double, nullable=True),
    )
    is_pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["endpoint_id", "next_at"],
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
    is_leased = sa.text("lease IS NOT NULL")
    op.create_index(
        "ix_deliveries_lease",
        "deliveries",
        ["endpoint_id"],
        sqlite_where=is_leased,
        postgresql_where=is_leased,
    )
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint_id", "id"])
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("detail_json", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def _widen_scans() -> None:
    for column in (
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("batch_id", sa.String(32), nullable=True),
        sa.Column("batch_index", sa.Integer, nullable=True),
        sa.Column("callback_url", sa.Text, nullable=True),
        sa.Column("appeal_state", sa.String(16), nullable=False, server_default="none"),
        sa.Column("superseded_by", sa.String(32), nullable=True),
        sa.Column("rescore_of", sa.String(32), nullable=True),
    ):
        op.add_column("scans", column)
    op.execute("UPDATE scans SET owner = 'local' WHERE owner IS NULL")
    op.create_index("ix_scans_owner", "scans", ["owner", "id"])
    op.create_index("ix_scans_owner_verdict", "scans", ["owner", "verdict", "id"])
    op.create_index("ix_scans_owner_status", "scans", ["owner", "status", "id"])
    op.create_index("ix_scans_owner_sha256", "scans", ["owner", "sha256", "id"])
    is_accusing = sa.text("verdict IN ('declared_ai', 'likely_ai')")
    op.create_index(
        "ix_scans_accused",
        "scans",
        ["owner", "sha256"],
        sqlite_where=is_accusing,
        postgresql_where=is_accusing,
    )
    is_judged = sa.text("judge IS NOT NULL")
    op.create_index(
        "ix_scans_judged",
        "scans",
        ["sha256", "operating_point", "completed_at"],
        sqlite_where=is_judged,
        postgresql_where=is_judged,
    )
    has_batch = sa.text("batch_id IS NOT NULL")
    op.create_index(
        "ix_scans_batch",
        "scans",
        ["batch_id", "batch_index"],
        sqlite_where=has_batch,
        postgresql_where=has_batch,
    )
