"""Platform: the one seam between the bot and a place where people post images.

    items(after) --> Item --media--> Media, Media...  --client.check_many--> scans
                      |                                                       |
                    exempt?                                    Policy.decide  v
                      |                                                  Decision
                      v                                                       |
    undo(token) <-- UndoToken <-- apply(item, action) <-- journal.intend <----+
                                  notify(item, notice)

An adapter knows its platform's library and nothing else: no scan, no policy, no journal, no
retry, no schedule. `sdk.moderation.testing.check_platform` is its conformance suite. Everything
here is plain data that survives a journal: strings, and structs of strings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct, field

from sdk.errors import PinclipError
from sdk.wire import Event


class Capability(StrEnum):
    """What a platform can do at all. `remove` needs `restore` beside it."""

    LABEL = "label"
    REPORT = "report"
    QUARANTINE = "quarantine"
    REMOVE = "remove"
    RESTORE = "restore"
    NOTIFY = "notify"


class ActionKind(StrEnum):
    """What can be done to an item, mildest first."""

    REPORT = "report"
    LABEL = "label"
    QUARANTINE = "quarantine"
    REMOVE = "remove"

    @property
    def severity(self) -> int:
        """Place in the order above, from 0."""
        return list(ActionKind).index(self)


class UndoResult(StrEnum):
    """What became of an action that was to be undone."""

    UNDONE = "undone"
    """It is undone now, or was already."""
    GONE = "gone"
    """The item is not there any more: there is nothing to undo."""
    KEPT_FOR_HUMAN = "kept_for_human"
    """A person has acted on the item since; what they did stands."""


class Item(Struct, frozen=True, kw_only=True):
    """One piece of content, as it was created or as it was after an edit.

    `id` names it on its platform; `revision` changes with every edit (a timestamp, an etag).
    `cursor` is what `items(after=...)` takes to go on behind it. `extra` holds what the adapter
    needs to act on it later, such as a channel's id.
    """

    id: str
    revision: str = ""
    cursor: str = ""
    url: str | None = None
    """Where people can look at it."""
    author: str | None = None
    extra: dict[str, str] = field(default_factory=dict)


class Media(NamedTuple):
    """One image of an item: what the server is asked to check.

    `load`, if given, returns the bytes as the adapter can read them with its own login; it is
    awaited when the server may not fetch the URL (`fetch_forbidden`), or when there is none.
    """

    id: str
    url: str | None = None
    load: Callable[[], Awaitable[bytes]] | None = None


class Action(Struct, frozen=True, kw_only=True):
    """What is to be done to an item because of one image of it.

    `key` is the same for the same item, image and kind, today and after a restart: an adapter
    writes it where it can find it again, so that a second `apply` finds the first.
    """

    kind: ActionKind
    key: str
    sha256: str
    scan_id: str
    text: str
    """Why, in a sentence for people: verdict, false-alarm rate, where to appeal."""


class UndoToken(Struct, frozen=True, kw_only=True):
    """All that `undo` needs, whatever happened since, in strings: it is kept in the journal."""

    kind: ActionKind
    data: dict[str, str] = field(default_factory=dict)


class Notice(Struct, frozen=True, kw_only=True):
    """What the author or the moderators are told: what was done or undone, why, how to object."""

    subject: str
    text: str
    appeal_url: str | None = None
    is_undo: bool = False


class PlatformError(PinclipError):
    """The platform did not do what it was asked. Raise one of the classes below where it fits."""

    code = "platform_failed"


class ItemGone(PlatformError):
    """The item was deleted: there is nothing left to look at or act on."""

    code = "item_gone"


class RateLimited(PlatformError):
    """The platform asks for patience, after all that its library waits by itself."""

    code = "platform_rate_limited"

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds to leave the platform alone."""


class PermissionLost(PlatformError):
    """The bot may not do this (any more): the runner stops acting and says so."""

    code = "permission_lost"


class Unsure(PlatformError):
    """The request was sent and no answer came: the action may have been taken or not.

    The runner applies it again with the same key, and `apply` finds what was done.
    """

    code = "platform_unsure"


class Platform(Protocol):
    """A place where people post images. Called from one event loop, an item at a time.

    Every method may raise PlatformError; anything else that gets out is taken for a fault of the
    adapter and ends the item, not the run. Out of `apply` it is taken for Unsure: it is asked for
    again.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this platform, with these credentials, can do."""

    def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield items created or edited after the cursor, oldest first, then wait for more.

        None: from now on, or from where the platform's own queue begins. Whatever was not
        handled when a bot died is yielded again. Ends only where there can be no more.
        """

    async def media(self, item: Item) -> Sequence[Media]:
        """Return every image of the item, a gallery whole; raises ItemGone."""

    async def exempt(self, item: Item) -> bool:
        """Tell if the platform's own rules spare the item, as for its moderators and bots."""

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Do it once, however often it is asked with the same key; raises ItemGone, Unsure."""

    async def undo(self, token: UndoToken) -> UndoResult:
        """Put things back as they were, unless a person has acted since."""

    async def notify(self, item: Item, notice: Notice) -> None:
        """Tell the author, or the moderators where the platform has no way to the author."""


@runtime_checkable
class Relay(Protocol):
    """What a platform may be besides: where the pinclip server delivers its own events.

    The runner then hears of an overturned verdict at once, and not when it next asks.
    """

    def events(self) -> AsyncIterator[Event]:
        """Yield the server's events, verified, then wait for more; one may come twice."""


class Plugin(NamedTuple):
    """What the entry-point group `pinclip.platforms` holds: how to open a platform.

    `settings` is a struct for sdk.environment.load, each field with a sentence below it; `open`
    takes one and connects, for as long as the context lasts.
    """

    settings: type[Struct]
    open: Callable[[Any], AbstractAsyncContextManager[Platform]]
