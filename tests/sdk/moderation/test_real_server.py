"""The bot against the real API: a label, an appeal that is overturned, the label gone."""

from __future__ import annotations

import doctest
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk import AsyncClient, moderation
from sdk.moderation import ActionKind, Item, Journal, Runner
from sdk.moderation.choices import pace
from sdk.moderation.fake import FakePlace, FakePlatform
from sdk.moderation.journal import Made, State
from sdk.moderation.rules import read_policy
from sdk.wire import AppealDecision
from tests.sdk.small_api import small_api

from .bots import LABEL, NOW, MovedClock

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

PICTURE = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture
def address() -> Iterator[str]:
    # A short path: a unix socket's name has room for about 100 characters.
    with (
        tempfile.TemporaryDirectory(prefix="pc", dir="/tmp") as folder,
        small_api(Path(folder), allow_port=80) as url,
    ):
        yield url


@pytest.fixture
def shop(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which has a policy; the environment names the server."""
    monkeypatch.setenv("PINCLIP_BASE_URL", address)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(LABEL)
    return tmp_path


async def test_example_of_the_kit_follows_a_platform_until_it_ends(shop: Path) -> None:
    class Ends(FakePlatform):
        async def items(self, after: str | None) -> AsyncIterator[Item]:
            yield await anext(super().items(after))

    examples = doctest.DocTestParser().get_examples(moderation.__doc__ or "")
    known: dict[str, Any] = {}
    exec("".join(each.source for each in examples), known)
    place = FakePlace()
    post = place.post([PICTURE])

    await known["moderate"](Ends(place))

    with Journal(shop / "bot.db") as journal:
        assert [entry.item.id for entry in journal.entries(State.WOULD)] == [post]
    place.close()


async def test_overturned_appeal_takes_the_label_off_the_post(address: str, tmp_path: Path) -> None:
    policy = read_policy(LABEL, name="rules")
    place = FakePlace()
    post = place.post([PICTURE])
    clock = MovedClock()
    async with AsyncClient(base_url=address) as client:
        with Journal(tmp_path / "bot.db") as journal:
            journal.hold("fake")
            journal.note_report(Made(at=NOW, items=200, policy_id=policy.terms.policy_id))
            platform = FakePlatform(place)
            bot = Runner(
                platform, policy, client, journal, mode="enforce", terms=policy.terms, clock=clock
            )
            await bot.take(await anext(platform.items(None)))
            assert place.actions(post) == [ActionKind.LABEL]

            [entry] = journal.of_item(post)
            assert entry.scan.context == {"platform": "fake", "item_id": post}
            appeal = await client.appeals.create(entry.action.scan_id, reason="I took it myself.")
            await client.appeals.decide(appeal.id, AppealDecision.OVERTURN)
            clock.at += pace(0) + 1
            await bot.watch()

            assert place.actions(post) == []
            assert len(place.notices(post)) == 2
    place.close()
