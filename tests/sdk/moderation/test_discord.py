"""The Discord adapter: the real discord.py against a fake Discord, over HTTP and a websocket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest

from sdk.environment import Secret, load, variables
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Item,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    UndoResult,
    Unsure,
)
from sdk.moderation.platforms.discord import MARK, PLUGIN, DiscordSettings
from sdk.moderation.testing import Case, State, check_platform, picture
from tests.sdk.moderation.fakes.discord import (
    AUTHOR,
    BOT,
    EPOCH,
    GENERAL,
    GUEST,
    GUEST_ROLE,
    LEFT,
    MODERATOR,
    MODS,
    OTHER,
    OTHER_BOT,
    THREAD,
    TOKEN,
    FakeDiscord,
    redirected,
)

GUIDE = Path(__file__).parents[3] / "docs/guides/discord.md"
BEFORE = str(discord.utils.time_snowflake(EPOCH))
SETTINGS = DiscordSettings(discord_token=Secret(TOKEN), discord_mod_channel=MODS)


class DiscordStage:
    """The fake, arranged and looked at as the conformance suite asks."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, fake: FakeDiscord) -> None:
        self.fake = fake

    def open(self) -> AbstractAsyncContextManager[Platform]:
        return PLUGIN.open(SETTINGS)

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        return await self.fake.post(images, author=MODERATOR if is_exempt else AUTHOR)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        await self.fake.edit(item_id, images)

    async def delete(self, item_id: str) -> None:
        """Delete the message; of one that was taken down the copy, which is all there is left."""
        if int(item_id) in self.fake.messages:
            await self.fake.delete(item_id)
        for record in self.records(item_id):
            await self.fake.delete(record["id"])

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        found = []
        for record in self.records(item_id):
            state, _, kind = record["embeds"][0]["title"].partition(": ")
            if state == "Active" and self.stands(item_id, ActionKind(kind)):
                found.append(ActionKind(kind))
        if not found and int(item_id) not in self.fake.messages and not self.reposted(item_id):
            found.append(ActionKind.QUARANTINE)
        return found

    async def notices(self, item_id: str) -> Sequence[str]:
        return [message["content"] for message in self.fake.in_channel(1000 + AUTHOR)]

    async def rate_limit(self, seconds: float) -> None:
        self.fake.limited_until = asyncio.get_running_loop().time() + seconds

    async def forbid(self) -> None:
        self.fake.is_forbidden = True

    async def allow(self) -> None:
        self.fake.is_forbidden = False

    async def lose_answer(self) -> None:
        self.fake.loses_answer_to = "any"

    async def human_acts(self, item_id: str) -> None:
        (record,) = self.records(item_id)
        self.fake.react(record["id"])

    def records(self, item_id: str) -> list[dict[str, Any]]:
        there = [message for message in self.fake.in_channel(MODS) if message["embeds"]]
        return [one for one in there if item_id in one["embeds"][0]["fields"][0]["value"]]

    def stands(self, item_id: str, kind: ActionKind) -> bool:
        """Tell if the message looks as it must after this action."""
        message = self.fake.messages.get(int(item_id))
        if kind is ActionKind.REPORT:
            return True
        if kind is ActionKind.LABEL:
            marks = message["reactions"] if message else []
            return [one["emoji"]["name"] for one in marks] == [MARK]
        return message is None

    def reposted(self, item_id: str) -> list[dict[str, Any]]:
        keys = {one["embeds"][0]["footer"]["text"] for one in self.records(item_id)}
        bots = [one for one in self.fake.in_channel(GENERAL) if one["author"]["id"] == str(BOT)]
        return [one for one in bots if one["embeds"][0]["footer"]["text"] in keys]


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


@asynccontextmanager
async def discord_running() -> AsyncIterator[FakeDiscord]:
    fake = FakeDiscord()
    async with fake.running():
        with redirected(fake):
            yield fake


def action(item: Item, kind: ActionKind = ActionKind.QUARANTINE) -> Action:
    key = f"{kind}-{item.id}"
    return Action(kind=kind, key=key, sha256="0" * 64, scan_id="scan_01J", text="Likely AI.")


async def upcoming(items: AsyncIterator[Item]) -> Item:
    async with asyncio.timeout(10):
        return await anext(items)


def test_discord_passes_the_conformance_suite(
    record_property: Callable[[str, object], None],
) -> None:
    async def case() -> None:
        async with discord_running() as fake:
            report = await check_platform(DiscordStage(fake))
            record_property("conformance", str(report))

        assert {outcome.state for outcome in report.outcomes} == {State.PASSED}

    run(case())


def test_discord_settings_come_from_the_environment_and_show_no_token() -> None:
    settings = load(
        DiscordSettings,
        {
            "PINCLIP_DISCORD_TOKEN": TOKEN,
            "PINCLIP_DISCORD_MOD_CHANNEL": "11",
            "PINCLIP_DISCORD_CHANNELS": "10, 12",
        },
    )

    assert (settings.discord_mod_channel, settings.discord_channels) == (11, (10, 12))
    assert TOKEN not in repr(settings)


def test_discord_quarantine_keeps_text_and_files_and_restore_posts_them_with_credit() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            image = picture(77)
            await fake.post([image], text="My cat")
            async with PLUGIN.open(SETTINGS) as platform:
                item = await upcoming(platform.items(BEFORE))
                token = await platform.apply(item, action(item))
                (record,) = fake.in_channel(MODS)
                assert [fake.files[file["id"]] for file in record["attachments"]] == [image]
                assert record["embeds"][1]["description"] == "My cat"
                assert fake.in_channel(GENERAL) == []

                assert await platform.undo(token) is UndoResult.UNDONE

            (again,) = fake.in_channel(GENERAL)
            assert [fake.files[file["id"]] for file in again["attachments"]] == [image]
            assert again["embeds"][0]["description"] == "My cat"
            assert f"<@{AUTHOR}>" in again["content"]

    run(case())


def test_discord_restore_posts_once_when_the_answer_was_lost_half_way() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture()])
            async with PLUGIN.open(SETTINGS) as platform:
                item = await upcoming(platform.items(BEFORE))
                token = await platform.apply(item, action(item))
                fake.loses_answer_to = "POST"
                with pytest.raises(Unsure):
                    await platform.undo(token)

                assert await platform.undo(token) is UndoResult.UNDONE

            assert len(fake.in_channel(GENERAL)) == 1

    run(case())


def test_discord_deletes_nothing_that_it_cannot_copy() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            message = await fake.post([picture()])
            fake.upload_limit = 10
            async with PLUGIN.open(SETTINGS) as platform:
                item = await upcoming(platform.items(BEFORE))

                with pytest.raises(PlatformError, match="it was not deleted"):
                    await platform.apply(item, action(item))

            assert int(message) in fake.messages

    run(case())


def test_discord_yields_link_previews_and_forwards_but_neither_records_nor_reposts() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture()])
            async with PLUGIN.open(SETTINGS) as platform:
                items = platform.items(BEFORE)
                item = await upcoming(items)
                await platform.undo(await platform.apply(item, action(item)))
                await fake.post([picture()], channel=MODS, author=MODERATOR)

                link = await fake.post(text="https://example.org/x.png")
                await fake.unfurl(link, "https://example.org/x.png")
                shown = await upcoming(items)
                assert shown.id == link
                (preview,) = await platform.media(shown)
                assert preview.url == f"{fake.url}/external/x.png"

                files = fake.attached([("x.png", picture(5))])
                forward = {"message": {"attachments": files, "embeds": [], "content": "",
                           "timestamp": item.revision.split()[0], "edited_timestamp": None,
                           "type": 0, "flags": 0}}  # fmt: skip
                forwarded = await fake.post(text="", message_snapshots=[forward])
                shown = await upcoming(items)
                assert shown.id == forwarded
                (media,) = await platform.media(shown)
                assert media.load is not None
                assert await media.load() == picture(5)

    run(case())


def test_discord_reads_history_for_what_it_missed() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            old = await fake.post([picture(1)])
            async with PLUGIN.open(SETTINGS) as platform:
                cursor = (await upcoming(platform.items(BEFORE))).cursor
            await fake.edit(old, [picture(2)])
            in_thread = await fake.post([picture(3)], channel=THREAD)
            async with PLUGIN.open(SETTINGS) as platform:
                items = platform.items(cursor)
                assert [(await upcoming(items)).id for _ in range(2)] == [old, in_thread]

                while fake.is_connected:
                    await fake.drop_sessions()
                missed = await fake.post([picture(4)])
                assert (await upcoming(items)).id == missed

    run(case())


def test_discord_watches_only_the_channels_it_is_told_with_their_threads() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture(1)], channel=OTHER)
            wanted = [
                await fake.post([picture(2)], channel=THREAD),
                await fake.post([picture(3)]),
            ]
            settings = msgspec.structs.replace(SETTINGS, discord_channels=(GENERAL,))
            async with PLUGIN.open(settings) as platform:
                items = platform.items(BEFORE)

                assert [(await upcoming(items)).id for _ in wanted] == wanted

    run(case())


def test_discord_spares_bots_moderators_and_the_exempt_roles() -> None:
    async def case() -> None:
        authors = [AUTHOR, MODERATOR, GUEST, LEFT, OTHER_BOT]
        async with discord_running() as fake:
            for author in authors:
                await fake.post([picture()], author=author)
            settings = msgspec.structs.replace(SETTINGS, discord_exempt_roles=(GUEST_ROLE,))
            async with PLUGIN.open(settings) as platform:
                items = platform.items(BEFORE)
                spared = {a: await platform.exempt(await upcoming(items)) for a in authors}

        assert spared == {AUTHOR: False, MODERATOR: True, GUEST: True, LEFT: False, OTHER_BOT: True}

    run(case())


def test_discord_tells_the_mod_channel_when_the_author_takes_no_messages() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture()])
            fake.takes_dms = False
            async with PLUGIN.open(SETTINGS) as platform:
                item = await upcoming(platform.items(BEFORE))

                await platform.notify(item, Notice(subject="Labelled", text="By a machine."))

            (told,) = fake.in_channel(MODS)
            assert "By a machine." in told["content"]
            assert f"<@{AUTHOR}>" in told["content"]

    run(case())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param({"token": "another"}, "PINCLIP_DISCORD_TOKEN", id="token-refused"),
        pytest.param({"allowed_intents": 1}, "Message Content intent", id="intent-off"),
    ],
)
def test_discord_says_what_is_missing_when_it_cannot_log_in(
    fault: dict[str, Any], said: str
) -> None:
    async def case() -> None:
        async with discord_running() as fake:
            for name, value in fault.items():
                setattr(fake, name, value)
            with pytest.raises(PermissionLost, match=said):
                async with PLUGIN.open(SETTINGS):
                    pass

    run(case())


def test_discord_stays_away_for_minutes_when_the_network_before_discord_refuses_it() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture()])
            async with PLUGIN.open(SETTINGS) as platform:
                item = await upcoming(platform.items(BEFORE))
                fake.limit_scope = "network"
                fake.limited_until = asyncio.get_running_loop().time() + 60

                with pytest.raises(RateLimited) as caught:
                    await platform.media(item)

        assert caught.value.retry_after == 600

    run(case())


def test_discord_items_end_with_an_error_when_the_token_is_taken_away() -> None:
    async def case() -> None:
        async with discord_running() as fake:
            await fake.post([picture()])
            async with PLUGIN.open(SETTINGS) as platform:
                items = platform.items(BEFORE)
                await upcoming(items)
                await fake.drop_sessions(code=4004)

                for again in (items, platform.items(BEFORE)):
                    with pytest.raises(PermissionLost):
                        await upcoming(again)

    run(case())


def test_discord_guide_names_every_setting_and_invites_with_the_permissions_of_its_table() -> None:
    said = GUIDE.read_text("utf-8")
    table = said[said.index("| permission") : said.index("If your policy")].strip()
    names = [name for row in table.splitlines()[2:] for name in row.split("|")[1].split(", ")]
    wanted = {re.sub(r"\W+", "_", name.strip().lower()) for name in names if name.strip()}
    invited = discord.Permissions(int(re.findall(r"permissions=(\d+)", said)[0]))
    (milder,) = re.findall(r"the number is then `(\d+)`", said)

    assert {name for name, _, _ in variables(DiscordSettings)} == set(
        re.findall(r"PINCLIP_DISCORD_\w+", said)
    )
    assert {name for name, is_set in invited if is_set} == {
        {"view_channels": "read_messages"}.get(name, name) for name in wanted
    }
    invited.update(manage_messages=False)
    assert invited.value == int(milder)
