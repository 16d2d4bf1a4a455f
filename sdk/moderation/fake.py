"""FakePlatform: a whole platform for tests, in memory or in a file that processes share.

    place.post(images)  --->  changes (cursor)  --->  FakePlatform.items
    place.edit, delete                                FakePlatform.media, exempt
    place.actions(id)   <---  marks (kind, key)  <--  FakePlatform.apply, undo
    place.notices(id)   <---  notices            <--  FakePlatform.notify
    place.rate_limit, forbid, lose_answer, human_acts: what a platform does to a bot

A FakePlace is the platform's own side, which tests arrange and look at; a FakePlatform is an
adapter for it, and passes the conformance suite of .testing. The place takes every action it is
asked for, twice if asked twice: once only is the adapter's to see to. With a path the state is
an SQLite file: it outlives a process that is killed on any line. Knows no runner and no journal.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    RateLimited,
    UndoResult,
    UndoToken,
    Unsure,
)

POLL_SECONDS = 0.01
MODERATOR = "moderator"
"""The author whose posts are exempt."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (
  id TEXT PRIMARY KEY, revision INTEGER NOT NULL, author TEXT NOT NULL,
  is_deleted INTEGER NOT NULL DEFAULT 0, human_after INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS images (post_id TEXT, revision INTEGER, image BLOB);
CREATE TABLE IF NOT EXISTS changes (
  cursor INTEGER PRIMARY KEY AUTOINCREMENT, post_id TEXT, revision INTEGER);
CREATE TABLE IF NOT EXISTS marks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, post_id TEXT, kind TEXT, key TEXT,
  is_undone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS notices (post_id TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS faults (name TEXT PRIMARY KEY, value REAL);
"""


class Mark(NamedTuple):
    """An action that was taken on a post, in the order of `id`."""

    id: int
    post_id: str
    kind: str
    key: str
    is_undone: int
    """0 or 1."""


class FakePlace:
    """The platform's own side. Without a path it lives as long as this object."""

    def __init__(self, path: Path | None = None) -> None:
        self._db = sqlite3.connect(
            path or ":memory:", isolation_level=None, timeout=30, check_same_thread=False
        )
        # A killed process loses nothing that was written; only a machine without power would.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._db.close()

    def post(self, images: Sequence[bytes | str], *, author: str = "somebody") -> str:
        """Return the id of a new post. An image is its bytes, or a URL that anybody may fetch."""
        with self._writing():
            (count,) = self._row("SELECT count(*) FROM posts")
            post_id = f"post-{count + 1}"
            self._db.execute(
                "INSERT INTO posts (id, revision, author) VALUES (?, 0, ?)", (post_id, author)
            )
            self._revise(post_id, images)
        return post_id

    def edit(self, post_id: str, images: Sequence[bytes | str]) -> None:
        """Put other images into a post."""
        with self._writing():
            self._revise(post_id, images)

    def delete(self, post_id: str) -> None:
        """Take a post away, with all that was done to it."""
        self._db.execute("UPDATE posts SET is_deleted = 1 WHERE id = ?", (post_id,))

    def human_acts(self, post_id: str) -> None:
        """Let a person decide on the post: what is in force now is to stay."""
        self._db.execute(
            "UPDATE posts SET human_after = (SELECT coalesce(max(id), 0) FROM marks) WHERE id = ?",
            (post_id,),
        )

    def actions(self, post_id: str) -> list[ActionKind]:
        """Return the actions in force on a post, in order; one that was doubled is there twice."""
        return [ActionKind(mark.kind) for mark in self.marks(post_id) if not mark.is_undone]

    def marks(self, post_id: str | None = None) -> list[Mark]:
        """Return every action that was ever taken on a post, or on any."""
        rows = self._db.execute(
            "SELECT id, post_id, kind, key, is_undone FROM marks"
            " WHERE post_id = coalesce(?, post_id) ORDER BY id",
            (post_id,),
        )
        return [Mark(*row) for row in rows]

    def notices(self, post_id: str) -> list[str]:
        """Return what the author of a post was told."""
        rows = self._db.execute("SELECT text FROM notices WHERE post_id = ?", (post_id,))
        return [text for (text,) in rows]

    def rate_limit(self, seconds: float) -> None:
        """Refuse everything for so long."""
        self._fault("limited_until", time.monotonic() + seconds)

    def forbid(self) -> None:
        """Let the bot do nothing to posts any more."""
        self._fault("forbidden", 1)

    def allow(self) -> None:
        """End what `forbid` began."""
        self._fault("forbidden", 0)

    def lose_answer(self, times: int = 1) -> None:
        """Do the next actions that are asked for, and tell the bot nothing."""
        self._fault("answers_to_lose", times)

    # From here on: what the adapter may ask, as a platform's library would.

    def changed_after(self, cursor: int) -> list[tuple[int, str, int, str]]:
        """Return (cursor, post id, revision, author) of what was posted or edited since."""
        rows = self._db.execute(
            "SELECT cursor, posts.id, changes.revision, author FROM changes"
            " JOIN posts ON posts.id = post_id WHERE cursor > ? ORDER BY cursor LIMIT 100",
            (cursor,),
        )
        return list(rows)

    def images(self, post_id: str, *, revision: int) -> list[bytes | str]:
        """Return the images of a post as they were then."""
        rows = self._db.execute(
            "SELECT image FROM images WHERE post_id = ? AND revision = ? ORDER BY rowid",
            (post_id, revision),
        )
        return [image for (image,) in rows]

    def is_there(self, post_id: str) -> bool:
        """Tell if the post exists and is not deleted."""
        row = self._db.execute("SELECT is_deleted FROM posts WHERE id = ?", (post_id,)).fetchone()
        return row is not None and not row[0]

    def is_limited(self) -> float:
        """Return for how many seconds nothing is answered."""
        return max(self._value("limited_until") - time.monotonic(), 0.0)

    def is_forbidden(self) -> bool:
        """Tell if the bot may do nothing to posts."""
        return bool(self._value("forbidden"))

    def act(self, post_id: str, kind: ActionKind, key: str) -> None:
        """Take an action, whatever was done before."""
        self._db.execute(
            "INSERT INTO marks (post_id, kind, key) VALUES (?, ?, ?)", (post_id, kind, key)
        )

    def take_back(self, mark: Mark) -> bool:
        """Take an action back, unless a person has decided on the post since."""
        done = self._db.execute(
            "UPDATE marks SET is_undone = 1 WHERE id = ?"
            " AND id > (SELECT human_after FROM posts WHERE id = post_id)",
            (mark.id,),
        )
        return done.rowcount == 1

    def tell(self, post_id: str, text: str) -> None:
        """Tell the author something."""
        self._db.execute("INSERT INTO notices VALUES (?, ?)", (post_id, text))

    def is_answer_lost(self) -> bool:
        """Tell if the answer to this action does not arrive."""
        done = self._db.execute(
            "UPDATE faults SET value = value - 1 WHERE name = 'answers_to_lose' AND value > 0"
        )
        return done.rowcount == 1

    def _revise(self, post_id: str, images: Sequence[bytes | str]) -> None:
        self._db.execute("UPDATE posts SET revision = revision + 1 WHERE id = ?", (post_id,))
        (revision,) = self._row("SELECT revision FROM posts WHERE id = ?", post_id)
        rows = [(post_id, revision, image) for image in images]
        self._db.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
        self._db.execute(
            "INSERT INTO changes (post_id, revision) VALUES (?, ?)", (post_id, revision)
        )

    def _fault(self, name: str, value: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO faults VALUES (?, ?)", (name, value))

    def _value(self, name: str) -> float:
        row = self._db.execute("SELECT value FROM faults WHERE name = ?", (name,)).fetchone()
        return float(row[0]) if row else 0.0

    def _row(self, statement: str, *values: object) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._db.execute(statement, values).fetchone()
        return row

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


class FakePlatform:
    """A Platform over a FakePlace. Begins, without a cursor, with the first post there is."""

    def __init__(
        self, place: FakePlace, *, capabilities: frozenset[Capability] = frozenset(Capability)
    ) -> None:
        self.place = place
        self._capabilities = capabilities

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What was given; everything, if nothing was."""
        return self._capabilities

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield what was posted or edited after the cursor, then wait for more."""
        cursor = int(after or 0)
        while True:
            changes = self.place.changed_after(cursor) if not self.place.is_limited() else []
            for cursor, post_id, revision, author in changes:
                yield Item(id=post_id, revision=str(revision), cursor=str(cursor), author=author)
            if not changes:
                await asyncio.sleep(POLL_SECONDS)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images as they were in this revision."""
        self._reach(item.id)
        images = self.place.images(item.id, revision=int(item.revision))
        return [_media(f"{item.id}/{index}", image) for index, image in enumerate(images)]

    async def exempt(self, item: Item) -> bool:
        """Spare the moderator."""
        return item.author == MODERATOR

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Act, unless the key is there already."""
        self._reach(item.id, is_action=True)
        if self._find(item.id, action.key) is None:
            self.place.act(item.id, action.kind, action.key)
        if self.place.is_answer_lost():
            raise Unsure(f"No answer to {action.kind} of {item.id}.")
        return UndoToken(kind=action.kind, data={"post": item.id, "key": action.key})

    async def undo(self, token: UndoToken) -> UndoResult:
        """Take the action back."""
        post_id = token.data["post"]
        try:
            self._reach(post_id, is_action=True)
        except ItemGone:
            return UndoResult.GONE
        mark = self._find(post_id, token.data["key"])
        if mark is None or mark.is_undone or self.place.take_back(mark):
            return UndoResult.UNDONE
        return UndoResult.KEPT_FOR_HUMAN

    async def notify(self, item: Item, notice: Notice) -> None:
        """Tell the author."""
        self._reach(item.id, is_action=True)
        parts = (notice.subject, notice.text, notice.appeal_url)
        self.place.tell(item.id, "\n".join(part for part in parts if part))

    def _reach(self, post_id: str, *, is_action: bool = False) -> None:
        """Raise what the platform answers instead of doing what is asked."""
        if (seconds := self.place.is_limited()) > 0:
            raise RateLimited(f"Wait {seconds:.1f} s.", retry_after=seconds)
        if is_action and self.place.is_forbidden():
            raise PermissionLost("The bot is no moderator here any more.")
        if not self.place.is_there(post_id):
            raise ItemGone(f"{post_id} was deleted.")

    def _find(self, post_id: str, key: str) -> Mark | None:
        return next((mark for mark in self.place.marks(post_id) if mark.key == key), None)


@asynccontextmanager
async def opened(place: FakePlace) -> AsyncIterator[FakePlatform]:
    """Yield a fresh FakePlatform at the place, as a Plugin's `open` would."""
    yield FakePlatform(place)


def _media(media_id: str, image: bytes | str) -> Media:
    if isinstance(image, str):
        return Media(media_id, url=image)

    async def load() -> bytes:
        return image

    return Media(media_id, load=load)
