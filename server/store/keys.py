"""SQL DOOR: API keys, by the sha256 of each. Knows nothing of requests.

    add, replace, revoke    one transaction with what the audit log says of it
    find                    many digests, one query: the authenticator asks for all at once
    note_uses               when keys were last used, many in one transaction

A key is never deleted, so that its id means the same for as long as the audit log is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sdk.wire import Scope
from server.rules.caller import Limits
from server.rules.keys import Key, Kind

from . import audit
from .engine import PATIENT_SECONDS, Database
from .tables import PUBLISHABLE, KeyRow

_COLUMNS = sa.select(*KeyRow.__table__.c)


class SqlKeys:
    """The keys of one database. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: Key, *, digest: str, actor: str) -> None:
        """Keep a new key."""

        def work(connection: sa.Connection) -> None:
            _insert(connection, key, digest=digest)
            _tell(connection, actor, "key.create", key, now=key.created_at)

        await self._database.write(work)

    async def all(self) -> list[Key]:
        """Return every key that was ever made, newest first."""
        query = _COLUMNS.order_by(KeyRow.id.desc())
        rows = await self._database.rows(query, seconds=PATIENT_SECONDS)
        return [_key(row) for row in rows]

    async def get(self, key_id: str) -> Key | None:
        """Return the key of an id."""
        rows = await self._database.rows(_COLUMNS.where(KeyRow.id == key_id))
        return _key(rows[0]) if rows else None

    async def revoke(self, key_id: str, *, actor: str, now: float) -> bool:
        """Revoke a key; False if it was already, or there is none."""

        def work(connection: sa.Connection) -> bool:
            is_done = _change(connection, key_id, revoked_at=now)
            if is_done:
                audit.add(
                    connection,
                    actor=actor,
                    action="key.revoke",
                    subject=key_id,
                    detail={},
                    now=now,
                )
            return is_done

        return await self._database.write(work)

    async def replace(self, old: Key, *, until: float, new: Key, digest: str, actor: str) -> bool:
        """Keep a new key and let the old one expire; False, and neither, if it was revoked."""

        def work(connection: sa.Connection) -> bool:
            if not _change(connection, old.id, expires_at=until):
                return False
            _insert(connection, new, digest=digest)
            _tell(connection, actor, "key.rotate", new, now=new.created_at, replaces=old.id)
            return True

        return await self._database.write(work)

    async def find(self, digests: Sequence[str]) -> dict[str, Key]:
        """Return the keys of these digests, revoked and expired ones too."""
        rows = await self._database.rows(_COLUMNS.where(KeyRow.digest.in_(digests)))
        return {row.digest: _key(row) for row in rows}

    async def are_there_any(self) -> bool:
        """True once a key was made, whatever became of it."""
        return bool(await self._database.rows(sa.select(KeyRow.id).limit(1)))

    async def is_one_live(self, now: float) -> bool:
        """True if a key works at this Unix time."""
        return bool(await self._database.rows(sa.select(KeyRow.id).where(_live(now)).limit(1)))

    async def origins(self, now: float) -> frozenset[str]:
        """Return all origins from which a publishable key works at this Unix time."""
        rows = await self._database.rows(_origins(now))
        return frozenset(origin for row in rows for origin in row.origins.split())

    async def note_uses(self, uses: Mapping[str, float]) -> None:
        """Keep when keys were last used (Unix time); an older time changes nothing."""
        latest: sa.BindParameter[float] = sa.bindparam("at")
        query = (
            sa.update(KeyRow)
            .where(KeyRow.id == sa.bindparam("key_id"))
            .where(sa.or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < latest))
            .values(last_used_at=latest)
        )

        def work(connection: sa.Connection) -> None:
            rows = [{"key_id": key_id, "at": at} for key_id, at in sorted(uses.items())]
            connection.execute(query, rows)

        if uses:
            await self._database.write(work, seconds=PATIENT_SECONDS)


def _origins(now: float) -> sa.Select[Any]:
    # As text: an index of some rows is sure to be taken only for the condition that made it.
    return sa.select(KeyRow.origins).where(sa.text(PUBLISHABLE), _live(now))


def _live(now: float) -> sa.ColumnElement[bool]:
    is_in_time = sa.or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now)
    return sa.and_(KeyRow.revoked_at.is_(None), is_in_time)


def _insert(connection: sa.Connection, key: Key, *, digest: str) -> None:
    row = {
        "id": key.id,
        "digest": digest,
        "hint": key.hint,
        "kind": str(key.kind),
        "owner": key.owner,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "origins": " ".join(key.origins),
        "rate_per_minute": key.limits.rate_per_minute,
        "parallel": key.limits.parallel,
        "quota_per_day": key.limits.quota_per_day,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
    connection.execute(sa.insert(KeyRow).values(row))


def _change(connection: sa.Connection, key_id: str, **values: float) -> bool:
    """Change a key that is not revoked; False if there is none."""
    is_it = sa.and_(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
    done = connection.execute(sa.update(KeyRow).where(is_it).values(values))
    return done.rowcount == 1


def _tell(
    connection: sa.Connection, actor: str, action: str, key: Key, *, now: float, **more: str
) -> None:
    detail: dict[str, Any] = {
        "owner": key.owner,
        "name": key.name,
        "kind": str(key.kind),
        "scopes": sorted(key.scopes),
        **more,
    }
    audit.add(connection, actor=actor, action=action, subject=key.id, detail=detail, now=now)


def _key(row: Any) -> Key:
    return Key(
        id=row.id,
        hint=row.hint,
        kind=Kind(row.kind),
        owner=row.owner,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        origins=tuple(row.origins.split()),
        limits=Limits(
            rate_per_minute=row.rate_per_minute,
            parallel=row.parallel,
            quota_per_day=row.quota_per_day,
        ),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
