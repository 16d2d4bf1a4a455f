"""The cases of the conformance suite, a method each; the contract they try is in .platform.

    check_platform --> _Trial.outcome(case) --> _case()      _Broken | _Skipped | passed
                                                  |
                                          _Scene: an open Platform, whose items a _Reader reads
                                                  |
                         Stage: arranges, and says what is so;  Platform: what is tried

Items and tokens go through JSON before they are used again, as a journal would keep them. A
message says what the adapter must do. Knows no platform and no test runner.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import msgspec

from .platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    Notice,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    UndoResult,
    UndoToken,
    Unsure,
)
from .stage import NEVER_SKIPPED, Case, ConformanceError, Outcome, Report, Stage, State, picture

PATIENCE_SECONDS = 15.0
"""How long a post may take to be yielded by `items`, unless check_platform is told otherwise."""
BEACONS = 8
"""How many posts may be missed before `items` begins to yield; the pauses between them double."""
LIMIT_SECONDS = 1.0
"""How long the suite lets the platform refuse everything."""
LONGEST_RETRY_AFTER = 30.0
TRIES = 5
APPEAL_URL = "https://pinclip.example/appeals/apl_1"

T = TypeVar("T")


async def check_platform(
    stage: Stage, *, cases: Collection[Case] = tuple(Case), patience: float = PATIENCE_SECONDS
) -> Report:
    """Return what came of every case; raises ConformanceError, with all that failed.

    `cases` are fewer while an adapter is being written. `patience` is how many seconds an item may
    take to be yielded, or a call to return.
    """
    trial = _Trial(stage, patience=patience)
    report = Report(tuple([await trial.outcome(case) for case in cases]))
    if report.failed:
        raise ConformanceError(report)
    return report


class _Broken(Exception):
    """The adapter did what it must not; the text says what it must do."""


class _Skipped(Exception):
    """The case cannot be tried; the text says why."""


def _must(truth: object, text: str) -> None:
    if not truth:
        raise _Broken(text)


class _Reader:
    """Reads `items` in a task of its own, and keeps what came."""

    def __init__(self, items: AsyncIterator[Item], *, patience: float) -> None:
        self._items = items
        self._patience = patience
        self._seen: list[Item] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    async def find(self, item_id: str, *, besides: str | None = None) -> Item:
        """Return the newest item of this id, of another revision than `besides`."""
        found = await self._until(lambda item: item.id == item_id and item.revision != besides)
        if found is not None:
            return found
        ids = ", ".join(sorted({item.id for item in self._seen})[:5]) or "nothing"
        what = "post" if besides is None else "edited post"
        raise _Broken(
            f"`items` did not yield the {what} {item_id!r} within {self._patience:g} s"
            f" (it yielded {ids}): yield what is created and what is edited, with Item.id as"
            " the platform has it and Item.revision different after an edit."
        )

    async def warm(self, post: Callable[[], Awaitable[str]]) -> None:
        """Post until a post arrives: `items(None)` may begin wherever now is."""
        beacons: set[str] = set()
        for doublings in range(BEACONS):
            beacons.add(await post())
            seconds = self._patience * 2**doublings / 2**BEACONS
            if await self._until(lambda item: item.id in beacons, seconds=seconds):
                return
        raise _Broken(
            f"`items` yielded none of {len(beacons)} posts within {self._patience:g} s: yield each"
            " new post, with Item.id as the platform has it."
        )

    def order(self, item_ids: Collection[str]) -> list[str]:
        """Return these ids in the order in which they came first."""
        return list(dict.fromkeys(item.id for item in self._seen if item.id in item_ids))

    async def close(self) -> None:
        """End the reading."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task
        if (close := getattr(self._items, "aclose", None)) is not None:
            await close()

    async def _until(
        self, fits: Callable[[Item], bool], *, seconds: float | None = None
    ) -> Item | None:
        """Return the newest item that fits, once there is one, or None if there is none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds or self._patience), self._news:
                while not (found := [item for item in self._seen if fits(item)]):
                    if self._task.done():
                        self._end()
                    await self._news.wait()
                return found[-1]
        return None

    def _end(self) -> None:
        error = None if self._task.cancelled() else self._task.exception()
        how = f"raised {type(error).__name__}: {error}" if error else "ended"
        raise _Broken(f"`items` {how}: wait for more instead, and leave retries to the library.")

    async def _read(self) -> None:
        try:
            async for item in self._items:
                async with self._news:
                    self._seen.append(item)
                    self._news.notify_all()
        finally:
            async with self._news:
                self._news.notify_all()


class _Scene:
    """One open Platform with a post on it."""

    def __init__(self, stage: Stage, platform: Platform, reader: _Reader, *, patience: float):
        self.stage = stage
        self.platform = platform
        self._reader = reader
        self._patience = patience

    async def posted(self, images: int = 1, *, is_exempt: bool = False) -> Item:
        """Post a gallery and return it as the adapter yields it."""
        gallery = [picture(40 * index, mark=index) for index in range(images)]
        return await self.find(await self.stage.post(gallery, is_exempt=is_exempt))

    async def find(self, post_id: str) -> Item:
        """Return a post as the adapter yields it, once kept and read again."""
        return _kept(await self._reader.find(post_id))

    def order(self, post_ids: Collection[str]) -> list[str]:
        """Return these posts in the order in which they were yielded first."""
        return self._reader.order(post_ids)

    async def again(self, item: Item) -> Item:
        """Return the item as it is yielded after an edit."""
        return _kept(await self._reader.find(item.id, besides=item.revision))

    async def apply(self, item: Item, kind: ActionKind) -> UndoToken:
        """Act, and return the token once kept and read again."""
        with _only_platform_errors("apply"):
            token = await self.within("apply", self.platform.apply(item, _action(item, kind)))
        _must(token.kind is kind, f"`apply` returned a token of {token.kind}, for {kind}.")
        return _kept(token)

    async def undo(self, token: UndoToken) -> UndoResult:
        """Undo."""
        try:
            with _only_platform_errors("undo"):
                return await self.within("undo", self.platform.undo(token))
        except ItemGone:
            raise _Broken("`undo` raised ItemGone: return UndoResult.GONE instead.") from None

    async def within(self, name: str, call: Awaitable[T]) -> T:
        """Await a call of the adapter; raises _Broken if it does not return."""
        limit = asyncio.timeout(self._patience)
        try:
            async with limit:
                return await call
        except TimeoutError:
            if not limit.expired():
                raise
            raise _Broken(
                f"`{name}` did not return within {self._patience:g} s: give requests a timeout,"
                " and raise Unsure or RateLimited."
            ) from None

    async def in_force(self, item: Item, wanted: Sequence[ActionKind], text: str) -> None:
        """Raise _Broken with the text unless just these actions are in force."""
        found = list(await self.stage.actions(item.id))
        shown = ", ".join(found) or "nothing"
        _must(found == list(wanted), f"{text} (the platform has {shown} in force).")

    def kinds(self) -> list[ActionKind]:
        """Return the actions that the platform can do, mildest first."""
        return [kind for kind in ActionKind if kind.value in self.platform.capabilities]

    def gravest(self) -> ActionKind:
        """Return the gravest action that can be undone, or else the gravest."""
        kinds = [kind for kind in self.kinds() if kind not in self.stage.irrevocable]
        return (kinds or self.kinds())[-1]

    def way_back(self, kind: ActionKind) -> tuple[UndoResult, list[ActionKind]]:
        """Return what `undo` must say of this kind, and what is in force after it."""
        if kind in self.stage.irrevocable:
            return UndoResult.KEPT_FOR_HUMAN, [kind]
        return UndoResult.UNDONE, []


class _Trial:
    """Runs the cases on one stage."""

    def __init__(self, stage: Stage, *, patience: float) -> None:
        self._stage = stage
        self._patience = patience

    async def outcome(self, case: Case) -> Outcome:
        """Return what came of a case."""
        reason = self._stage.skips.get(case)
        if reason is not None and case in NEVER_SKIPPED:
            return Outcome(
                case, State.FAILED, "`skips` may not name this: without it a bot does harm."
            )
        if reason is not None:
            return Outcome(case, State.SKIPPED, reason)
        try:
            await getattr(self, f"_{case.value}")()
        except _Skipped as skipped:
            return Outcome(case, State.SKIPPED, str(skipped))
        except _Broken as broken:
            return Outcome(case, State.FAILED, str(broken))
        except Exception as error:
            return Outcome(case, State.FAILED, _unforeseen(error))
        return Outcome(case, State.PASSED)

    @asynccontextmanager
    async def _scene(self, after: str | None = None) -> AsyncIterator[_Scene]:
        async with self._stage.open() as platform:
            reader = _Reader(platform.items(after), patience=self._patience)
            try:
                if after is None:
                    await reader.warm(lambda: self._stage.post([picture(9)]))
                yield _Scene(self._stage, platform, reader, patience=self._patience)
            finally:
                await reader.close()

    async def _capabilities(self) -> None:
        async with self._stage.open() as platform:
            can = platform.capabilities
        _must(
            {kind.value for kind in ActionKind} & can,
            "`capabilities` names no action: name what the adapter can do, at least REPORT.",
        )
        _must(
            Capability.REMOVE not in can or Capability.RESTORE in can,
            "`capabilities` has REMOVE without RESTORE: offer QUARANTINE instead, or restore.",
        )
        _must(
            self._stage.irrevocable <= {ActionKind.REPORT},
            "`irrevocable` may name REPORT alone: what accuses somebody must have a way back.",
        )

    async def _items(self) -> None:
        async with self._scene() as scene:
            posted = [await self._stage.post([picture(shade)]) for shade in (10, 20, 30)]
            items = [await scene.find(post_id) for post_id in posted]
            _must(
                scene.order(posted) == posted,
                "`items` yields the newest first: yield the oldest first, or a bot that dies in"
                " between loses what is behind the cursor.",
            )
        _must(
            all(item.cursor for item in items),
            "Item.cursor is empty: put there what `items(after=...)` goes on from.",
        )

    async def _gallery(self) -> None:
        async with self._scene() as scene:
            await self._show(scene, await scene.posted(images=3), count=3)

    async def _show(self, scene: _Scene, item: Item, *, count: int) -> None:
        with _only_platform_errors("media"):
            media = await scene.within("media", scene.platform.media(item))
        _must(
            len(media) == count,
            f"`media` returned {len(media)} of {count} images: return the gallery whole.",
        )
        _must(len({one.id for one in media}) == count, "Media.id must differ from image to image.")
        _must(all(one.url or one.load for one in media), "Media needs `url`, or `load`.")
        loaded = [await scene.within("load", one.load()) for one in media if one.load]
        _must(all(loaded), "Media.load returned no bytes.")
        _must(len(set(loaded)) == len(loaded), "Media.load must load its own image, not another.")

    async def _edit(self) -> None:
        async with self._scene() as scene:
            item = await scene.posted()
            await self._stage.edit(item.id, [picture(200, mark=7), picture(210, mark=8)])
            await self._show(scene, await scene.again(item), count=2)

    async def _exempt(self) -> None:
        async with self._scene() as scene:
            ordinary, spared = await scene.posted(), await scene.posted(is_exempt=True)
            _must(
                not await scene.platform.exempt(ordinary),
                "`exempt` spares an ordinary post: only those that the platform's rules spare.",
            )
            _must(
                await scene.platform.exempt(spared),
                "`exempt` does not spare a post of a moderator or bot: ask the platform's rules.",
            )

    async def _apply(self) -> None:
        async with self._scene() as scene:
            for kind in scene.kinds():
                item = await scene.posted()
                await scene.apply(item, kind)
                await scene.in_force(item, [kind], f"{kind} is not in force after `apply`")

    async def _undo(self) -> None:
        async with self._scene() as scene:
            for kind in scene.kinds():
                item = await scene.posted()
                token = await scene.apply(item, kind)
                wanted, left = scene.way_back(kind)
                for when in ("", " the second time"):
                    result = await scene.undo(token)
                    _must(
                        result is wanted, f"`undo` of {kind} returned {result}{when}, not {wanted}."
                    )
                    await scene.in_force(item, left, f"{kind} is not undone by `undo`")

    async def _duplicate(self) -> None:
        async with self._scene() as scene:
            for kind in scene.kinds():
                item = await scene.posted()
                first, second = await scene.apply(item, kind), await scene.apply(item, kind)
                await scene.in_force(
                    item, [kind], f"{kind} with the same Action.key twice must be one action"
                )
                await self._undone(scene, item, second)
                await self._undone(scene, item, first)

    async def _undone(self, scene: _Scene, item: Item, token: UndoToken) -> None:
        wanted, left = scene.way_back(token.kind)
        result = await scene.undo(token)
        _must(result is wanted, f"`undo` of {token.kind} returned {result}, not {wanted}.")
        await scene.in_force(item, left, f"{token.kind} is not undone by `undo`")

    async def _restart(self) -> None:
        done: list[tuple[Item, Item, UndoToken, UndoToken]] = []
        async with self._scene() as scene:
            for kind in scene.kinds():
                one, other = await scene.posted(), await scene.posted()
                done.append(
                    (one, other, await scene.apply(one, kind), await scene.apply(other, kind))
                )
        async with self._scene() as scene:
            for one, other, token, other_token in done:
                await self._undone(scene, one, token)
                await scene.apply(other, token.kind)
                await scene.in_force(
                    other,
                    [token.kind],
                    f"{token.kind} was doubled after a restart: find Action.key on the platform,"
                    " not in memory",
                )
                await self._undone(scene, other, other_token)

    async def _resume(self) -> None:
        async with self._scene() as scene:
            last = await scene.posted()
        missed = await self._stage.post([picture(70)])
        async with self._stage.open() as platform:
            reader = _Reader(platform.items(last.cursor), patience=self._patience)
            try:
                await reader.find(missed)
            except _Broken as broken:
                raise _Broken(
                    f"After a pause, with the cursor of the last item: {broken}"
                ) from None
            finally:
                await reader.close()

    async def _deleted(self) -> None:
        async with self._scene() as scene:
            acted, other, kind = await scene.posted(), await scene.posted(), scene.gravest()
            token = await scene.apply(acted, kind)
            for item in (acted, other):
                await self._stage.delete(item.id)
            with suppress(ItemGone), _only_platform_errors("media"):
                await scene.within("media", scene.platform.media(other))
            _must(
                await self._raised(scene, other, kind) is ItemGone,
                "`apply` must raise ItemGone for a post that was deleted.",
            )
            result = await scene.undo(token)
        fine = {UndoResult.GONE}
        if kind in self._stage.irrevocable:
            fine.add(UndoResult.KEPT_FOR_HUMAN)
        _must(result in fine, f"`undo` of a deleted post returned {result}, not gone.")

    async def _raised(
        self, scene: _Scene, item: Item, kind: ActionKind
    ) -> type[PlatformError] | None:
        try:
            await scene.apply(item, kind)
        except PlatformError as error:
            return type(error)
        return None

    async def _rate_limit(self) -> None:
        async with self._scene() as scene:
            item, kind = await scene.posted(), scene.gravest()
            loop = asyncio.get_running_loop()
            started = loop.time()
            await self._stage.rate_limit(LIMIT_SECONDS)
            await self._patient(scene, item, kind)
            _must(
                loop.time() - started > LIMIT_SECONDS / 2,
                "Nothing was refused: Stage.rate_limit must refuse what `apply` asks.",
            )
            await scene.in_force(item, [kind], f"{kind} is not in force once, after the wait")

    async def _patient(self, scene: _Scene, item: Item, kind: ActionKind) -> None:
        for _ in range(TRIES):
            try:
                await scene.apply(item, kind)
                return
            except RateLimited as limited:
                _must(
                    0 < limited.retry_after <= LONGEST_RETRY_AFTER,
                    f"RateLimited.retry_after is {limited.retry_after:g} where the platform asked"
                    f" for {LIMIT_SECONDS:g} s: read it from the answer.",
                )
                await asyncio.sleep(limited.retry_after)
            except PlatformError as error:
                raise _Broken(
                    f"`apply` raised {type(error).__name__} when the platform asked for patience:"
                    " raise RateLimited with `retry_after`, or let the library wait."
                ) from error
        raise _Broken(f"RateLimited was raised {TRIES} times: `retry_after` is too short.")

    async def _permission(self) -> None:
        async with self._scene() as scene:
            item, kind = await scene.posted(), scene.gravest()
            await self._stage.forbid()
            try:
                raised = await self._raised(scene, item, kind)
            finally:
                await self._stage.allow()
            name = raised.__name__ if raised else "nothing"
            _must(
                raised is PermissionLost,
                f"`apply` raised {name} where the bot may not act: raise PermissionLost.",
            )
            await scene.in_force(item, [], "Something was done without permission")

    async def _lost_answer(self) -> None:
        async with self._scene() as scene:
            item, kind = await scene.posted(), scene.gravest()
            await self._stage.lose_answer()
            raised = await self._raised(scene, item, kind)
            name = raised.__name__ if raised else "nothing"
            _must(
                raised in (None, Unsure),
                f"`apply` raised {name} where no answer came: raise Unsure, since it may be done.",
            )
            token = await scene.apply(item, kind)
            await scene.in_force(
                item, [kind], f"{kind} must be in force once after Unsure and the same key again"
            )
            await self._undone(scene, item, token)

    async def _human(self) -> None:
        async with self._scene() as scene:
            item, kind = await scene.posted(), scene.gravest()
            if kind in self._stage.irrevocable:
                raise _Skipped("The platform's only action is left to people anyhow.")
            token = await scene.apply(item, kind)
            await self._stage.human_acts(item.id)
            left = list(await self._stage.actions(item.id))
            result = await scene.undo(token)
            _must(
                result is UndoResult.KEPT_FOR_HUMAN,
                f"`undo` returned {result} after a person had decided: look who acted last, and"
                " return KEPT_FOR_HUMAN.",
            )
            await scene.in_force(item, left, "`undo` overruled a person")

    async def _notify(self) -> None:
        async with self._scene() as scene:
            if Capability.NOTIFY not in scene.platform.capabilities:
                raise _Skipped("The platform has no way to tell anybody.")
            item = await scene.posted()
            before = len(await self._stage.notices(item.id))
            notice = Notice(subject="Labelled", text="By a machine.", appeal_url=APPEAL_URL)
            with _only_platform_errors("notify"):
                await scene.within("notify", scene.platform.notify(item, notice))
            told = list(await self._stage.notices(item.id))[before:]
        _must(len(told) == 1, f"`notify` told {len(told)} times what is to be told once.")
        _must(
            notice.text in told[0] and APPEAL_URL in told[0],
            f"The notice reads {told[0]!r}: it must hold `text` and `appeal_url`.",
        )


@contextmanager
def _only_platform_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (PlatformError, _Broken):
        raise
    except Exception as error:
        raise _Broken(
            f"`{name}` let {type(error).__name__} out ({error}): raise ItemGone, RateLimited,"
            " PermissionLost, Unsure or PlatformError from it."
        ) from error


def _unforeseen(error: Exception) -> str:
    return f"{type(error).__name__} where none was expected: {error}"


def _kept(value: T) -> T:
    """Return the value as a journal gives it back: written as JSON and read again."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def _action(item: Item, kind: ActionKind) -> Action:
    digest = hashlib.sha256(f"{item.id} {kind}".encode()).hexdigest()
    return Action(
        kind=kind,
        key=digest[:32],
        sha256=digest,
        scan_id="scan_01J00000000000000000000000",
        text="Likely AI; about 1 in 100 real photos like this get this label.",
    )
