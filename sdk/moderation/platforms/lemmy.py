"""Lemmy: watches posts of one server or community; reports, removes and restores them.

    newest posts, again and again --> posts with images, new or edited
    apply(report)  -->  the report in the moderators' queue; Lemmy takes one a post and account
    apply(remove)  -->  the post removed as by a moderator, the key in the log of moderation
    undo           -->  report resolved, post restored, unless a person acted after the bot
    notify         -->  a private message to the author

Removed is hidden, and can be restored. Nothing is ever purged: that deletes the image for every
post that shows it (LemmyNet/lemmy#5565). Nor is there a label: a moderator cannot mark a post of
another. Uploads can be refused before there is a post by the server's door for pict-rs; what is
posted by link, or was accepted for want of a verdict, is met here.

.lemmy_calls makes the calls. Needs Lemmy 0.19.6 or a later 0.19, with its API version 3.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any

import anyio
from msgspec import Meta, Struct
from pythorhead import Lemmy
from pythorhead.types import ListingType, ModlogActionType, SortType

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

from .lemmy_calls import Calls

PAGE = 50
"""Posts in a page, the most that Lemmy gives."""
PAGES_LOOKED_AT_AGAIN = 2
"""The newest pages are read at each look, so that edits of their posts are seen."""
ANY_TIME = "~"
"""Later than every time: `_newest` need not go further back."""
_IMAGE_NAME = re.compile(r"\.(?:avif|bmp|gif|heic|jpe?g|png|tiff?|webp)$", re.IGNORECASE)
_IMAGE_IN_TEXT = re.compile(r"!\[[^\]]*\]\(\s*<?(https?://[^\s)>]+)")


class LemmySettings(Struct, frozen=True, kw_only=True):
    """Which server or community, and as whom."""

    lemmy_url: Annotated[str, Meta(pattern="^https?://.*[^/]$")]
    """Address of the Lemmy server, without a slash at its end, such as https://lemmy.example."""
    lemmy_user: str
    """Name of the bot's account, which moderates the community or the whole server."""
    lemmy_password: Secret
    """Password of the bot's account."""
    lemmy_community: str = ""
    """Name of the one community to watch; empty watches all communities of the server."""
    lemmy_poll_seconds: Annotated[float, Meta(gt=0)] = 15.0
    """Seconds between two looks at the newest posts."""


class LemmyPlatform:
    """One Lemmy server or community, seen with the rights of the bot's account, `person`."""

    capabilities = frozenset(
        {Capability.REPORT, Capability.REMOVE, Capability.RESTORE, Capability.NOTIFY}
    )

    def __init__(self, calls: Calls, lemmy: Lemmy, *, person: int, settings: LemmySettings) -> None:
        self._calls = calls
        self._lemmy = lemmy
        self._person = person
        self._settings = settings
        self._began: str | None = None  # what `items(None)` begins with, however often it fails

    def __repr__(self) -> str:
        return f"LemmyPlatform({self._settings.lemmy_url}/c/{self._settings.lemmy_community})"

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield posts with images by the time of their last change, as `cursor` has it."""
        if after is None and self._began is None:
            self._began = max(map(_changed_at, await self._newest(ANY_TIME)), default="")
        since = after or self._began or ""
        while True:
            for view in sorted(await self._newest(since), key=_changed_at):
                if _changed_at(view) > since:
                    since = _changed_at(view)
                    if _is_shown(view) and any(_images(view["post"])):
                        yield self._item(view)
            await anyio.sleep(self._settings.lemmy_poll_seconds)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the image that the post links to and those in its text."""
        view = await self._post(int(item.id))
        return [Media(id=url, url=url) for url in dict.fromkeys(_images(view["post"]))]

    async def exempt(self, item: Item) -> bool:
        """Spare administrators, moderators of the community, and the bot itself."""
        return "is_team" in item.extra

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Report or remove the post, unless that is done already."""
        post, community = int(item.id), int(item.extra["community"])
        view = await self._post(post)
        reason = f"{action.text} [{action.key}]"
        data = {"post": item.id, "community": item.extra["community"]}
        if action.kind is ActionKind.REPORT:
            await self._report(post, community=community, reason=reason)
        elif not view["post"]["removed"]:
            remove = self._lemmy.post.remove
            await self._calls(remove, post, removed=True, reason=reason, is_write=True)
        return UndoToken(kind=action.kind, data=data)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Resolve the report or restore the post, unless a person acted after the bot."""
        post, community = int(token.data["post"]), int(token.data["community"])
        try:
            await self._post(post)
        except ItemGone:
            return UndoResult.GONE
        if token.kind is ActionKind.REPORT:
            return await self._resolve(post, community=community)
        return await self._restore(post, community=community)

    async def notify(self, item: Item, notice: Notice) -> None:
        """Write to the author."""
        text = "\n\n".join(filter(None, (notice.subject, notice.text, notice.appeal_url)))
        write = self._lemmy.private_message.create
        await self._calls(write, text, recipient_id=int(item.extra["person"]), is_write=True)

    async def _newest(self, since: str) -> list[Any]:
        """Return views of posts, newest first, back to `since` and those looked at again."""
        name, views = self._settings.lemmy_community, list[Any]()
        where = {"community_name": name} if name else {"type_": ListingType.Local}
        for number in count(1):
            page = await self._calls(
                self._lemmy.post.list, sort=SortType.New, limit=PAGE, page=number, **where
            )
            views.extend(page)
            if not page:
                break
            # Pinned posts come first on every list: the last one tells how far back it goes.
            if number >= PAGES_LOOKED_AT_AGAIN and _when(page[-1]["post"]["published"]) <= since:
                break
        return views

    async def _post(self, post: int) -> Any:
        answer = await self._calls(self._lemmy.post.get, post)
        view = answer["post_view"]
        if view["post"]["deleted"]:
            raise ItemGone(f"Post {post} was deleted by its author.")
        return view

    async def _report(self, post: int, *, community: int, reason: str) -> None:
        """Report once. Lemmy keeps the first words if a report of ours is opened again."""
        me = self._person
        report = await self._calls.report_of(self._lemmy, post, community=community, by=me)
        if report is None:
            await self._calls(self._lemmy.post.report, post, reason, is_write=True)
        elif report["resolved"] and report["resolver_id"] == me:
            await self._calls.open_again(self._lemmy, report["id"])

    async def _resolve(self, post: int, *, community: int) -> UndoResult:
        me = self._person
        report = await self._calls.report_of(self._lemmy, post, community=community, by=me)
        if report is None:
            return UndoResult.UNDONE
        if not report["resolved"]:
            resolve = self._lemmy.post.resolve_report
            await self._calls(resolve, report["id"], is_write=True)
            return UndoResult.UNDONE
        return UndoResult.UNDONE if report["resolver_id"] == me else UndoResult.KEPT_FOR_HUMAN

    async def _restore(self, post: int, *, community: int) -> UndoResult:
        log = await self._calls(
            self._lemmy.modlog.get,
            community_id=community,
            post_id=post,
            type_=ModlogActionType.ModRemovePost.value,
            limit=PAGE,
        )
        entries = [entry["mod_remove_post"] for entry in log["removed_posts"]]
        last = next((entry for entry in entries if entry["post_id"] == post), None)
        if last is None or last["mod_person_id"] != self._person:
            return UndoResult.KEPT_FOR_HUMAN
        if last["removed"]:
            restore = self._lemmy.post.remove
            await self._calls(restore, post, removed=False, reason="Taken back.", is_write=True)
        return UndoResult.UNDONE

    def _item(self, view: Mapping[str, Any]) -> Item:
        post, creator = view["post"], view["creator"]
        extra = {"community": str(post["community_id"]), "person": str(creator["id"])}
        is_bot = creator["id"] == self._person
        if is_bot or view["creator_is_moderator"] or view["creator_is_admin"]:
            extra["is_team"] = "yes"
        return Item(
            id=str(post["id"]),
            revision=_changed_at(view),
            cursor=_changed_at(view),
            url=post["ap_id"],
            author=creator["actor_id"],
            extra=extra,
        )


@asynccontextmanager
async def open_lemmy(settings: LemmySettings) -> AsyncIterator[LemmyPlatform]:
    """Log in; raises PermissionLost if the server does not know the password."""
    calls = Calls()
    lemmy = await calls.log_in(
        settings.lemmy_url, user=settings.lemmy_user, password=settings.lemmy_password
    )
    site = await calls(lemmy.site.get)
    person = site["my_user"]["local_user_view"]["person"]["id"]
    yield LemmyPlatform(calls, lemmy, person=person, settings=settings)


PLUGIN = Plugin(settings=LemmySettings, open=open_lemmy)


def _is_shown(view: Mapping[str, Any]) -> bool:
    return not view["post"]["removed"] and not view["post"]["deleted"]


def _changed_at(view: Mapping[str, Any]) -> str:
    return _when(view["post"].get("updated") or view["post"]["published"])


def _when(moment: str) -> str:
    """Return a time of Lemmy's so that letters sort as times do: it leaves out zeros."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="microseconds")


def _images(post: Mapping[str, Any]) -> Iterator[str]:
    """Yield the address of each image of a post; previews of links are none of its."""
    url = post.get("url") or ""
    kind = post.get("url_content_type") or ""
    path = url.split("?", 1)[0]
    if kind.startswith("image/") or "/pictrs/image/" in path or _IMAGE_NAME.search(path):
        yield url
    yield from _IMAGE_IN_TEXT.findall(post.get("body") or "")
