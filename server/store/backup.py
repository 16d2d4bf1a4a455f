"""SQL DOOR: a copy of the SQLite database while it is in use, and the way back. Blocks.

    save     database --one snapshot--> FILE.part --checked, synced--> FILE
    restore  FILE --checked--> records.sqlite3.part --synced--> records.sqlite3
                               what was there --> records.sqlite3.before-DATE

Either file is whole whenever the machine stops: what is under way has another name. A copy is one
file in SQLite's rollback mode, without -wal and -shm; the server turns to WAL at its next start.
PostgreSQL has pg_dump.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from msgspec import Struct

from server.ids import rfc3339

from . import audit
from .engine import MIGRATIONS, PATIENT_SECONDS

PART = ".part"
"""Added to the name of a file that is not whole yet."""


_MAGIC = b"SQLite format 3\0"


class Copied(Struct, frozen=True, kw_only=True):
    """A whole database: its size, the revision of its tables, and how many scans it has."""

    file: Path
    size_bytes: int
    revision: str
    scans: int


class CannotCopy(Exception):
    """Nothing was changed; the message says why, and what to do."""


def save(database: Path, target: Path) -> Copied:
    """`target` is a copy of the database as it is now; raises CannotCopy.

    Others read and write meanwhile and are not held up.
    """
    if target.exists():
        raise CannotCopy(f"{target} exists: name another file, such as one with today's date.")
    with _draft(target) as draft:
        _copy(database, draft)
        copied = msgspec.structs.replace(_inspected(draft, called=database), file=target)
        _sync(draft)
        draft.replace(target)
        _sync(target.parent)
    return copied


def restore(source: Path, database: Path, *, at: float) -> Path | None:
    """The database is a copy of `source`; returns what the one before is called now, if any.

    `at`, the Unix time of the act, names that one and stands in the audit log. Raises CannotCopy
    if `source` is no database of ours or something has the present one open; nothing is changed.
    """
    found = inspected(source)
    database.parent.mkdir(0o700, parents=True, exist_ok=True)
    with _draft(database) as draft:
        shutil.copyfile(source, draft)
        _note(draft, lost=_head(database), scans=found.scans, at=at)
        _sync(draft)
        aside = _set_aside(database, at)
        draft.replace(database)
        _sync(database.parent)
    return aside


def inspected(file: Path) -> Copied:
    """Return what this database has; raises CannotCopy if it is not a whole one of ours."""
    if not file.is_file():
        raise CannotCopy(f"There is no file {file}: give the path of what `pinclip backup` wrote.")
    return _inspected(file, called=file)


def _inspected(file: Path, *, called: Path) -> Copied:
    try:
        with closing(_opened(file, mode="ro")) as connection:
            (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if answer != "ok":
                raise sqlite3.DatabaseError(answer)
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (scans,) = connection.execute("SELECT count(*) FROM scans").fetchone()
    except (sqlite3.Error, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise CannotCopy(
            f"{called} is not a whole database of pinclip ({reason}): use another backup."
        ) from error
    _check_known(called, revision)
    return Copied(file=file, size_bytes=file.stat().st_size, revision=revision, scans=scans)


def _check_known(file: Path, revision: str) -> None:
    try:
        ScriptDirectory(str(MIGRATIONS)).get_revision(revision)
    except CommandError as error:
        raise CannotCopy(
            f"{file} was written by a newer version (revision {revision}): use that version."
        ) from error


def _copy(database: Path, draft: Path) -> None:
    """Copy in one step: a snapshot, which in WAL mode keeps no writer waiting."""
    try:
        with (
            closing(_opened(database, mode="rw")) as source,
            closing(_opened(draft, mode="rw")) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise CannotCopy(
            f"{database} cannot be copied to {draft.parent} ({error}): check that it is a database "
            "of pinclip, whole, and that there is room."
        ) from error


def _head(database: Path) -> audit.Head | None:
    """Return the end of a database's audit log, or None where that cannot be read."""
    if not _looks_whole(database):
        return None
    try:
        with closing(_opened(database, mode="rw")) as connection:
            return _newest(connection)
    except sqlite3.Error:
        return None


def _newest(connection: sqlite3.Connection) -> audit.Head:
    query = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
    return audit.Head(*(connection.execute(query).fetchone() or (0, audit.GENESIS)))


def _note(draft: Path, *, lost: audit.Head | None, scans: int, at: float) -> None:
    """The audit log says that it was restored, and which end of a log is in it no more."""
    with closing(_opened(draft, mode="rw")) as connection, connection:
        names = "SELECT name FROM sqlite_master WHERE name = 'audit'"
        if connection.execute(names).fetchone() is None:
            return  # a backup from before there was one
        entry = audit.sealed(
            _newest(connection),
            at=at,
            actor="pinclip restore",
            action="database.restore",
            subject="records",
            detail={"lost_head": str(lost) if lost else None, "scans": scans},
        )
        row = msgspec.structs.asdict(entry)
        marks = ", ".join(f":{name}" for name in row)
        statement = f"INSERT INTO audit ({', '.join(row)}) VALUES ({marks})"  # noqa: S608 - ours
        connection.execute(statement, row)


def _set_aside(database: Path, at: float) -> Path | None:
    """Give the present database a second name, and fold its log into it. Raises CannotCopy."""
    if not database.exists():
        _drop_log(database)
        return None
    stamp = re.sub(r"[-:]|\..*", "", rfc3339(at))
    aside = database.with_name(f"{database.name}.before-{stamp}")
    if aside.exists():
        raise CannotCopy(f"{aside} exists: move it away.")
    _fold(database)
    _move_log(database, aside)
    os.link(database, aside)  # and not a move: at every moment there is a database
    return aside


def _fold(database: Path) -> None:
    """Put what is in the log into the file; a damaged one stays as it is.

    SQLite leaves WAL mode only for who is alone with the file, which is what we have to know.
    """
    if not _looks_whole(database):
        return
    try:
        with closing(_opened(database, mode="rw", seconds=0.0)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise CannotCopy(
                f"Another process has {database} open: stop `pinclip up` and `pinclip serve` first."
            ) from error
    except sqlite3.DatabaseError:
        return


def _looks_whole(database: Path) -> bool:
    """True if SQLite may open it; of a file that is none of its own it removes the log unasked."""
    if not database.exists():
        return False
    with database.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _move_log(database: Path, aside: Path) -> None:
    """A log that could not be folded goes with its file, never onto the next one."""
    for end in ("-wal", "-shm"):
        log = database.with_name(database.name + end)
        if log.exists():
            log.rename(aside.with_name(aside.name + end))


def _drop_log(database: Path) -> None:
    """A log without its file belongs to none."""
    for end in ("-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Give an empty file beside `target` that is ours alone, and gone at the end of the block."""
    draft = target.with_name(target.name + PART)
    try:
        with open(os.open(draft, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            _lock(file.fileno(), draft)
            file.truncate(0)  # what an earlier one left behind that was killed
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise CannotCopy(
            f"{target} cannot be written ({error.strerror}): check the folder and its room."
        ) from error


def _lock(descriptor: int, draft: Path) -> None:
    """The draft is ours until it is closed; it has not become somebody's finished file either."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.path.samestat(os.fstat(descriptor), draft.stat())
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise CannotCopy(f"Another process writes {draft} now: wait for it.")


def _opened(file: Path, *, mode: str, seconds: float = PATIENT_SECONDS) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=seconds)


def _sync(path: Path) -> None:
    """What was written there outlives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
