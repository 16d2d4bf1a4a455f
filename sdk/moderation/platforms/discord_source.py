"""The source of a Discord server's messages: history since a cursor, then the gateway.

    history since cursor --> sorted --+
                                      +--> Source.items --> Item
    gateway: new, edited messages ----+
       a session that is not whole --> history again

The cursor is a snowflake: milliseconds since 2015, shifted by 22 bits, as in every id of
Discord. Also says what an error of discord.py means. Acts on nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
import discord

from sdk.moderation.platform import (
    Item,
    ItemGone,
    Media,
    PermissionLost,
    PlatformError,
    RateLimited,
    Unsure,
)

from .discord_records import attachments

EDITS_LOOKED_BACK = timedelta(days=1)
LONGEST_WAIT_SECONDS = 30.0
"""The library sits out rate limits up to this, the least it can be told; longer ones we raise."""
SERVER_SECONDS = 60.0
"""How long Discord may take to tell of a server; after that it has it down."""
BANNED_SECONDS = 600.0
"""How long to stay away when not Discord itself but the network before it refuses us."""
PERMISSIONS = (
    "Check PINCLIP_DISCORD_TOKEN, the Message Content intent on the portal's Bot page, and the "
    "bot's permissions in that channel: docs/guides/discord.md lists them."
)
INTENTS = discord.Intents(guilds=True, guild_messages=True, message_content=True)
Readable = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread


class Gateway(discord.Client):
    """The library's client; hands messages on, and None where a session began that is not whole."""

    def __init__(self) -> None:
        super().__init__(
            intents=INTENTS,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_WAIT_SECONDS,
            allowed_mentions=discord.AllowedMentions.none(),
        )
        self.events: asyncio.Queue[discord.Message | Exception | None] = asyncio.Queue()
        self._has_server = asyncio.Event()
        self.failure: Exception | None = None  # what ended the connection for good
        self._is_first = True

    async def on_connect(self) -> None:
        """A new session, not a resumed one: what happened between the two is in history only."""
        if not self._is_first:
            self.events.put_nowait(None)
        self._is_first = False

    async def on_socket_event_type(self, event_type: str) -> None:
        """The roles of a server are known; `on_ready` would come seconds later."""
        if event_type == "GUILD_CREATE":
            self._has_server.set()

    async def on_message(self, message: discord.Message) -> None:
        """A message was posted."""
        self.events.put_nowait(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A message was edited, or Discord has found the picture behind its link."""
        self.events.put_nowait(payload.message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected; a server is known inside. Raises what ended the connection early."""
        task = asyncio.create_task(self.connect())
        task.add_done_callback(self._ended)
        known = asyncio.create_task(self._has_server.wait())
        try:
            await asyncio.wait(
                (task, known), return_when=asyncio.FIRST_COMPLETED, timeout=SERVER_SECONDS
            )
            if task.done():
                await task
            yield
        finally:
            known.cancel()
            await self.close()
            task.cancel()  # it may be sleeping before another try
            await asyncio.wait((task,))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.failure = error
            self.events.put_nowait(error)


class Source:
    """What is posted and edited in the watched channels of the mod channel's server."""

    def __init__(
        self, client: Gateway, *, mod: discord.TextChannel, channels: tuple[int, ...]
    ) -> None:
        self._client = client
        self._mod = mod
        self._channels = channels
        self._cursor = 0

    async def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield what history holds after the cursor, then what the gateway tells."""
        self._cursor = int(after or 0)
        event: discord.Message | Exception | None = self._client.failure
        given: set[tuple[str, str]] = set()  # what came by the gateway while history was read
        while True:
            if isinstance(event, Exception):
                with translated():
                    raise event
            for message in [event] if event else await self._history():
                item = self._item(message)
                if item and (item.id, item.revision) not in given:
                    yield item
                if item and not event:
                    given.add((item.id, item.revision))
            event = await self._client.events.get()

    async def _history(self) -> list[discord.Message]:
        """Return what happened after the cursor, oldest first; without a cursor set it to now."""
        with translated():
            guild = await self._client.fetch_guild(self._mod.guild.id)
            every = [*await guild.fetch_channels(), *await guild.active_threads()]
            channels = [channel for channel in every if isinstance(channel, Readable)]
            if not self._cursor:
                self._cursor = max([channel.last_message_id or 0 for channel in channels] or [0])
                return []
            found = [message for channel in channels async for message in self._since(channel)]
        return sorted(found, key=_happened)

    async def _since(self, channel: Readable) -> AsyncIterator[discord.Message]:
        start = discord.utils.snowflake_time(self._cursor) - EDITS_LOOKED_BACK
        if not self._watches(channel):
            return
        try:
            async for message in channel.history(limit=None, after=start):
                if _happened(message) > self._cursor:
                    yield message
        except discord.Forbidden:  # one channel that is closed to the bot hides no other
            return

    def _watches(self, channel: Any) -> bool:
        ids = {channel.id, getattr(channel, "parent_id", None)}
        wanted = self._channels
        return self._mod.id not in ids and (not wanted or not ids.isdisjoint(wanted))

    def _item(self, message: discord.Message) -> Item | None:
        """Return the message as an item if it is watched, not the bot's own and has pictures."""
        is_ours = message.guild is not None and message.guild.id == self._mod.guild.id
        shown = pictures(message)
        if not (is_ours and shown and self._watches(message.channel)):
            return None
        if message.author == self._client.user:
            return None
        self._cursor = max(self._cursor, _happened(message))
        names = hashlib.sha256("\n".join(picture.id for picture in shown).encode()).hexdigest()
        return Item(
            id=str(message.id),
            # A link's picture comes by an update of its own, that changes no edit time.
            revision=f"{(message.edited_at or message.created_at).isoformat()} {names[:12]}",
            cursor=str(self._cursor),
            url=message.jump_url,
            author=message.author.name,
            extra={
                "channel": str(message.channel.id),
                "author": str(message.author.id),
                "bot": "yes" if message.author.bot else "no",
            },
        )


def pictures(message: discord.Message) -> list[Media]:
    """Return the pictures: files by the bot's login, since their addresses expire; embeds by URL.

    The URL of an embed is that of Discord's own copy, which is what people see.
    """
    found = [
        Media(id=str(file.id), load=partial(_read, file))
        for file in attachments(message)
        if (file.content_type or mimetypes.guess_type(file.filename)[0] or "").startswith("image/")
    ]
    embeds = [*message.embeds]
    for forwarded in message.message_snapshots:
        embeds += forwarded.embeds
    shown = [picture for embed in embeds for picture in (embed.image, embed.thumbnail)]
    urls = dict.fromkeys(picture.proxy_url or picture.url for picture in shown)
    return found + [Media(id=url, url=url) for url in urls if url]


async def _read(file: discord.Attachment) -> bytes:
    with translated():
        return await file.read()


def _happened(message: discord.Message) -> int:
    """Return when a message was posted or last edited, as a snowflake."""
    edited = message.edited_at
    return max(message.id, discord.utils.time_snowflake(edited)) if edited else message.id


@contextmanager
def translated(*, is_write: bool = False) -> Iterator[None]:
    """Raise what the library raises as the PlatformError that it means."""
    try:
        yield
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        raise _meaning(error, is_write=is_write) from error


def _meaning(error: Exception, *, is_write: bool) -> PlatformError:
    match error:
        case discord.RateLimited():
            return RateLimited("Discord asks for patience.", retry_after=error.retry_after)
        case discord.NotFound():
            return ItemGone(f"Discord says: {error.text or 'not found'}.")
        case discord.Forbidden() | discord.LoginFailure() | discord.PrivilegedIntentsRequired():
            return PermissionLost(f"Discord refuses: {error}.", hint=PERMISSIONS)
        case discord.ConnectionClosed(code=4004):
            return PermissionLost("Discord no longer takes the bot's token.", hint=PERMISSIONS)
        case discord.HTTPException(status=429):  # by the network in front of Discord
            return RateLimited("Discord refuses this address for now.", retry_after=BANNED_SECONDS)
        case discord.HTTPException(status=status) if status < 500:
            return PlatformError(f"Discord refuses the request: {error}.")
        case discord.DiscordException() if not isinstance(error, discord.HTTPException):
            return PlatformError(f"The connection to Discord ended: {error}.")
    kind = Unsure if is_write else PlatformError
    return kind(f"Discord gave no usable answer: {type(error).__name__}: {error}.")
