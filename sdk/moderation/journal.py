"""SQL DOOR: what a bot has seen, meant to do, did and took back; one SQLite file, written first.

    record(item, looks, decision)     one commit: the item is done with, the cursor moves, and what
                                      is to be done because of it is written down before it is done
    action   would --> waiting --> intended --> applied --> undoing --> undone | gone | kept
               |          `-> rejected  |-> gone | failed
               `---------------^        `-> would (permission lost)
    would: observed only.  waiting: for a person.  kept: a person has acted since; it stands.

A process that dies on any line leaves one of three things: an item that is not recorded, which the
platform yields again; an action that is `intended` or `undoing`, which is done again under the same
key; or all of it. Each commit is synced to the disk (WAL, synchronous=FULL), on the event loop: a
few milliseconds an item, and nothing else may happen meanwhile anyway.

One runner holds the journal at a time; commands may read and write beside it. A file that is
damaged, cut off or of another program is refused, never made anew: with it goes the knowledge of
what the bot did, and how to undo it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from sdk.errors import PinclipError
from sdk.wire import Scan

from .platform import Action, ActionKind, Item, Media, UndoToken
from .policy import Decision, Looked
from .sound import line

APPLICATION_ID = 0x70696E63  # "pinc": tells a journal from any other SQLite file
VERSION = 1
BUSY_SECONDS = 20.0
PAGE_ROWS = 500
LONGEST_WAIT_SECONDS = 2 * 86_400.0
"""Longer than anything here waits: what is due later than so was written by a clock put back."""
KEY_DIGITS = 24
"""Hex digits of an action's key: short enough for Discord's nonce of 25 letters."""

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE items (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, revision TEXT NOT NULL, at REAL NOT NULL,
  outcome TEXT NOT NULL, why TEXT NOT NULL, item BLOB NOT NULL, decision BLOB NOT NULL,
  UNIQUE (id, revision));
CREATE INDEX items_at ON items (at);
CREATE TABLE looks (
  number INTEGER NOT NULL REFERENCES items ON DELETE CASCADE, place INTEGER NOT NULL,
  media_id TEXT NOT NULL, url TEXT, scan_id TEXT, scan BLOB, code TEXT, message TEXT,
  PRIMARY KEY (number, place));
CREATE INDEX looks_scan ON looks (scan_id);
CREATE TABLE actions (
  key TEXT PRIMARY KEY, item_id TEXT NOT NULL, sha256 TEXT NOT NULL, kind TEXT NOT NULL,
  revision TEXT NOT NULL, item BLOB NOT NULL, action BLOB NOT NULL, scan BLOB NOT NULL,
  state TEXT NOT NULL, token BLOB, decided_at REAL NOT NULL, acted_at REAL, ended_at REAL,
  look_at REAL, retry_at REAL NOT NULL DEFAULT 0, by TEXT, why TEXT NOT NULL DEFAULT '',
  notice TEXT NOT NULL DEFAULT '',
  UNIQUE (item_id, sha256, kind));
CREATE INDEX actions_state ON actions (state);
CREATE TABLE events (at REAL NOT NULL, name TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE reports (at REAL NOT NULL, items INTEGER NOT NULL, policy_id TEXT NOT NULL);
"""

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)


class JournalError(PinclipError):
    """The journal cannot be read or written: nothing may be done without it."""

    code = "journal_failed"


class JournalDamaged(JournalError):
    """The file is there, and is not a whole journal."""

    code = "journal_damaged"


class JournalInUse(JournalError):
    """Another runner works by this journal."""

    code = "journal_in_use"


class Outcome(StrEnum):
    """What came of an item."""

    LOOKED = "looked"
    EXEMPT = "exempt"
    NO_IMAGE = "no_image"
    GONE = "gone"
    FAILED = "failed"


class State(StrEnum):
    """Where an action is; see the drawing above."""

    WOULD = "would"
    WAITING = "waiting"
    REJECTED = "rejected"
    INTENDED = "intended"
    APPLIED = "applied"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    GONE = "gone"
    KEPT = "kept"


IN_FORCE = (State.INTENDED, State.APPLIED, State.UNDOING)
"""States in which something was done to the item, or is about to be."""


class Mode(StrEnum):
    """How far a bot goes: it watches, it asks a person each time, or it acts by itself."""

    OBSERVE = "observe"
    REVIEW = "review"
    ENFORCE = "enforce"


class Stance(Struct, frozen=True, kw_only=True):
    """The mode in force. `fell_back` says why the bot left another one; a person ends that."""

    mode: Mode = Mode.OBSERVE
    policy_id: str = ""
    since: float = 0.0
    fell_back: str = ""


class Entry(Struct, frozen=True, kw_only=True):
    """One action and all that is known of it. Times are Unix seconds; `scan` is as it was then."""

    item: Item
    action: Action
    scan: Scan
    state: State
    token: UndoToken | None
    decided_at: float
    acted_at: float | None
    ended_at: float | None
    by: str | None
    why: str
    is_tried: bool = False
    """The platform was asked for it before, and may have done it."""


class Seen(Struct, frozen=True, kw_only=True):
    """One revision of an item as it was looked at."""

    item: Item
    outcome: Outcome
    why: str
    at: float
    decision: Decision
    looked: tuple[Looked, ...] = ()


class Made(Struct, frozen=True, kw_only=True):
    """A report that a person asked for: when, over how many items, and of which policy."""

    at: float
    items: int
    policy_id: str


def key_of(item_id: str, digest: str, kind: ActionKind) -> str:
    """Return the key of an action: the same for the same item, image and kind, always."""
    text = "\n".join((item_id, digest, kind.value))
    return sha256(text.encode()).hexdigest()[:KEY_DIGITS]


class Journal:
    """The journal in one file, which is made if there is none. Close it when done.

    Raises JournalDamaged, or JournalError where the file cannot be used. For one thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: sqlite3.Connection | None = None
        with _told(path):
            if not path.exists():
                _make(path)
            self._db = _connect(path)
            try:
                _check(self._db, path)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file, and let go of it if it is held."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, platform: str) -> None:
        """Keep other runners out until `close`, or until this process ends, however it does.

        Raises JournalInUse, and JournalError if the journal is that of another platform.
        """
        with _told(self.path):
            # By the file's own name: a link to it leads to the same lock.
            name = f"{self.path.resolve()}.lock"
            lock = sqlite3.connect(name, timeout=0, isolation_level=None)
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                lock.close()
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                raise _in_use(self.path) from None
        self._lock = lock
        known = self.platform
        if known not in (None, platform):
            self.close()
            raise JournalError(
                f"{self.path} is the journal of a bot on {known}, not on {platform}.",
                hint="Give each bot a journal of its own with --journal.",
            )
        self._put("platform", platform)

    @property
    def is_held(self) -> bool:
        """True if other runners are kept out by this journal."""
        return self._lock is not None

    @property
    def platform(self) -> str | None:
        """Name of the platform that this journal is about; None before the first run."""
        return self._get("platform")

    @property
    def policy(self) -> str | None:
        """File or name of the policy that the bot ran with last; None for the one built in."""
        return self._get("policy")

    @policy.setter
    def policy(self, name: str) -> None:
        self._put("policy", name)

    @property
    def cursor(self) -> str | None:
        """Behind what `Platform.items` is to go on."""
        return self._get("cursor")

    def stance(self) -> Stance:
        """Return the mode in force, and why the bot fell back to it, if it did."""
        text = self._get("stance")
        return Stance() if text is None else self._read(text, Stance)

    def take_stance(self, stance: Stance, *, event: str = "mode") -> None:
        """Put another mode in force, at once also for a runner beside us."""
        with self._writing():
            self._put("stance", _text(stance))
            self._tell(stance.since, event, _text(stance))

    def knows(self, item: Item) -> bool:
        """Tell if this revision of the item was handled; then its cursor is passed as well."""
        row = self._row("SELECT 1 FROM items WHERE id = ? AND revision = ?", item.id, item.revision)
        if row is not None and item.cursor:
            self._put("cursor", item.cursor)
        return row is not None

    def record(
        self, seen: Seen, *, action: Action | None = None, state: State = State.WOULD
    ) -> None:
        """Write down an item, what was seen of it, and what is to be done; the cursor moves."""
        with self._writing():
            item = seen.item
            done = self._do(
                "INSERT OR IGNORE INTO items (id, revision, at, outcome, why, item, decision)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(item.id, item.revision, seen.at, seen.outcome.value, seen.why),
                *(_bytes(item), _bytes(seen.decision)),
            )
            if done.rowcount:
                self._look(int(done.lastrowid or 0), seen.looked)
                # An image may have gone with the edit: what rests on it is looked at again.
                self._do(
                    "UPDATE actions SET look_at = ? WHERE item_id = ? AND state = ?",
                    *(seen.at, item.id, State.APPLIED.value),
                )
            if action is not None:
                self._decide(seen, action, state)
            if item.cursor:
                self._put("cursor", item.cursor)

    def entry(self, key: str) -> Entry | None:
        """Return the action of that key, if there is one."""
        return next(self._entries("key = ?", key), None)

    def entries(self, *states: State) -> list[Entry]:
        """Return the actions in any of these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return list(self._entries(f"state IN ({marks})", *(state.value for state in states)))

    def of_item(self, item_id: str) -> list[Entry]:
        """Return every action on an item, oldest first."""
        return list(self._entries("item_id = ?", item_id))

    def unfinished(self, now: float) -> list[Entry]:
        """Return what was intended, or is to be undone, and is due for a try."""
        return list(
            self._entries(
                "state IN (?, ?) AND (retry_at <= ? OR retry_at > ?)",
                *(State.INTENDED.value, State.UNDOING.value, now, now + LONGEST_WAIT_SECONDS),
            )
        )

    def unread(self) -> list[Entry]:
        """Return the actions of which the author is still to be told."""
        return list(self._entries("notice = 'due'"))

    def due(self, now: float) -> list[Entry]:
        """Return the actions in force whose scans are to be looked at again."""
        return list(
            self._entries(
                "state = ? AND (look_at <= ? OR look_at BETWEEN ? AND 1e15)",  # not the infinite
                *(State.APPLIED.value, now, now + LONGEST_WAIT_SECONDS),
            )
        )

    def of_scan(self, scan_id: str) -> list[Entry]:
        """Return the actions in force on items of which this scan looked at an image."""
        return list(
            self._entries(
                "state = ? AND item_id IN (SELECT id FROM items JOIN looks USING (number)"
                " WHERE looks.scan_id = ?)",
                *(State.APPLIED.value, scan_id),
            )
        )

    def acted_since(self, at: float) -> int:
        """Return how many actions the bot has taken, or meant to take, by itself since then."""
        row = self._row(
            "SELECT count(*) FROM actions WHERE by IS NULL AND acted_at >= ?"
            " AND state NOT IN ('would', 'waiting', 'rejected')",
            at,
        )
        return 0 if row is None else int(row[0])

    def approve(self, key: str, *, by: str, at: float) -> bool:
        """Let an action that waits be taken; False if it does not wait."""
        return self._judge(key, State.INTENDED, by=by, at=at)

    def reject(self, key: str, *, by: str, at: float) -> bool:
        """Let an action that waits never be taken; False if it does not wait."""
        return self._judge(key, State.REJECTED, by=by, at=at)

    def begin(self, key: str) -> None:
        """Write down that the platform is asked for an action now: it may be taken from here on."""
        self._change(key, "retry_at = max(retry_at, 1)")

    def later(self, key: str, *, at: float, why: str) -> None:
        """Try an action, or its undoing, again from then on."""
        self._change(key, "retry_at = ?, why = ?", at, why)

    def applied(
        self, key: str, token: UndoToken, *, at: float, look_at: float, is_told: bool
    ) -> None:
        """Write down that an action was taken, and how to take it back."""
        self._change(
            key,
            "state = ?, token = ?, acted_at = coalesce(acted_at, ?), look_at = ?, notice = ?",
            *(State.APPLIED.value, _bytes(token), at, look_at, "due" if is_told else ""),
        )

    def hold_back(self, key: str, *, why: str) -> None:
        """Write down that an action that was intended was refused, and so was only observed."""
        self._change(
            key, "state = ?, acted_at = NULL, retry_at = 0, why = ?", State.WOULD.value, why
        )

    def end(
        self, key: str, state: State, *, at: float, why: str = "", is_told: bool = False
    ) -> None:
        """Write down how an action ended."""
        self._change(
            key,
            "state = ?, ended_at = ?, why = CASE WHEN ? = '' THEN why ELSE ? END, notice = ?",
            *(state.value, at, why, why, "due" if is_told else ""),
        )

    def told(self, key: str) -> None:
        """Write down that the author was told, or cannot be."""
        self._change(key, "notice = ''")

    def look_again(self, key: str, *, at: float) -> None:
        """Look at the scans of an action in force again from then on."""
        self._change(key, "look_at = ?", at)

    def fall(self, key: str, *, why: str, fresh: Sequence[Looked] = (), at: float) -> None:
        """Have an action undone because of what is known now; `fresh` replaces the item's looks."""
        with self._writing():
            entry = self.entry(key)
            if entry is None or entry.state is not State.APPLIED:
                return
            self.refresh(entry.item.id, fresh)
            self._change(key, "state = ?, why = ?, retry_at = 0", State.UNDOING.value, why)
            self._tell(at, "undo", _text({"key": key, "why": why}))

    def refresh(self, item_id: str, fresh: Sequence[Looked]) -> None:
        """Replace the scans of an item, as it was looked at last, by what they are now."""
        number = self._newest(item_id, is_looked_at=True)
        for place, each in enumerate(fresh if number is not None else ()):
            if isinstance(each.result, Scan):
                self._do(
                    "UPDATE looks SET scan = ?, scan_id = ? WHERE number = ? AND place = ?",
                    *(_bytes(each.result), each.result.id, number, place),
                )

    def newest(self, item_id: str, *, is_looked_at: bool = False) -> Seen | None:
        """Return the item as it was seen last, or as it was when its images could be looked at."""
        number = self._newest(item_id, is_looked_at=is_looked_at)
        return None if number is None else next(self._seen("number = ?", number), None)

    def seen_since(self, at: float) -> Iterator[Seen]:
        """Yield every item that was handled since then, in its newest revision, oldest first."""
        newest = "number IN (SELECT max(number) FROM items GROUP BY id)"
        yield from self._seen(f"at >= ? AND {newest}", at)

    def note_report(self, made: Made) -> None:
        """Write down that a person has asked for a report."""
        self._do("INSERT INTO reports VALUES (?, ?, ?)", made.at, made.items, made.policy_id)

    def report_made(self, policy_id: str) -> Made | None:
        """Return the newest report that was made of a policy."""
        row = self._row(
            "SELECT at, items, policy_id FROM reports WHERE policy_id = ?"
            " ORDER BY rowid DESC LIMIT 1",
            policy_id,
        )
        return None if row is None else Made(at=row[0], items=row[1], policy_id=row[2])

    def note(self, name: str, what: str, *, at: float) -> None:
        """Write down something that people may want to know later."""
        self._tell(at, name, what)

    def events(self) -> list[tuple[float, str, str]]:
        """Return (Unix time, name, what) of what was noted, oldest first."""
        return [
            (at, name, what) for at, name, what in self._all("SELECT * FROM events ORDER BY at")
        ]

    def forget(self, before: float) -> int:
        """Forget items from before then on which nothing was done or decided; return how many."""
        self._do("DELETE FROM actions WHERE state = 'would' AND decided_at < ?", before)
        return self._do(
            "DELETE FROM items WHERE at < ? AND id NOT IN (SELECT item_id FROM actions)", before
        ).rowcount

    def _decide(self, seen: Seen, action: Action, state: State) -> None:
        scan = next(
            each.result
            for each in seen.looked
            if isinstance(each.result, Scan) and each.result.id == action.scan_id
        )
        acted_at = seen.at if state is State.INTENDED else None
        self._do(
            "INSERT INTO actions (key, item_id, sha256, kind, revision, item, action, scan, state,"
            " decided_at, acted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, item = excluded.item,"
            " action = excluded.action, scan = excluded.scan, state = excluded.state,"
            " decided_at = excluded.decided_at, acted_at = excluded.acted_at, retry_at = 0"
            " WHERE state = 'would'",
            *(action.key, seen.item.id, action.sha256, action.kind.value, seen.item.revision),
            *(_bytes(seen.item), _bytes(action), _bytes(scan), state.value, seen.at, acted_at),
        )

    def _look(self, number: int, looked: Sequence[Looked]) -> None:
        for place, (media, result) in enumerate(looked):
            found: tuple[Any, ...] = (None, None, result_code(result), line(str(result)))
            if isinstance(result, Scan):
                found = (result.id, _bytes(result), None, None)
            self._do(
                "INSERT INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(number, place, media.id, media.url, *found),
            )

    def _judge(self, key: str, state: State, *, by: str, at: float) -> bool:
        with self._writing():
            acted_at = at if state is State.INTENDED else None
            done = self._do(
                "UPDATE actions SET state = ?, by = ?, acted_at = ? WHERE key = ? AND state = ?",
                *(state.value, by, acted_at, key, State.WAITING.value),
            )
            if done.rowcount:
                self._tell(at, "review", _text({"key": key, "by": by, "state": state.value}))
            return bool(done.rowcount)

    def _entries(self, where: str, *values: object) -> Iterator[Entry]:
        rows = self._all(
            "SELECT item, action, scan, state, token, decided_at, acted_at, ended_at, by, why,"  # noqa: S608 - `where` is written above, the values are bound
            f" retry_at FROM actions WHERE {where} ORDER BY decided_at, rowid",
            *values,
        )
        for item, action, scan, state, token, *rest in rows:
            decided_at, acted_at, ended_at, by, why, retry_at = rest
            yield Entry(
                item=self._read(item, Item),
                action=self._read(action, Action),
                scan=self._read(scan, Scan),
                state=self._word(state, State),
                token=None if token is None else self._read(token, UndoToken),
                decided_at=decided_at,
                acted_at=acted_at,
                ended_at=ended_at,
                by=by,
                why=why,
                is_tried=retry_at > 0,
            )

    def _seen(self, where: str, value: object) -> Iterator[Seen]:
        number = 0
        while rows := self._all(
            "SELECT number, item, outcome, why, at, decision FROM items"  # noqa: S608 - as above
            f" WHERE {where} AND number > ? ORDER BY number LIMIT {PAGE_ROWS}",
            *(value, number),
        ):
            for number, item, outcome, why, at, decision in rows:
                yield Seen(
                    item=self._read(item, Item),
                    outcome=self._word(outcome, Outcome),
                    why=why,
                    at=at,
                    decision=self._read(decision, Decision),
                    looked=tuple(self._looks(number)),
                )

    def _looks(self, number: int) -> Iterator[Looked]:
        rows = self._all(
            "SELECT media_id, url, scan, code, message FROM looks WHERE number = ? ORDER BY place",
            number,
        )
        for media_id, url, scan, code, message in rows:
            result = _failure(code, message) if scan is None else self._read(scan, Scan)
            yield Looked(Media(media_id, url=url), result)

    def _newest(self, item_id: str, *, is_looked_at: bool) -> int | None:
        row = self._row(
            "SELECT number FROM items WHERE id = ? AND (? OR outcome IN (?, ?))"
            " ORDER BY number DESC LIMIT 1",
            *(item_id, not is_looked_at, Outcome.LOOKED.value, Outcome.NO_IMAGE.value),
        )
        return None if row is None else int(row[0])

    def _change(self, key: str, what: str, *values: object) -> None:
        self._do(f"UPDATE actions SET {what} WHERE key = ?", *values, key)  # noqa: S608 - as above

    def _tell(self, at: float, name: str, what: str) -> None:
        self._do("INSERT INTO events VALUES (?, ?, ?)", at, name, what)

    def _put(self, name: str, value: str) -> None:
        self._do("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)

    def _get(self, name: str) -> str | None:
        row = self._row("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else str(row[0])

    def _read(self, data: bytes | str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:  # SQLite has no checksum of what is within a page
            raise _damaged(self.path, f"what should be {kind.__name__} is not: {error}") from error

    def _word(self, text: str, kind: type[W]) -> W:
        try:
            return kind(text)
        except ValueError as error:
            raise _damaged(self.path, str(error)) from error

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        return next(iter(self._all(statement, *values)), None)

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with _told(self.path):
            return self._db.execute(statement, values).fetchall()

    def _do(self, statement: str, *values: object) -> sqlite3.Cursor:
        with _told(self.path):
            return self._db.execute(statement, values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One commit for all that is written within, or none of it."""
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            with _told(self.path):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise


def result_code(result: Scan | PinclipError) -> str | None:
    """Return the code of why there is no scan, or None."""
    return None if isinstance(result, Scan) else str(result.code)


def _make(path: Path) -> None:
    """Make an empty journal, whole or not at all: nobody ever finds half of one."""
    if Path(f"{path}-wal").exists():
        raise _damaged(path, "the file is gone, and what belongs to it is still there")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    new.unlink(missing_ok=True)
    try:
        db = sqlite3.connect(new, isolation_level=None)
        try:
            db.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
                f"{_SCHEMA} COMMIT;"
            )
        finally:
            db.close()
        with suppress(FileExistsError):
            os.link(new, path)  # fails, unlike a rename, where another process was first
    finally:
        new.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not a whole journal of this version."""
    if path.stat().st_size == 0:
        raise _damaged(path, "the file is empty")
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        raise JournalError(
            f"{path} is an SQLite file, but not the journal of a bot.",
            hint="Name another file with --journal.",
        )
    if version != VERSION:
        raise JournalError(
            f"{path} is a journal of version {version}; this pinclip reads version {VERSION}.",
            hint="Install the pinclip that wrote it, or a newer one.",
        )
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, str(found).strip().replace("\n", " "))
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what SQLite, or the disk, has against the journal."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise JournalError(
            f"The journal {path} cannot be used: {error}.",
            hint=(
                "Look whether the disk is full and the file may be written; once that is mended, "
                "the bot goes on from what is written there."
            ),
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise JournalError(
            f"The journal {path} cannot be used: {error.strerror or error}.",
            hint="Name a file in a folder that may be written, with --journal.",
        ) from error


def _in_use(path: Path) -> JournalInUse:
    return JournalInUse(
        f"Another bot is running by the journal {path}.",
        hint="Stop it first, or give each bot a journal of its own with --journal.",
    )


def _damaged(path: Path, what: str) -> JournalDamaged:
    return JournalDamaged(
        f"The journal {path} is damaged: {what}.",
        hint=(
            "Put back a copy of it. Without one, move it and what begins with its name away and "
            "start anew: then the bot no longer knows what it did, and a person has to undo it."
        ),
    )


def _failure(code: str | None, message: str | None) -> PinclipError:
    error = PinclipError(message or "It is not known why there is no scan.")
    error.code = code or error.code
    return error


def _bytes(value: object) -> bytes:
    return msgspec.json.encode(value)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
