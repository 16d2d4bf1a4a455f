"""Bluesky: watches a list or a feed, and labels and reports through a labeler run with Ozone.

    getListFeed / getFeed, newest pages, again and again --> posts with images, once each
    apply(label)   -->  modEventLabel on the post          }  external id = Action.key, which
    apply(report)  -->  modEventReport in Ozone's queue    }  Ozone takes once for a post
    undo           -->  the label negated, or the report acknowledged, unless a person came after
    notify         -->  a comment on the post in Ozone: a labeler has no way to write to authors

The bot logs in as a moderator of the labeler's team; .ozone is the labeler. A labeler cannot hold
or remove a post, so the adapter does not offer it: what a label does is for each reader to choose.

Posts are taken by the time at which Bluesky saw them, from the top of the list or feed. A post
whose author dated it back stands further down, and is not seen. Posts cannot be edited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import Annotated, Any

import anyio
from atproto import AsyncClient, AsyncRequest, models
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

from .ozone import Labeler, Subject, answer

PAGE = 100
"""Posts in a page, the most that Bluesky gives."""
ANY_TIME = "~"
"""Later than every time: one page is enough."""
TIMEOUT_SECONDS = 30.0


class BlueskySettings(Struct, frozen=True, kw_only=True):
    """Which account, which labeler, and whose posts."""

    bluesky_handle: str
    """Handle of the bot's account, a moderator of the labeler, such as bot.example.com."""
    bluesky_password: Secret
    """App password of that account, never its main one."""
    bluesky_labeler: Annotated[str, Meta(pattern="^did:")]
    """DID of the labeler's account, on which Ozone runs."""
    bluesky_feed: Annotated[str, Meta(pattern="^at://did:.+/app.bsky.(graph.list|feed.generator)/")]
    """at:// address of the list or the feed whose posts are looked at, with a DID in it."""
    bluesky_label: Annotated[str, Meta(pattern="^[a-z-]+$")] = "likely-ai"
    """The label to put on posts, as the labeler's own definitions have it."""
    bluesky_url: Annotated[str, Meta(pattern="^https?://")] = "https://bsky.social"
    """Address of the server (PDS) that has the bot's account."""
    bluesky_poll_seconds: Annotated[float, Meta(gt=0)] = 15.0
    """Seconds between two looks at the list or feed."""


class BlueskyPlatform:
    """One list or feed, and one labeler, seen with the rights of the bot's account."""

    capabilities = frozenset({Capability.LABEL, Capability.REPORT, Capability.NOTIFY})

    def __init__(
        self, client: AsyncClient, labeler: Labeler, *, settings: BlueskySettings, team: set[str]
    ) -> None:
        self._client = client
        self._labeler = labeler
        self._settings = settings
        self._team = team
        self._began: str | None = None  # what `items(None)` begins with, however often it fails

    def __repr__(self) -> str:
        return f"BlueskyPlatform({self._settings.bluesky_feed})"

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield posts with images by the time at which Bluesky saw them, as `cursor` has it."""
        if after is None and self._began is None:
            newest = await self._newest(ANY_TIME)
            self._began = max((post.indexed_at for post in newest), default="")
        since = after or self._began or ""
        while True:
            for post in sorted(await self._newest(since), key=lambda post: post.indexed_at):
                if post.indexed_at > since:
                    since = post.indexed_at
                    if any(_images(post.embed)):
                        yield _item(post)
            await anyio.sleep(self._settings.bluesky_poll_seconds)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the images of the post, by the addresses that its readers load."""
        post = await self._post(item.id)
        return [Media(id=url.rsplit("/", 1)[-1], url=url) for url in _images(post.embed)]

    async def exempt(self, item: Item) -> bool:
        """Spare the labeler's team, the bot included."""
        return item.author in self._team

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Label or report the post; Ozone refuses the same key for the same post."""
        await self._post(item.id)
        subject = Subject(uri=item.id, cid=item.revision)
        comment = f"{action.text} [{action.key}]"
        data = {**subject._asdict(), "key": action.key}
        if action.kind is ActionKind.LABEL:
            data["label"] = self._settings.bluesky_label
            await self._labeler.label(subject, data["label"], key=action.key, comment=comment)
        else:
            await self._labeler.report(subject, key=action.key, comment=comment)
        return UndoToken(kind=action.kind, data=data)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Negate the label or acknowledge the report, unless a person's decision stands."""
        subject = Subject(uri=token.data["uri"], cid=token.data["cid"])
        try:
            await self._post(subject.uri)
        except ItemGone:
            return UndoResult.GONE
        label = token.data.get("label")
        return await self._labeler.take_back(subject, label=label, key=token.data["key"])

    async def notify(self, item: Item, notice: Notice) -> None:
        """Comment on the post in Ozone, where the moderators read it; once for the same words."""
        text = "\n\n".join(filter(None, (notice.subject, notice.text, notice.appeal_url)))
        key = sha256(f"{item.id} {text}".encode()).hexdigest()
        subject = Subject(uri=item.id, cid=item.revision)
        await self._labeler.comment(subject, key=key, comment=text)

    async def _newest(self, since: str) -> list[Any]:
        """Return the posts of the list or feed, newest first, back to `since`."""
        posts: list[Any] = []
        cursor = None
        while True:
            page = await answer(self._page(cursor))
            posts.extend(one.post for one in page.feed if one.reason is None)  # no reposts
            cursor = page.cursor
            if not cursor or not any(one.post.indexed_at > since for one in page.feed):
                return posts

    def _page(self, cursor: str | None) -> Awaitable[Any]:
        address, feed = self._settings.bluesky_feed, self._client.app.bsky.feed
        page: Awaitable[Any]
        if "/app.bsky.graph.list/" in address:
            page = feed.get_list_feed({"list": address, "cursor": cursor, "limit": PAGE})
        else:
            page = feed.get_feed({"feed": address, "cursor": cursor, "limit": PAGE})
        return page

    async def _post(self, uri: str) -> Any:
        found = await answer(self._client.app.bsky.feed.get_posts({"uris": [uri]}))
        if not found.posts:
            raise ItemGone(f"{uri} is not there any more.")
        return found.posts[0]


@asynccontextmanager
async def open_bluesky(settings: BlueskySettings) -> AsyncIterator[BlueskyPlatform]:
    """Log in; raises PermissionLost if the password or the team does not let the bot in."""
    name, password = settings.bluesky_handle, settings.bluesky_password
    async with AsyncExitStack() as stack:
        client = AsyncClient(settings.bluesky_url, request=AsyncRequest(timeout=TIMEOUT_SECONDS))
        stack.push_async_callback(client.request.close)
        await answer(client.login(name, password, fetch_bsky_profile=False))
        did = (await answer(client.com.atproto.server.get_session())).did
        labeler = Labeler(client, labeler=settings.bluesky_labeler, did=did)
        stack.push_async_callback(labeler.close)
        team = {did, settings.bluesky_labeler, *await labeler.team()}
        yield BlueskyPlatform(client, labeler, settings=settings, team=team)


PLUGIN = Plugin(settings=BlueskySettings, open=open_bluesky)


def _item(post: Any) -> Item:
    return Item(
        id=post.uri,
        revision=post.cid,
        cursor=post.indexed_at,
        url=f"https://bsky.app/profile/{post.author.did}/post/{post.uri.rsplit('/', 1)[-1]}",
        author=post.author.did,
    )


def _images(embed: Any) -> Iterator[str]:
    """Yield the address of each image of a post's embed; previews of links are none of its."""
    if isinstance(embed, models.AppBskyEmbedRecordWithMedia.View):
        embed = embed.media
    if isinstance(embed, models.AppBskyEmbedImages.View):
        yield from (image.fullsize for image in embed.images)
    if isinstance(embed, models.AppBskyEmbedGallery.View):
        yield from (image.fullsize for image in embed.items)
