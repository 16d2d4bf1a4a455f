"""Records: what the bot did on Discord, as messages of its own in the mod channel.

    "Active: label"  --undo-->  "Withdrawn: label"
    "Active: quarantine"  --undo-->  "Being put back: ..."  -- post -->  "Withdrawn: ..."

A record is found again by the action's key in its footer, and carries the copy of what was
deleted, so that Discord itself is the only store. A reaction by anyone but the bot settles it.
Knows neither items nor the gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import discord

from sdk.moderation.platform import Action, PermissionLost, PlatformError, UndoResult

ACTIVE, RESTORING, WITHDRAWN = "Active", "Being put back", "Withdrawn"
COLOURS = {ACTIVE: 0xE67E22, RESTORING: 0x95A5A6, WITHDRAWN: 0x95A5A6}
TEXT_LIMIT = 1500
"""Characters of `Action.text`: with a message's 4000, Discord's 6000 for all embeds is kept."""

Place = discord.TextChannel | discord.Thread | discord.PartialMessageable


class Records:
    """The records in one mod channel. Errors of discord.py pass through, but for a lost channel."""

    def __init__(self, channel: discord.TextChannel) -> None:
        self.channel = channel

    async def find(self, key: str, *, after: int) -> discord.Message | None:
        """Return the record with this key, looked for behind the message with the id `after`."""
        async with self._reachable():
            return await find_by_key(self.channel, key, after=discord.Object(after))

    async def fetch(self, record_id: int) -> discord.Message | None:
        """Return a record as it stands now, or None if someone has deleted it."""
        return await fetched(self.channel.get_partial_message(record_id))

    async def write(
        self, action: Action, *, post: discord.Message, is_copy: bool
    ) -> discord.Message:
        """Post the record of an action, with text and files of the post if `is_copy`."""
        embeds = [_told(action, post)]
        files: list[discord.File] = []
        if is_copy:
            embeds.append(discord.Embed(title="What the message said", description=post.content))
            files = [await file.to_file(spoiler=file.is_spoiler()) for file in attachments(post)]
        async with self._reachable():
            try:
                return await self.channel.send(embeds=embeds, files=files)
            except discord.HTTPException as error:
                if error.status == 413:
                    raise PlatformError(_too_large(post)) from error
                raise

    @asynccontextmanager
    async def _reachable(self) -> AsyncIterator[None]:
        try:
            yield
        except (discord.NotFound, discord.Forbidden) as error:
            raise PermissionLost(
                f"The mod channel {self.channel.id} is gone or closed to the bot.",
                hint="Give the bot View Channel, Send Messages, Embed Links, Attach Files and "
                "Read Message History there, or set PINCLIP_DISCORD_MOD_CHANNEL.",
            ) from error


def attachments(message: discord.Message) -> Sequence[discord.Attachment]:
    """Return the files of a message and of the messages that it forwards."""
    forwarded = (file for each in message.message_snapshots for file in each.attachments)
    return [*message.attachments, *forwarded]


async def fetched(message: discord.PartialMessage) -> discord.Message | None:
    """Return the message, or None if it is deleted."""
    try:
        return await message.fetch()
    except discord.NotFound:
        return None


def state(record: discord.Message) -> str:
    """Return ACTIVE, RESTORING or WITHDRAWN."""
    return (record.embeds[0].title or "").partition(":")[0]


def settled(record: discord.Message) -> UndoResult | None:
    """Tell how a record was settled before: withdrawn, or kept by a moderator's reaction."""
    if state(record) == WITHDRAWN:
        return UndoResult.UNDONE
    if any(reaction.count > reaction.me for reaction in record.reactions):
        return UndoResult.KEPT_FOR_HUMAN
    return None


async def mark(record: discord.Message, word: str) -> discord.Message:
    """Set the state of a record; its copy and its reasons stay."""
    head, *rest = record.embeds
    head.title = f"{word}:{(head.title or '').partition(':')[2]}"
    head.colour = discord.Colour(COLOURS[word])
    return await record.edit(embeds=[head, *rest])


async def put_back(record: discord.Message, *, place: Place, credit: str) -> None:
    """Post again what the record has copied, once, and withdraw the record."""
    key = record.embeds[0].footer.text or ""
    again = None
    if state(record) == RESTORING:  # a try before this one got at least so far
        again = await find_by_key(place, key, after=discord.Object(record.id))
    else:
        record = await mark(record, RESTORING)
    if again is None:
        embed = discord.Embed(description=record.embeds[1].description).set_footer(text=key)
        files = [await file.to_file(spoiler=file.is_spoiler()) for file in record.attachments]
        await place.send(credit, embed=embed, files=files)
    await mark(record, WITHDRAWN)


async def find_by_key(place: Place, key: str, *, after: discord.Object) -> discord.Message | None:
    """Return the first message behind `after` that bears the key in a footer."""
    async for message in place.history(limit=None, after=after):
        if any(embed.footer.text == key for embed in message.embeds):
            return message
    return None


def _told(action: Action, post: discord.Message) -> discord.Embed:
    return (
        discord.Embed(
            title=f"{ACTIVE}: {action.kind}",
            description=action.text[:TEXT_LIMIT],
            colour=COLOURS[ACTIVE],
        )
        .add_field(name="Message", value=post.jump_url)
        .add_field(name="Author", value=f"{post.author.mention} ({post.author.name})")
        .set_footer(text=action.key)
    )


def _too_large(post: discord.Message) -> str:
    size = sum(file.size for file in attachments(post))
    return (
        f"The {size} bytes of files of message {post.id} are more than the bot may upload to the "
        "mod channel, so it was not deleted: look at it yourself"
    )
