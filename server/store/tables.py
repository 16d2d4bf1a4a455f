"""SQL DOOR: every table of the records. Columns, keys, indexes; no query.

    scans       one row a scan
    keys        who may ask, by the hash of the key      replays      answers by Idempotency-Key
    batches     many scans asked for at once             tombstones   scans that were erased
    appeals     disputes about verdicts                  overrides    bytes that a person judged
    endpoints   where events go                          events       what happened
    feedback    what people say of images
    deliveries  one event on its way to one endpoint     audit        who did what, in a chain

Times are Unix seconds; what ends in `_json` is JSON. tests/store compares these with what the
revisions in server/migrations make.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from advanced_alchemy.base import DefaultBase
from sqlalchemy.orm import Mapped, mapped_column

ID = sa.String(32)
"""A prefix of up to six characters (`batch_`) and 26 that sort by time."""
OWNER = sa.String(64)
SHA256 = sa.String(64)


def where(condition: str) -> dict[str, Any]:
    """Return what makes an index cover only the rows of this condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


ENDED_AT_PLACE = "place IS NOT NULL AND completed_at IS NOT NULL"
JUDGED_UPLOAD = "judge IS NOT NULL AND upload_id IS NOT NULL"
JUDGED = "judge IS NOT NULL"
ACCUSED = "verdict IN ('declared_ai', 'likely_ai')"
PUBLISHABLE = "kind = 'pk'"


class ScanRow(DefaultBase):
    """One scan. Times are Unix seconds; `opened`, `entry` and `outcome` are JSON.

    `place` stands for the canonical URL, `judge` for who judged; both are NULL, and `outcome` too,
    in a scan that was given the verdict of another, so that it is never a precedent itself.
    """

    __tablename__ = "scans"

    __table_args__ = (
        sa.Index("ix_scans_owner", "owner", "id"),
        sa.Index("ix_scans_owner_verdict", "owner", "verdict", "id"),
        sa.Index("ix_scans_owner_status", "owner", "status", "id"),
        sa.Index("ix_scans_owner_sha256", "owner", "sha256", "id"),
        sa.Index("ix_scans_batch", "batch_id", "batch_index", **where("batch_id IS NOT NULL")),
        sa.Index("ix_scans_accused", "owner", "sha256", **where(ACCUSED)),
        sa.Index("ix_scans_judged", "sha256", "operating_point", "completed_at", **where(JUDGED)),
        sa.Index("ix_scans_open", "created_at", **where("completed_at IS NULL")),
        sa.Index("ix_scans_upload", "upload_id", **where("upload_id IS NOT NULL")),
        sa.Index("ix_scans_place", "place", "completed_at", **where(ENDED_AT_PLACE)),
        sa.Index("ix_scans_sha256", "sha256", "completed_at", **where(JUDGED_UPLOAD)),
    )

    id: Mapped[str] = mapped_column(sa.String(31), primary_key=True)
    owner: Mapped[str | None] = mapped_column(sa.String(64))
    status: Mapped[str] = mapped_column(sa.String(16))
    sequence: Mapped[int]
    created_at: Mapped[float]
    deadline: Mapped[float]
    completed_at: Mapped[float | None]
    url: Mapped[str | None] = mapped_column(sa.Text)
    upload_id: Mapped[str | None] = mapped_column(sa.String(30))
    operating_point: Mapped[str] = mapped_column(sa.String(16))
    context: Mapped[str] = mapped_column(sa.Text)
    metadata_: Mapped[str] = mapped_column("metadata", sa.Text)
    opened: Mapped[str] = mapped_column(sa.Text)
    entry: Mapped[str] = mapped_column(sa.Text)
    outcome: Mapped[str | None] = mapped_column(sa.Text)
    place: Mapped[str | None] = mapped_column(sa.String(32))
    sha256: Mapped[str | None] = mapped_column(sa.String(64))
    judge: Mapped[str | None] = mapped_column(sa.String(64))
    verdict: Mapped[str | None] = mapped_column(sa.String(16))
    batch_id: Mapped[str | None] = mapped_column(ID)
    batch_index: Mapped[int | None]
    callback_url: Mapped[str | None] = mapped_column(sa.Text)
    appeal_state: Mapped[str] = mapped_column(sa.String(16), default="none", server_default="none")
    superseded_by: Mapped[str | None] = mapped_column(ID)
    rescore_of: Mapped[str | None] = mapped_column(ID)


class KeyRow(DefaultBase):
    """One API key. The key itself is not kept, only the sha256 of it."""

    __tablename__ = "keys"
    __table_args__ = (sa.Index("ix_keys_publishable", "id", **where(PUBLISHABLE)),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    digest: Mapped[str] = mapped_column(SHA256, unique=True)
    hint: Mapped[str] = mapped_column(sa.String(16))
    """How the key begins and ends, for people to tell theirs apart."""
    kind: Mapped[str] = mapped_column(sa.String(2))
    owner: Mapped[str] = mapped_column(OWNER, index=True)
    name: Mapped[str] = mapped_column(sa.Text)
    scopes: Mapped[str] = mapped_column(sa.Text)
    origins: Mapped[str] = mapped_column(sa.Text)
    rate_per_minute: Mapped[int | None]
    parallel: Mapped[int | None]
    quota_per_day: Mapped[int | None]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]


class ReplayRow(DefaultBase):
    """What was made under an Idempotency-Key, in the same commit; a replay reads it anew."""

    __tablename__ = "replays"

    owner: Mapped[str] = mapped_column(OWNER, primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(SHA256)
    created_at: Mapped[float] = mapped_column(index=True)
    subject: Mapped[str] = mapped_column(ID, index=True)


class BatchRow(DefaultBase):
    """One batch; its scans name it. `refused_json`: [[index, problem], ...]."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER, index=True)
    total: Mapped[int]
    refused_json: Mapped[str] = mapped_column(sa.Text)
    metadata_json: Mapped[str] = mapped_column(sa.Text)
    callback_url: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[float]
    completed_at: Mapped[float | None]


class TombstoneRow(DefaultBase):
    """That there was a scan, and who erased it; nothing of what it said."""

    __tablename__ = "tombstones"

    scan_id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER)
    erased_at: Mapped[float]
    erased_by: Mapped[str] = mapped_column(sa.String(64))


class AppealRow(DefaultBase):
    """A dispute about one scan's verdict; one a scan."""

    __tablename__ = "appeals"

    __table_args__ = (sa.Index("ix_appeals_owner", "owner", "id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER)
    scan_id: Mapped[str] = mapped_column(ID, unique=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str] = mapped_column(sa.Text)
    evidence_url: Mapped[str | None] = mapped_column(sa.Text)
    note: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[float]
    decided_at: Mapped[float | None]
    decided_by: Mapped[str | None] = mapped_column(sa.String(64))


class FeedbackRow(DefaultBase):
    """A person's word on a scan's image; `sha256` and `verdict` are the scan's as they were."""

    __tablename__ = "feedback"
    __table_args__ = (
        sa.Index("ix_feedback_owner", "owner", "id"),
        sa.Index("ix_feedback_scan", "scan_id", "id"),
    )

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER)
    scan_id: Mapped[str] = mapped_column(ID)
    label: Mapped[str] = mapped_column(sa.String(16))
    comment: Mapped[str] = mapped_column(sa.Text)
    sha256: Mapped[str | None] = mapped_column(SHA256)
    verdict: Mapped[str | None] = mapped_column(sa.String(16))
    created_at: Mapped[float]


class OverrideRow(DefaultBase):
    """Bytes that a person said are not to be accused, for one owner."""

    __tablename__ = "overrides"

    owner: Mapped[str] = mapped_column(OWNER, primary_key=True)
    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    appeal_id: Mapped[str] = mapped_column(ID)
    created_at: Mapped[float]


class EndpointRow(DefaultBase):
    """Where events go. `secrets_json`: [[secret, expires_at or null], ...], newest first.

    `is_callback`: made for the callback_url of one scan or batch, and not listed.
    """

    __tablename__ = "endpoints"
    __table_args__ = (sa.Index("ix_endpoints_owner", "owner", "is_callback", "id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER)
    url: Mapped[str] = mapped_column(sa.Text)
    events_json: Mapped[str] = mapped_column(sa.Text)
    description: Mapped[str] = mapped_column(sa.Text)
    secrets_json: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[str] = mapped_column(sa.String(16))
    disabled_reason: Mapped[str | None] = mapped_column(sa.Text)
    failing_since: Mapped[float | None]
    warned_days: Mapped[int] = mapped_column(default=0)
    is_callback: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class EventRow(DefaultBase):
    """What happened, as it is sent: `body` is the exact text. Kept 30 days."""

    __tablename__ = "events"
    __table_args__ = (sa.Index("ix_events_owner", "owner", "created_at"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(OWNER)
    type: Mapped[str] = mapped_column(sa.String(32))
    subject: Mapped[str] = mapped_column(ID, index=True)
    """Id of the scan, batch, appeal or endpoint."""
    sequence: Mapped[int]
    body: Mapped[str] = mapped_column(sa.Text)
    replay_of: Mapped[str | None] = mapped_column(ID)
    created_at: Mapped[float] = mapped_column(index=True)


class DeliveryRow(DefaultBase):
    """One event on its way to one endpoint."""

    __tablename__ = "deliveries"
    __table_args__ = (
        sa.Index("ix_deliveries_due", "endpoint_id", "next_at", **where("state = 'pending'")),
        sa.Index("ix_deliveries_lease", "endpoint_id", **where("lease IS NOT NULL")),
        sa.Index("ix_deliveries_endpoint", "endpoint_id", "id"),
    )

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    event_id: Mapped[str] = mapped_column(ID, index=True)
    endpoint_id: Mapped[str] = mapped_column(ID)
    state: Mapped[str] = mapped_column(sa.String(16))
    attempts: Mapped[int]
    next_at: Mapped[float | None]
    lease_until: Mapped[float | None]
    lease: Mapped[str | None] = mapped_column(sa.String(32))
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[float]
    delivered_at: Mapped[float | None]


class AuditRow(DefaultBase):
    """One act. `hash` is over the row and `previous`, so that none can be changed unseen."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    at: Mapped[float]
    actor: Mapped[str] = mapped_column(sa.String(64))
    action: Mapped[str] = mapped_column(sa.String(32))
    subject: Mapped[str] = mapped_column(sa.String(64))
    detail_json: Mapped[str] = mapped_column(sa.Text)
    previous: Mapped[str] = mapped_column(SHA256)
    hash: Mapped[str] = mapped_column(SHA256)
