"""Reddit: the posts of one community through Async PRAW, with a moderator's account.

    r/NAME/new -----------+
                          +--> items --> media: originals on i.redd.it, galleries whole
    r/NAME/about/edited --+

    report      a report, once by account; no way back, so `undo` leaves it to people
    label       flair; what it was before stands in a mod note, found again by the key
    quarantine  removed by a moderator, which `approve` reverses; remove is the same here
    notify      modmail from the community to the author

`undo` looks who acted last: what another moderator removed, approved or flaired stays. Both
listings are read again and again and what was given is left out, so a post that a filter held
back is seen when it is approved, within the last hundred. Knows nothing of verdicts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from asyncpraw import Reddit
from asyncpraw.exceptions import RedditAPIException
from asyncpraw.models import Submission, Subreddit
from asyncpraw.models.util import BoundedSet
from asyncprawcore.exceptions import NotFound, Redirect

from sdk.moderation.platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Media,
    Notice,
    PermissionLost,
    Platform,
    Plugin,
    UndoResult,
    UndoToken,
)

from .reddit_connection import (
    PERMISSIONS,
    RedditSettings,
    connection,
    limited_seconds,
    translated,
)
from .reddit_flair import reset_flair, set_flair
from .reddit_posts import happened, is_deleted, item_of, media_of

POLL_SECONDS = 10.0
"""Between two looks; each is two requests of the hundred a minute that Reddit allows."""
PAGE = 100
REMEMBERED = 5000
TAKEN_DOWN = frozenset((ActionKind.QUARANTINE, ActionKind.REMOVE))


class RedditPlatform:
    """One community, watched and moderated by one account."""

    capabilities = frozenset(Capability)

    def __init__(
        self, reddit: Reddit, *, subreddit: Subreddit, name: str, flair: str, poll_seconds: float
    ) -> None:
        self._reddit = reddit
        self._subreddit = subreddit
        self._name = name
        self._flair = flair
        self._poll_seconds = poll_seconds

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield new and edited posts with images; the cursor is a time, whole seconds."""
        cursor = int(after) if after else math.inf
        given = BoundedSet(REMEMBERED)
        is_known = True  # what is older than the cursor when the first look is taken
        while True:
            posts = await self._recent(cursor)
            for post in posts:
                item = item_of(post)
                is_old = is_known and happened(post) < cursor
                if item is None or (item.id, item.revision) in given:
                    continue
                given.add((item.id, item.revision))
                if not is_old:
                    cursor = max(cursor, happened(post))
                    yield msgspec.structs.replace(item, cursor=str(cursor))
            if cursor == math.inf:
                cursor = max(map(happened, posts), default=0)
            is_known = False
            await asyncio.sleep(self._poll_seconds)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images of a post by the addresses of their originals, which are public."""
        with translated():
            return media_of(await self._post(item.id))

    async def exempt(self, item: Item) -> bool:
        """Spare moderators, what they have approved, and approved users of a public community.

        Where a community is not public everyone who posts is an approved user.
        """
        with translated():
            if (await self._post(item.id)).approved_by not in (None, self._name):
                return True
            if item.author is None:
                return False
            if await self._subreddit.moderator(redditor=item.author):
                return True
            if self._subreddit.subreddit_type != "public":
                return False
            approved = self._subreddit.contributor(redditor=item.author)
            return any([True async for _ in approved])

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Report, flair or remove a post; each looks first whether it is done."""
        data = {"post": item.id}
        with translated(is_write=True):
            post = await self._post(item.id)
            if action.kind is ActionKind.REPORT and not self._has_reported(post):
                await post.report(action.text[:100])
            elif action.kind is ActionKind.LABEL:
                data |= await set_flair(post, self._flair, key=action.key)
            elif action.kind in TAKEN_DOWN and not self._is_removed(post):
                await post.mod.remove(mod_note=f"{action.kind}: {action.text}"[:100])
        return UndoToken(kind=action.kind, data=data)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Approve, or give the old flair back, if this account acted last."""
        with translated(is_write=True):
            try:
                post = await self._post(token.data["post"])
            except ItemGone:
                return UndoResult.GONE
            if token.kind is ActionKind.LABEL:
                return await reset_flair(post, token.data)
            if token.kind in TAKEN_DOWN:
                return await self._approve(post)
        return UndoResult.KEPT_FOR_HUMAN  # a report cannot be withdrawn

    async def notify(self, item: Item, notice: Notice) -> None:
        """Write to the author from the community; to its moderators if Reddit will not."""
        body = "\n\n".join(filter(None, (notice.text, item.url, notice.appeal_url)))
        mail = {"subject": notice.subject[:100], "body": body, "author_hidden": True}
        with translated(is_write=True):
            try:
                await self._subreddit.modmail.create(**mail, recipient=item.author)
            except RedditAPIException as error:
                if limited_seconds(error) is not None:
                    raise
                await self._subreddit.modmail.create(**mail, recipient=None)

    async def _recent(self, cursor: float) -> list[Submission]:
        """Return new and edited posts, oldest first: a page of each, or as far as the cursor."""
        listings = (
            self._subreddit.new(limit=None),
            self._subreddit.mod.edited(only="submissions", limit=None),
        )
        found: list[Submission] = []
        with translated():
            for listing in listings:
                count = 0
                async for post in listing:
                    found.append(post)
                    count += 1
                    if count >= PAGE and happened(post) < cursor:
                        break
        return sorted(found, key=happened)

    async def _post(self, fullname: str) -> Submission:
        """Return a post as it stands now; raises ItemGone."""
        post = await self._reddit.submission(fullname.removeprefix("t3_"), fetch=False)
        post.comment_limit = 1  # the library reads comments with it
        try:
            await post.load()
        except NotFound:
            raise ItemGone(f"Reddit has no post {fullname} any more.") from None
        if is_deleted(post):
            raise ItemGone(f"The author has deleted the post {fullname}.")
        return post

    def _is_removed(self, post: Submission) -> bool:
        """Tell if a post is removed, and says why if it is by us: those are two requests."""
        return bool(post.banned_by and (post.banned_by != self._name or post.mod_note))

    def _has_reported(self, post: Submission) -> bool:
        reports = [*post.mod_reports, *getattr(post, "mod_reports_dismissed", [])]
        return any(reporter == self._name for _, reporter, *_ in reports)

    async def _approve(self, post: Submission) -> UndoResult:
        if post.banned_by == self._name:
            await post.mod.approve()
        elif post.banned_by or post.approved_by not in (None, self._name):
            return UndoResult.KEPT_FOR_HUMAN
        return UndoResult.UNDONE


@asynccontextmanager
async def open_reddit(settings: RedditSettings) -> AsyncIterator[Platform]:
    """Log in as the moderator; raises PermissionLost if the account is not one."""
    async with opened(connection(settings), settings=settings) as platform:
        yield platform


@asynccontextmanager
async def opened(
    reddit: Reddit, *, settings: RedditSettings, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[RedditPlatform]:
    """Open the platform behind a connection, and close that at the end."""
    async with reddit:
        with translated():
            me = await reddit.user.me()
            subreddit = await _community(reddit, settings.reddit_subreddit)
        if me is None or not subreddit.user_is_moderator:
            raise PermissionLost(
                f"The account {me} does not moderate r/{settings.reddit_subreddit}.",
                hint=PERMISSIONS,
            )
        yield RedditPlatform(
            reddit,
            subreddit=subreddit,
            name=me.name,
            flair=settings.reddit_flair,
            poll_seconds=poll_seconds,
        )


async def _community(reddit: Reddit, name: str) -> Subreddit:
    try:
        return await reddit.subreddit(name, fetch=True)
    except (NotFound, Redirect):  # to a search for it
        raise PermissionLost(
            f"There is no community r/{name}.",
            hint="Set PINCLIP_REDDIT_SUBREDDIT to its name, without r/.",
        ) from None


PLUGIN = Plugin(settings=RedditSettings, open=open_reddit)
