"""The Reddit adapter: the real Async PRAW against a fake Reddit on loopback."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asyncpraw.config import Config

from sdk.environment import Secret, SettingsError, load, variables
from sdk.moderation.platform import (
    Action,
    ActionKind,
    Item,
    ItemGone,
    Notice,
    PermissionLost,
    Platform,
    RateLimited,
    UndoResult,
    Unsure,
)
from sdk.moderation.platforms.reddit import opened
from sdk.moderation.platforms.reddit_connection import RedditSettings, connection
from sdk.moderation.testing import Case, State, check_platform, picture
from tests.sdk.moderation.fakes.reddit import (
    APPROVED,
    AUTHOR,
    BOT,
    CLIENT,
    CLIENT_KEY,
    MODERATOR,
    REFRESH,
    SUB,
    FakeReddit,
)

pytestmark = [
    # asyncprawcore 4.0 logs in by what aiohttp 3.14 deprecates (2026-11).
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]
GUIDE = Path(__file__).parents[3] / "docs/guides/reddit.md"
SETTINGS = RedditSettings(
    reddit_client_id=CLIENT,
    reddit_client_secret=Secret(CLIENT_KEY),
    reddit_refresh_token=Secret(REFRESH),
    reddit_subreddit=SUB,
)


def connect(
    fake: FakeReddit, settings: RedditSettings = SETTINGS
) -> AbstractAsyncContextManager[Platform]:
    """Open the platform at the fake's address, by the library's own option for it."""
    reddit = connection(settings, oauth_url=fake.url, reddit_url=fake.url)
    return opened(reddit, settings=settings, poll_seconds=0.05)


class RedditStage:
    """The fake, arranged and looked at as the conformance suite asks."""

    skips: Mapping[Case, str] = {}
    irrevocable = frozenset({ActionKind.REPORT})

    def __init__(self, fake: FakeReddit) -> None:
        self.fake = fake

    def open(self) -> AbstractAsyncContextManager[Platform]:
        return connect(self.fake)

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        return self.fake.post(images, author=MODERATOR if is_exempt else AUTHOR)

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self.fake.edit(item_id, images)

    async def delete(self, item_id: str) -> None:
        self.fake.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        post = self.fake.posts[item_id]
        found = [ActionKind.REPORT for _, reporter in post["mod_reports"] if reporter == BOT]
        if post["link_flair_text"] == SETTINGS.reddit_flair:
            found.append(ActionKind.LABEL)
        if post["banned_by"] == BOT:
            found.append(ActionKind(post["mod_note"].split(":")[0]))
        return found

    async def notices(self, item_id: str) -> Sequence[str]:
        return [mail["body"] for mail in self.fake.mails if mail["to"] == AUTHOR]

    async def rate_limit(self, seconds: float) -> None:
        self.fake.limited_until = asyncio.get_running_loop().time() + seconds

    async def forbid(self) -> None:
        self.fake.is_forbidden = True

    async def allow(self) -> None:
        self.fake.is_forbidden = False

    async def lose_answer(self) -> None:
        self.fake.loses_answer = True

    async def human_acts(self, item_id: str) -> None:
        self.fake.approve(item_id)


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


@asynccontextmanager
async def reddit_running() -> AsyncIterator[FakeReddit]:
    fake = FakeReddit()
    async with fake.running():
        yield fake


def test_reddit_passes_the_conformance_suite(
    record_property: Callable[[str, object], None],
) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            report = await check_platform(RedditStage(fake))
            record_property("conformance", str(report))

        assert {outcome.state for outcome in report.outcomes} == {State.PASSED}

    run(case())


def action(item: Item, kind: ActionKind) -> Action:
    key = f"{kind}-{item.id}"
    return Action(kind=kind, key=key, sha256="0" * 64, scan_id="scan_01J", text="Likely AI.")


async def upcoming(items: AsyncIterator[Item]) -> Item:
    async with asyncio.timeout(10):
        return await anext(items)


def test_reddit_settings_come_from_the_environment_and_refuse_a_flair_that_is_too_long() -> None:
    environ = {
        "PINCLIP_REDDIT_CLIENT_ID": CLIENT,
        "PINCLIP_REDDIT_CLIENT_SECRET": CLIENT_KEY,
        "PINCLIP_REDDIT_REFRESH_TOKEN": REFRESH,
        "PINCLIP_REDDIT_SUBREDDIT": SUB,
    }

    settings = load(RedditSettings, environ)

    assert settings == SETTINGS
    assert CLIENT_KEY not in repr(settings)
    assert REFRESH not in repr(settings)
    with pytest.raises(SettingsError, match="PINCLIP_REDDIT_FLAIR has 65 characters"):
        load(RedditSettings, {**environ, "PINCLIP_REDDIT_FLAIR": "x" * 65})


@pytest.mark.parametrize(
    ("more", "urls"),
    [
        pytest.param(
            {"media_metadata": {"a1": FakeReddit.uploaded("a1"), "b2": FakeReddit.uploaded("b2")},
             "gallery_data": {"items": [{"media_id": "b2"}, {"media_id": "a1"}]}},
            ["https://i.redd.it/b2.jpg", "https://i.redd.it/a1.jpg"],
            id="gallery-in-its-order",
        ),
        pytest.param(
            {"media_metadata": {"a1": FakeReddit.uploaded("a1"),
                                "b2": {"status": "unprocessed"},
                                "emote|pack|c3": FakeReddit.uploaded("c3"),
                                "d4": {"status": "valid", "e": "RedditVideo"}},
             "gallery_data": None},
            ["https://i.redd.it/a1.jpg"],
            id="image-in-text-without-emotes-videos-or-what-is-not-ready",
        ),
        pytest.param(
            {"media_metadata": None, "gallery_data": None, "url": "https://i.redd.it/a1.png"},
            ["https://i.redd.it/a1.png"],
            id="uploaded-image",
        ),
        pytest.param(
            {"media_metadata": None, "gallery_data": None, "post_hint": "image",
             "url_overridden_by_dest": "https://pictures.example/a.png"},
            ["https://pictures.example/a.png"],
            id="link-to-an-image",
        ),
        pytest.param(
            {"media_metadata": None, "gallery_data": None,
             "crosspost_parent_list": [{"media_metadata": {"a1": FakeReddit.uploaded("a1")}}]},
            ["https://i.redd.it/a1.jpg"],
            id="crosspost",
        ),
    ],
)  # fmt: skip
def test_reddit_finds_the_originals(more: dict[str, Any], urls: list[str]) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.post(**more)
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))
                assert [media.url for media in await platform.media(item)] == urls

    run(case())


def test_reddit_yields_no_article_and_no_text_but_what_is_added_to_it() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.post(post_hint="link", url="https://news.example/article")
            text = fake.post(is_gallery=False)
            async with connect(fake) as platform:
                items = platform.items("0")
                fake.edit(text, [picture()])

                assert (await upcoming(items)).id == text

    run(case())


def test_reddit_reads_more_than_one_page_after_a_pause_and_not_from_the_start() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.post([picture()])
            last = fake.post([picture()])
            cursor = str(int(fake.posts[last]["created_utc"]))
            missed = [fake.post([picture()]) for _ in range(150)]
            async with connect(fake) as platform:
                items = platform.items(cursor)

                assert [(await upcoming(items)).id for _ in range(151)] == [last, *missed]

    run(case())


def test_reddit_yields_a_post_that_a_filter_held_back_once_it_is_approved() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            held = fake.post([picture()])
            fake.remove(held, by="AutoModerator")
            shown = fake.post([picture()])
            async with connect(fake) as platform:
                items = platform.items("0")
                assert (await upcoming(items)).id == shown

                fake.approve(held)

                assert (await upcoming(items)).id == held

    run(case())


@pytest.mark.parametrize(
    ("kind", "author", "spared"),
    [
        pytest.param("public", AUTHOR, False, id="author"),
        pytest.param("public", MODERATOR, True, id="moderator"),
        pytest.param("public", APPROVED, True, id="approved-user"),
        pytest.param("restricted", APPROVED, False, id="approved-where-all-must-be"),
    ],
)
def test_reddit_spares_moderators_and_approved_users(kind: str, author: str, spared: bool) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.subreddit_type = kind
            fake.post([picture()], author=author)
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))

                assert await platform.exempt(item) is spared

    run(case())


def test_reddit_spares_what_a_moderator_has_approved() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.approve(fake.post([picture()]))
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))

                assert await platform.exempt(item)

    run(case())


OLD_FLAIRS = [
    pytest.param({}, id="none"),
    pytest.param({"link_flair_text": "Art", "link_flair_template_id": "t-1"}, id="template"),
    pytest.param({"link_flair_text": "x" * 64, "link_flair_css_class": "y" * 99}, id="longest"),
]


@pytest.mark.parametrize("old", OLD_FLAIRS)
def test_reddit_gives_the_old_flair_back_though_the_bot_died_after_the_note(
    old: dict[str, str],
) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            post = fake.post([picture()], **old)
            before = {name: fake.posts[post][name] for name in old}
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))
                fake.loses_answer = True
                with pytest.raises(Unsure):
                    await platform.apply(item, action(item, ActionKind.LABEL))
            async with connect(fake) as platform:
                token = await platform.apply(item, action(item, ActionKind.LABEL))
                again = await platform.apply(item, action(item, ActionKind.LABEL))
                assert again == token
                assert fake.posts[post]["link_flair_text"] == SETTINGS.reddit_flair

                assert await platform.undo(token) is UndoResult.UNDONE

            assert {name: fake.posts[post][name] for name in old} == before
            assert fake.notes == []

    run(case())


def test_reddit_says_gone_of_a_post_that_is_there_no_more() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            post = fake.post([picture()])
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))
                token = await platform.apply(item, action(item, ActionKind.LABEL))
                del fake.posts[post]

                with pytest.raises(ItemGone):
                    await platform.media(item)
                assert await platform.undo(token) is UndoResult.GONE

    run(case())


def test_reddit_leaves_a_flair_that_a_moderator_has_set_since() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            post = fake.post([picture()])
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))
                token = await platform.apply(item, action(item, ActionKind.LABEL))
                fake.posts[post]["link_flair_text"] = "Made with a camera"

                assert await platform.undo(token) is UndoResult.KEPT_FOR_HUMAN

            assert fake.posts[post]["link_flair_text"] == "Made with a camera"

    run(case())


def test_reddit_leaves_what_a_moderator_has_removed_after_it_or_before() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            for is_before in (True, False):
                post = fake.post([picture()])
                async with connect(fake) as platform:
                    item = await upcoming(platform.items(str(fake.posts[post]["created_utc"])[:-2]))
                    if is_before:
                        fake.remove(post)
                    token = await platform.apply(item, action(item, ActionKind.REMOVE))
                    fake.remove(post)

                    assert await platform.undo(token) is UndoResult.KEPT_FOR_HUMAN

                assert fake.posts[post]["banned_by"] == MODERATOR

    run(case())


def test_reddit_tells_the_moderators_when_the_author_takes_no_mail() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.post([picture()])
            fake.unreachable.add(AUTHOR)
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))

                await platform.notify(item, Notice(subject="Labelled", text="By a machine."))

            (mail,) = fake.mails
            assert "to" not in mail
            assert "By a machine." in mail["body"]

    run(case())


def test_reddit_says_how_long_to_wait_when_reddit_says_it_in_words() -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            fake.post([picture()])
            async with connect(fake) as platform:
                item = await upcoming(platform.items("0"))
                fake.busy_message = "Looks like you've been doing that a lot. Take a break for 9 minutes before trying again."  # noqa: E501 - Reddit's words
                with pytest.raises(RateLimited) as caught:
                    await platform.apply(item, action(item, ActionKind.REMOVE))

        assert caught.value.retry_after == 540

    run(case())


def test_reddit_sends_its_secrets_to_reddit_whatever_lies_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "praw.ini").write_text("[DEFAULT]\noauth_url=http://127.0.0.1:9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, "CONFIG", None)  # it reads the file once a process
    monkeypatch.setenv("PRAW_ALLOW_ENDPOINT_OVERRIDE", "1")

    reddit = connection(SETTINGS)

    assert reddit.config.oauth_url == "https://oauth.reddit.com"
    assert reddit.config.reddit_url == "https://www.reddit.com"


def refuse_token(fake: FakeReddit) -> RedditSettings:
    return msgspec.structs.replace(SETTINGS, reddit_refresh_token=Secret("another"))


def refuse_app(fake: FakeReddit) -> RedditSettings:
    return msgspec.structs.replace(SETTINGS, reddit_client_secret=Secret("another"))


def take_scope(fake: FakeReddit) -> RedditSettings:
    fake.scopes.discard("read")
    return SETTINGS


def dismiss(fake: FakeReddit) -> RedditSettings:
    fake.is_moderator = False
    return SETTINGS


def misspell(fake: FakeReddit) -> RedditSettings:
    return msgspec.structs.replace(SETTINGS, reddit_subreddit="pictres")


@pytest.mark.parametrize("fault", [refuse_token, refuse_app, take_scope, dismiss, misspell])
def test_reddit_says_what_is_missing_when_it_cannot_begin(fault: Any) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            with pytest.raises(PermissionLost, match="PINCLIP_REDDIT_"):
                async with connect(fake, fault(fake)):
                    pass

    run(case())


def test_reddit_guide_names_every_setting_and_the_scopes_that_suffice() -> None:
    said = GUIDE.read_text("utf-8")
    (scopes,) = re.findall(r"SCOPES = (\[.*\])", said)

    assert set(ast.literal_eval(scopes)) == FakeReddit().scopes
    assert {name for name, _, _ in variables(RedditSettings)} == set(
        re.findall(r"PINCLIP_REDDIT_\w+", said)
    )


def test_reddit_guide_gets_a_token_when_its_script_is_run(tmp_path: Path) -> None:
    async def case() -> None:
        async with reddit_running() as fake:
            (script,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
            addresses = f"oauth_url={fake.url}\nreddit_url={fake.url}\n"
            (tmp_path / "praw.ini").write_text(f"[DEFAULT]\n{addresses}check_for_updates=False\n")
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", "-c", script),
                cwd=tmp_path,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            told, _ = await child.communicate(f"{CLIENT}\n{CLIENT_KEY}\na-code\n".encode())

        assert child.returncode == 0
        assert told.decode().rstrip().endswith(f"Token: {REFRESH}")
        assert "scope=identity+read+report" in told.decode()

    run(case())
