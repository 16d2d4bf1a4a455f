"""check_platform: the conformance suite of an adapter. FakePlatform is in .fake, and passes it.

    Stage (yours)                            check_platform(stage)
      open()            a fresh Platform  <----  once or twice a case
      post, edit, delete                  <----  arranges
      rate_limit, forbid, lose_answer,    <----  what platforms do to bots
        human_acts
      actions, notices  what is so now    <----  looks, and believes no adapter
                                                   |
                                 Report: each Case passed, skipped or failed, and why

In a test of the adapter, of any test runner:

    def test_my_platform_conforms() -> None:
        asyncio.run(check_platform(MyStage()))

A Stage stands for the platform itself, most often a fake of its API on this machine. What the
platform cannot have is declared in `Stage.skips`, with the reason; what no bot can do without is
never skipped. Knows no platform and no test runner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from .conformance import check_platform
from .fake import MODERATOR, FakePlace, FakePlatform, opened
from .platform import ActionKind, Platform
from .stage import Case, ConformanceError, Outcome, Report, Stage, State, picture

__all__ = [
    "Case",
    "ConformanceError",
    "FakePlace",
    "FakePlatform",
    "FakeStage",
    "Outcome",
    "Report",
    "Stage",
    "State",
    "check_platform",
    "picture",
]


class FakeStage:
    """The Stage of a FakePlace, and a model to write another after."""

    skips: Mapping[Case, str] = {}
    irrevocable: frozenset[ActionKind] = frozenset()

    def __init__(self, place: FakePlace) -> None:
        self.place = place

    def open(self) -> AbstractAsyncContextManager[Platform]:
        """Open a fresh FakePlatform."""
        return opened(self.place)

    async def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        """Post as somebody, or as the moderator."""
        return self.place.post(images, author=MODERATOR if is_exempt else "somebody")

    async def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        """Put other images into the post."""
        self.place.edit(item_id, images)

    async def delete(self, item_id: str) -> None:
        """Delete the post."""
        self.place.delete(item_id)

    async def actions(self, item_id: str) -> Sequence[ActionKind]:
        """Return what is in force."""
        return self.place.actions(item_id)

    async def notices(self, item_id: str) -> Sequence[str]:
        """Return what the author was told."""
        return self.place.notices(item_id)

    async def rate_limit(self, seconds: float) -> None:
        """Refuse everything for so long."""
        self.place.rate_limit(seconds)

    async def forbid(self) -> None:
        """Refuse every action."""
        self.place.forbid()

    async def allow(self) -> None:
        """Take actions again."""
        self.place.allow()

    async def lose_answer(self) -> None:
        """Give no answer to the next action."""
        self.place.lose_answer()

    async def human_acts(self, item_id: str) -> None:
        """Let a person decide."""
        self.place.human_acts(item_id)
