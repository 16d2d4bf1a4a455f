"""Stage: what the conformance suite of .testing needs of a platform, and what it reports.

    Stage   the platform without the adapter: post, edit, delete; faults; what is in force
    Case    what is tried, and what must be so for it to pass
    Report  an Outcome a case; ConformanceError where one failed

Types, and the pictures that are posted; the cases are in .conformance.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol

from .platform import ActionKind, Platform


class Case(StrEnum):
    """What is tried. Below each: what must be so for it to pass."""

    CAPABILITIES = "capabilities"
    """The platform can do something, and what it removes it can restore."""
    ITEMS = "items"
    """Posts are yielded, oldest first, under the ids that the platform has, with a cursor."""
    GALLERY = "gallery"
    """Every image of a post is returned, each under an id of its own."""
    EDIT = "edit"
    """An edited post is yielded again, with another revision and its new images."""
    EXEMPT = "exempt"
    """Only posts that the platform's own rules spare are exempt."""
    APPLY = "apply"
    """Each action that the platform can do is in force after it."""
    UNDO = "undo"
    """Each action is not in force after its undo; a second undo says UNDONE as well."""
    DUPLICATE = "duplicate"
    """The same key twice is one action."""
    RESTART = "restart"
    """A fresh Platform undoes a token of the one before, and doubles nothing."""
    RESUME = "resume"
    """What was posted while no bot ran is yielded after the cursor of the last item."""
    DELETED = "deleted"
    """Of a deleted post `apply` raises ItemGone and `undo` returns GONE."""
    RATE_LIMIT = "rate_limit"
    """RateLimited says how long to wait, or the library waits; then the action is done once."""
    PERMISSION = "permission"
    """PermissionLost is raised when the bot may not act, and nothing is done."""
    LOST_ANSWER = "lost_answer"
    """Unsure is raised where no answer came; the same key again leaves one action."""
    HUMAN = "human"
    """What a person decided since stays, and `undo` returns KEPT_FOR_HUMAN."""
    NOTIFY = "notify"
    """A notice arrives once, with its text and the address for an appeal."""


NEVER_SKIPPED = frozenset(
    {Case.CAPABILITIES, Case.ITEMS, Case.APPLY, Case.UNDO, Case.DUPLICATE, Case.RESTART}
)
"""Without these a bot does harm; a Stage that would skip one is refused."""


class State(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    SKIPPED = "skipped"
    FAILED = "failed"


class Outcome(NamedTuple):
    """What came of one case; `text` says why it was skipped, or what the adapter must do."""

    case: Case
    state: State
    text: str = ""


class Report(NamedTuple):
    """What came of all cases, in their order. `str(report)` is a table for people."""

    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{outcome.state:<8} {outcome.case:<13} {outcome.text}".rstrip()
            for outcome in self.outcomes
        )

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The cases that failed."""
        return tuple(one for one in self.outcomes if one.state is State.FAILED)


class ConformanceError(AssertionError):
    """The adapter does not keep the contract; `report` has every case."""

    def __init__(self, report: Report) -> None:
        failures = "\n".join(f"  {one.case}: {one.text}" for one in report.failed)
        super().__init__(f"{len(report.failed)} of {len(report.outcomes)} cases fail:\n{failures}")
        self.report = report


class Stage(Protocol):
    """The platform as it is without the adapter: where the suite posts, and looks what is so.

    Ids are those of Item.id. Everything here acts on the fake (or the real thing) itself, never
    through the adapter. Of a case that is in `skips` the methods made for it are not called.
    """

    @property
    def skips(self) -> Mapping[Case, str]:
        """The cases that this platform cannot have, each with the reason."""

    @property
    def irrevocable(self) -> frozenset[ActionKind]:
        """Kinds that the platform has no way back from, where a person decides: at most REPORT.

        Their `undo` returns KEPT_FOR_HUMAN.
        """

    def open(self) -> AbstractAsyncContextManager[Platform]:
        """Open a fresh Platform at this place, as after a restart of the bot."""

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        """Post a gallery and return its id; `is_exempt`: by someone whom the rules spare."""

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        """Put other images into the post."""

    async def delete(self, item_id: str) -> None:
        """Delete the post, as its author would."""

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        """Return what bots have in force on the post now; what was doubled, twice."""

    async def notices(self, item_id: str) -> Sequence[str]:
        """Return what was told about the post so far."""

    async def rate_limit(self, seconds: float) -> None:
        """Refuse what the adapter asks for so long, as the platform does it."""

    async def forbid(self) -> None:
        """Take the bot's permission to act, until `allow`."""

    async def allow(self) -> None:
        """Give it back."""

    async def lose_answer(self) -> None:
        """Do the next action that is asked for, and cut the connection before the answer."""

    async def human_acts(self, item_id: str) -> None:
        """Let a moderator decide on the post after the bot, as on the real platform."""


def picture(shade: int = 128, *, mark: int = 0) -> bytes:
    """Return a grey PNG of 64 x 64 pixels; `shade` and `mark` 0 to 255, `mark` is one pixel."""
    rows = bytearray((b"\0" + bytes([shade]) * 64) * 64)
    rows[1] = mark
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
