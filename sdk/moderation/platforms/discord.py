"""Discord: one server's messages through discord.py; what the bot did stands in a mod channel.

    gateway: new, edited --+
                           +--> items --> media (attachments, embeds, forwarded messages)
    history since cursor --+

    apply --> a record in the mod channel, found again by the key in its footer
               report      the record is all
               label       and a reaction below the message
               quarantine  and a copy of its files; then the message is deleted (remove: the same)
    undo  --> the record says "Withdrawn"; the reaction goes; a copy is posted again, with credit

Whoever reacts to a record has decided: from then on `undo` leaves that action alone. A message
edited while the bot was away is found again for a day; older ones are not, since Discord lists
no edits. Knows nothing of verdicts: `Action.text` is shown as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import discord
from msgspec import Struct

from sdk.environment import Secret
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    Media,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    Plugin,
    UndoResult,
    UndoToken,
)

from . import discord_records as records
from .discord_source import Gateway, Source, pictures, translated

MARK = "\N{ROBOT FACE}"
TAKEN_DOWN = frozenset((ActionKind.QUARANTINE, ActionKind.REMOVE))


class DiscordSettings(Struct, frozen=True, kw_only=True):
    """What the Discord adapter needs to know."""

    discord_token: Secret
    """The bot's token, from the Bot page of the Discord developer portal."""
    discord_mod_channel: int
    """Id of the channel where the bot reports; its server is the one that is watched."""
    discord_channels: tuple[int, ...] = ()
    """Ids of the channels to watch, their threads included; empty is all the bot can read."""
    discord_exempt_roles: tuple[int, ...] = ()
    """Ids of roles whose members are never acted on, beside those who may manage messages."""


class DiscordPlatform:
    """One Discord server, watched and moderated by one bot."""

    capabilities = frozenset(Capability)

    def __init__(
        self, client: Gateway, *, settings: DiscordSettings, mod: discord.TextChannel
    ) -> None:
        self._client = client
        self._settings = settings
        self._records = records.Records(mod)
        self._guild_id = mod.guild.id
        self._source = Source(client, mod=mod, channels=settings.discord_channels)

    def items(self, after: str | None) -> AsyncIterator[Item]:
        """Yield messages with pictures, new and edited ones."""
        return self._source.items(after)

    async def media(self, item: Item) -> Sequence[Media]:
        """Return the attachments and embedded pictures of a message and of what it forwards."""
        with translated():
            return pictures(await self._message(item.extra["channel"], item.id).fetch())

    async def exempt(self, item: Item) -> bool:
        """Spare bots, members who may manage messages there, and members with an exempt role."""
        if item.extra["bot"] == "yes":
            return True
        with translated():
            channel = await self._channel(int(item.extra["channel"]))
            if channel.guild.unavailable:
                raise PlatformError("Discord has this server down: nobody's roles are known.")
            try:
                member = await channel.guild.fetch_member(int(item.extra["author"]))
            except discord.NotFound:  # has left: no longer anyone's moderator
                return False
        roles = {role.id for role in member.roles}
        is_spared = not roles.isdisjoint(self._settings.discord_exempt_roles)
        return is_spared or channel.permissions_for(member).manage_messages

    async def apply(self, item: Item, action: Action) -> UndoToken:
        """Leave a record in the mod channel; then label, or delete what the record has copied."""
        with translated(is_write=True):
            post = self._message(item.extra["channel"], item.id)
            record = await self._records.find(action.key, after=int(item.id))
            if record is None:
                is_copy = action.kind in TAKEN_DOWN
                record = await self._records.write(action, post=await post.fetch(), is_copy=is_copy)
            elif records.state(record) != records.ACTIVE:
                await post.fetch()  # or it is gone
                record = await records.mark(record, records.ACTIVE)
            if action.kind is ActionKind.LABEL:
                await post.add_reaction(MARK)
            elif action.kind in TAKEN_DOWN:
                await _delete(post)
        where = {name: item.extra[name] for name in ("channel", "author")}
        data = {**where, "message": item.id, "record": str(record.id)}
        return UndoToken(kind=action.kind, data=data)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Withdraw the record and what went with it, unless a moderator has reacted to it."""
        with translated(is_write=True):
            record = await self._records.fetch(int(token.data["record"]))
            if record and (settled := records.settled(record)):
                return settled
            if token.kind in TAKEN_DOWN:
                return await self._restore(token, record)
            post = await records.fetched(
                self._message(token.data["channel"], token.data["message"])
            )
            if post is None:
                return UndoResult.GONE
            if token.kind is ActionKind.LABEL and self._client.user:
                await post.remove_reaction(MARK, self._client.user)
            if record:
                await records.mark(record, records.WITHDRAWN)
            return UndoResult.UNDONE

    async def notify(self, item: Item, notice: Notice) -> None:
        """Write to the author, or to the mod channel if the author takes no messages."""
        text = "\n\n".join(filter(None, (f"**{notice.subject}**", notice.text, notice.appeal_url)))
        with translated(is_write=True):
            try:
                user = await self._client.fetch_user(int(item.extra["author"]))
                await user.send(text[:2000])
            except (discord.Forbidden, discord.NotFound):
                head = f"<@{item.extra['author']}> takes no messages from the bot. It would be:\n"
                await self._records.channel.send((head + text)[:2000])

    async def _restore(self, token: UndoToken, record: discord.Message | None) -> UndoResult:
        if record is None:  # deleted by a moderator, and the copy with it
            return UndoResult.GONE
        when = discord.utils.snowflake_time(int(token.data["message"]))
        credit = (
            f"Posted by <@{token.data['author']}> {discord.utils.format_dt(when, 'R')}; "
            "the bot took it down and was wrong."
        )
        place = self._client.get_partial_messageable(int(token.data["channel"]))
        try:
            await records.put_back(record, place=place, credit=credit)
        except discord.NotFound:  # the channel is gone
            return UndoResult.GONE
        return UndoResult.UNDONE

    def _message(self, channel_id: str, message_id: str) -> discord.PartialMessage:
        place = self._client.get_partial_messageable(int(channel_id), guild_id=self._guild_id)
        return place.get_partial_message(int(message_id))

    async def _channel(self, channel_id: int) -> discord.abc.GuildChannel | discord.Thread:
        known = self._client.get_channel(channel_id) or await self._client.fetch_channel(channel_id)
        if isinstance(known, discord.abc.PrivateChannel):
            raise PlatformError(f"Channel {channel_id} is private, not one of the watched server.")
        return known


@asynccontextmanager
async def open_discord(settings: DiscordSettings) -> AsyncIterator[Platform]:
    """Log in, connect and find the mod channel; raises PermissionLost if one is refused."""
    async with AsyncExitStack() as stack:
        with translated():
            client = await stack.enter_async_context(Gateway())
            await client.login(settings.discord_token)
            await stack.enter_async_context(client.running())
            mod = await client.fetch_channel(settings.discord_mod_channel)
        if not isinstance(mod, discord.TextChannel):
            raise PermissionLost(
                f"PINCLIP_DISCORD_MOD_CHANNEL is {mod.id}, which is no text channel.",
                hint="Give the id of a text channel that only moderators can read.",
            )
        yield DiscordPlatform(client, settings=settings, mod=mod)


async def _delete(message: discord.PartialMessage) -> None:
    try:
        await message.delete()
    except discord.NotFound:  # by an earlier try, or by its author
        return


PLUGIN = Plugin(settings=DiscordSettings, open=open_discord)
