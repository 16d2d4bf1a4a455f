"""Mastodon: watches the posts of one server, reports to its moderators, writes to authors.

    local timeline, newest pages, again and again --> posts with images, new or edited
    webhook of its administration --> inbox       --> the same at once; replies and unlisted, too
    apply(report)  -->  a report in the moderators' queue, the key in its comment
    undo           -->  that report resolved, unless a person took it up
    notify         -->  a private mention ("direct") of the author

A report is all it does. Mastodon's API cannot mark or hide one post of another account: the
admin API acts on whole accounts, and "mark as sensitive" and "delete" of one post are buttons
of the web page only (mastodon/mastodon#27675 would have added them, and was closed). Deleting
could not be undone either. The report puts those buttons before a moderator.

.mastodon_calls makes the calls, .mastodon_posts reads posts. The cursor is that of the timeline
alone: where the webhook missed a post, a later one that it told of must not hide it. Posts of other
servers are left out: they reach the timeline out of order, and their own moderators judge them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, suppress
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from sdk.environment import Secret
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    Plugin,
    UndoResult,
    UndoToken,
)

from .mastodon_calls import Calls
from .mastodon_posts import changed_at, item_of, moment, read_status, told_item
from .webhook_inbox import Door, Inbox, Kind, Row
from .webhook_server import listening

PAGE = 40
"""Posts in a page of a timeline, the most that Mastodon gives."""
PAGES_LOOKED_AT_AGAIN = 2
"""The newest pages are read at each look, so that edits of their posts are seen."""
COMMENT_LIMIT = 1000
"""Letters that Mastodon takes for a report's comment."""
POST_LIMIT = 500
"""Letters of a post, where the server has not raised it."""
ANY_TIME = "~"
"""Later than every time: `_newest` need not go further back."""
NO_TIME = "0"
"""Earlier than every time: where a server without posts begins."""
REMEMBERED = 500
"""Items that were yielded last: what comes both ways within a look is yielded once."""
BODY_LIMIT_BYTES = 1024 * 1024
"""Largest body of the webhook that is read: one post, without its images."""
SHORTEST_SECRET = 12
"""Letters of a webhook's secret, which Mastodon asks for."""

_log = logging.getLogger("pinclip.bot.mastodon")


class MastodonSettings(Struct, frozen=True, kw_only=True):
    """Which server, and as whom."""

    mastodon_url: Annotated[str, Meta(pattern="^https?://")]
    """Address of the Mastodon server, such as https://social.example."""
    mastodon_token: Secret
    """Access token of the bot's account, with the scopes that the guide lists."""
    mastodon_poll_seconds: Annotated[float, Meta(gt=0)] = 15.0
    """Seconds between two looks at the timeline."""
    mastodon_webhook_secret: Secret = Secret("")
    """Signing secret of a webhook that posts to /statuses here; empty listens to none."""
    mastodon_webhook_host: str = "127.0.0.1"
    """Address to listen on; keep a proxy with TLS before any other than this machine's."""
    mastodon_webhook_port: Annotated[int, Meta(ge=0, le=65535)] = 8419
    """TCP port to listen on; 0 takes a free one."""
    mastodon_webhook_inbox: Path = Path("pinclip-mastodon-inbox.sqlite3")
    """File that keeps which posts the webhook told of until they are handled."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        if 0 < len(self.mastodon_webhook_secret) < SHORTEST_SECRET:
            yield (
                "PINCLIP_MASTODON_WEBHOOK_SECRET is shorter than any that Mastodon takes: copy the "
                "signing secret that Administration, Webhooks shows."
            )


class MastodonPlatform:
    """One Mastodon server, seen with the rights of the bot's account.

    `address` is where it listens for the webhook, as in http://127.0.0.1:8419; empty: nowhere.
    """

    capabilities = frozenset({Capability.REPORT, Capability.NOTIFY})

    def __init__(
        self, calls: Calls, *, poll_seconds: float, inbox: Inbox | None = None, address: str = ""
    ) -> None:
        self.address = address
        self._inbox = inbox
        self._calls = calls
        self._account_id = ""
        self._began: str | None = None  # what `items(None)` begins with, however often it fails
        self._poll_seconds = poll_seconds

    def __repr__(self) -> str:
        return f"MastodonPlatform({self._calls!r})"

    async def log_in(self) -> None:
        """Learn whose token it is; raises PermissionLost if it is nobody's."""
        account = await self._calls("account_verify_credentials")
        self._account_id = str(account.id)

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield posts with images: those of each look by their last change, and those told of."""
        if after is None and self._began is None:
            self._began = max(map(changed_at, await self._newest(ANY_TIME)), default=NO_TIME)
        since = after or self._began or NO_TIME
        lately: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        while True:
            for status in sorted(await self._newest(since), key=changed_at):
                if changed_at(status) > since:
                    since = changed_at(status)
                    item = item_of(status, cursor=since)
                    if _is_new(item, lately):
                        yield item
            async with aclosing(self._told_until_next_look(since)) as told:
                async for item in told:
                    if _is_new(item, lately):
                        yield item

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images attached to the post, by the public addresses of its server."""
        status = await self._calls("status", item.id)
        return [
            Media(id=str(attached.id), url=attached.url or attached.remote_url)
            for attached in status.media_attachments
            if attached.type == "image"
        ]

    async def exempt(self, item: Item) -> bool:
        """Spare the bot itself and accounts that show a role of the server's team.

        Not every account that calls itself a bot: anyone can tick that box.
        """
        return item.extra["account"] == self._account_id or "roles" in item.extra

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Report the post, unless a report of ours has the key already."""
        await self._calls("status", item.id)
        report = await self._report_with(action.key, item.extra["account"])
        if report is None:
            report = await self._calls(
                "report",
                item.extra["account"],
                status_ids=[item.id],
                comment=_fitting(action.text, limit=COMMENT_LIMIT, end=f" [{action.key}]"),
                category="other",
                is_write=True,
            )
        return UndoToken(kind=ActionKind.REPORT, data={"report": str(report.id), "id": item.id})

    async def undo(self, token: UndoToken) -> UndoResult:
        """Resolve the report, unless a person has been assigned to it or has resolved it."""
        report = await self._calls("admin_report", token.data["report"])
        people = {
            str(person.id)
            for person in (report.assigned_account, report.action_taken_by_account)
            if person
        }
        if people - {self._account_id}:
            return UndoResult.KEPT_FOR_HUMAN
        if not report.action_taken:
            await self._calls("admin_report_resolve", report.id, is_write=True)
        try:
            await self._calls("status", token.data["id"])
        except ItemGone:
            return UndoResult.GONE
        return UndoResult.UNDONE

    async def notify(self, item: Item, notice: Notice) -> None:
        """Mention the author in a post that only they can read; twice within an hour is once."""
        end = f"\n\n{notice.appeal_url}" if notice.appeal_url else ""
        text = f"@{item.author} {notice.subject}\n\n{notice.text}"
        await self._calls(
            "status_post",
            _fitting(text, limit=POST_LIMIT, end=end),
            visibility="direct",
            idempotency_key=sha256(f"{item.id} {text}".encode()).hexdigest(),
            is_write=True,
        )

    async def _told_until_next_look(self, cursor: str) -> AsyncGenerator[Item]:
        """Yield what the webhook tells of; one counts as handled when the next is asked for."""
        if self._inbox is None:
            await asyncio.sleep(self._poll_seconds)
            return
        end = asyncio.get_running_loop().time() + self._poll_seconds
        while (row := await _next_before(end, self._inbox)) is not None:
            yield told_item(row, cursor=cursor)
            await self._inbox.mark_read(row.n)

    async def _newest(self, since: str) -> list[Any]:
        """Return posts, newest first, back to `since` and those that are looked at again."""
        statuses: list[Any] = []
        for number in count(1):
            oldest = statuses[-1].id if statuses else None
            page = await self._calls("timeline_local", only_media=True, limit=PAGE, max_id=oldest)
            statuses.extend(page)
            if not page:  # A short one is not the last: posts may be filtered out of any.
                break
            if number >= PAGES_LOOKED_AT_AGAIN and moment(page[-1].created_at) <= since:
                break
        return statuses

    async def _report_with(self, key: str, account: str) -> Any | None:
        for is_resolved in (False, True):
            reports = await self._calls(
                "admin_reports",
                resolved=is_resolved,
                account_id=self._account_id,
                target_account_id=account,
                limit=100,
            )
            for report in reports:
                if f"[{key}]" in report.comment:
                    return report
        return None


@asynccontextmanager
async def open_mastodon(settings: MastodonSettings) -> AsyncIterator[MastodonPlatform]:
    """Log in with the token; raises PermissionLost if the server does not take it."""
    calls = Calls(settings.mastodon_url, token=settings.mastodon_token)
    with closing(calls):
        async with _hearing(settings) as (inbox, address):
            platform = MastodonPlatform(
                calls, poll_seconds=settings.mastodon_poll_seconds, inbox=inbox, address=address
            )
            await platform.log_in()
            yield platform


PLUGIN = Plugin(settings=MastodonSettings, open=open_mastodon)


@asynccontextmanager
async def _hearing(settings: MastodonSettings) -> AsyncIterator[tuple[Inbox | None, str]]:
    """Listen for the webhook, if its secret is set; yields the inbox, and where it listens."""
    if not settings.mastodon_webhook_secret:
        yield None, ""
        return
    readers = {"/statuses": partial(read_status, secret=settings.mastodon_webhook_secret)}
    with closing(Inbox(settings.mastodon_webhook_inbox)) as inbox:
        async with listening(
            Door(inbox, readers, limit=BODY_LIMIT_BYTES),
            host=settings.mastodon_webhook_host,
            port=settings.mastodon_webhook_port,
            setting="PINCLIP_MASTODON_WEBHOOK_PORT",
        ) as address:
            _log.info("The webhook is heard at %s/statuses.", address)
            yield inbox, address


async def _next_before(end: float, inbox: Inbox) -> Row | None:
    """Return what was told and not handled yet, None if there is nothing until that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            return await inbox.next(Kind.STATUS)
    return None


def _is_new(item: Item, lately: deque[tuple[str, str]]) -> bool:
    """Tell if an item was not yielded lately, and remember it."""
    name = (item.id, item.revision)
    if name in lately:
        return False
    lately.append(name)
    return True


def _fitting(text: str, *, limit: int, end: str) -> str:
    """Return the text and its end, the text cut where both would be over the limit."""
    room = limit - len(end)
    return (text if len(text) <= room else text[: room - 1] + "\N{HORIZONTAL ELLIPSIS}") + end
