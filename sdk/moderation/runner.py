"""Runner: looks at what is posted, does what the policy says, and takes back what did not hold.

    follow   items --exempt?--media--> Looker --scans--> policy, law --planned--> journal.record
                                                                                    | intended
    mend     what is intended: apply      what is to be undone: undo      who is to be told: notify
    watch    scans of actions in force, young ones often --no longer supported--> journal.fall
    handle   the server's events: the same, at once

Modes: `observe` does nothing, `review` asks a person for each action, `enforce` acts, under a
brake. Whatever goes wrong leads to less being done: no server, no verdict, no permission, too many
actions. Nothing is done that was not written down before, and nothing that was written down is
forgotten (see journal.py); what was perhaps done is asked for again, under the same key, until it
is known. The platform is asked for one thing at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sdk.commands.words import printable
from sdk.errors import NotFoundError, PinclipError
from sdk.wire import Event, Scan

from . import notices
from .choices import RETRY_SECONDS, braked, fallen, may_plan, pace, patience, planned, unsettled
from .clock import SystemClock
from .journal import (
    Entry,
    Journal,
    JournalError,
    Mode,
    Outcome,
    Seen,
    Stance,
    State,
    key_of,
)
from .looking import KEY_REFUSED, Looker, wait_for
from .platform import (
    Action,
    ActionKind,
    Capability,
    Item,
    ItemGone,
    PermissionLost,
    Platform,
    PlatformError,
    RateLimited,
    Relay,
    UndoResult,
    Unsure,
)
from .policy import Decision, Looked, Policy, Terms, ceiling, find, impossible, within_law
from .report import DAY_SECONDS, may_enforce
from .sound import line, reason, sound_decision, sound_item, sound_media, sound_token

if TYPE_CHECKING:
    from sdk import AsyncClient

T = TypeVar("T")
R = TypeVar("R", bound=Scan | PinclipError)
log = logging.getLogger("pinclip.bot")

MEND_SECONDS = 1.0
WATCH_SECONDS = 10.0
TRIES = 4
"""Times that a platform is asked for a thing before it is left for later, or given up."""
FIRST_PAUSE_SECONDS = 1.0
ANSWER_SECONDS = 600.0
"""How long a platform may take for one thing, with all that its library waits and tries again."""
REOPEN_SECONDS = 5.0
HOUR_SECONDS = 3600.0
FRESH_SECONDS = 60.0
"""How long a scan is taken to hold without asking again."""
BRAKE_SECONDS = 600.0
KEPT_DAYS = 60
"""How long items are kept on which nothing was done."""
SHOWN_LETTERS = 500
"""Most of a value that a line of the log has."""

_ENDS = {
    UndoResult.UNDONE: State.UNDONE,
    UndoResult.GONE: State.GONE,
    UndoResult.KEPT_FOR_HUMAN: State.KEPT,
}


class EnforceRefused(PinclipError):
    """The bot may not act by itself yet: nobody has seen what it would do."""

    code = "enforce_refused"


class _Stopped(Exception):
    """The bot was asked to stop while it waited."""


class Runner:
    """One bot on one platform. `journal` is held by it (`journal.hold`) while it runs.

    `mode` is what is wanted; None takes what the journal has. A bot that fell back to `observe`
    stays there, whatever is wanted, until a person says otherwise (`pinclip bot mode enforce`).
    Raises EnforceRefused for a policy of which no report was read.
    """

    def __init__(
        self,
        platform: Platform,
        policy: Policy,
        client: AsyncClient,
        journal: Journal,
        *,
        mode: Mode | str | None = Mode.OBSERVE,
        terms: Terms | None = None,
        clock: SystemClock | None = None,
    ) -> None:
        self._platform = platform
        self._policy = policy
        self._journal = journal
        self._terms = terms or Terms()
        self._clock = clock or SystemClock()
        self._stop = asyncio.Event()
        self._acting = asyncio.Lock()
        self._unsure: set[str] = set()
        self._forgot_at = 0.0
        self._is_other_told = False
        self._looker = Looker(client, sleep=self._sleep, tell=self._tell_of_pause)
        if mode is None:
            mode = journal.stance().mode
        enter(journal, Mode(mode), policy_id=self._terms.policy_id, now=self._clock.now())

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Work until `stop` is set, or until the platform has no more items.

        Raises JournalError, AuthenticationError or PermissionDeniedError: what nothing can be done
        about here. No item is lost by it.
        """
        if not self._journal.is_held:
            raise JournalError(
                f"The journal {self._journal.path} is not held, so that two bots could act by it.",
                hint="Call journal.hold(name of the platform) before run.",
            )
        self._stop = stop or self._stop
        self._forget()
        _say("started", mode=self._journal.stance().mode, cursor=self._journal.cursor or "none")
        beside = [self._every(MEND_SECONDS, self.mend), self._every(WATCH_SECONDS, self.watch)]
        if isinstance(self._platform, Relay):
            beside.append(self._hear(self._platform))
        with suppress(_Stopped):
            await self.mend()
            await _first(self._follow(), beside)
            await self.mend()
        _say("stopped", cursor=self._journal.cursor or "none")

    async def take(self, item: Item) -> None:
        """Look at an item, decide, write it down, and do what is to be done."""
        try:
            item = sound_item(item)
        except Exception as error:
            # It has no id to be known by, or would spoil the journal.
            _say("not_an_item", logging.ERROR, error=reason(error))
            return
        if self._journal.knows(item):
            return
        seen = await self._seen(item)
        action, state = self._plan(seen)
        self._journal.record(seen, action=action, state=state)
        _say("item", item=item.id, outcome=seen.outcome, **_what(seen, action, state))
        if action is not None and state is State.INTENDED:
            await self._finish(action.key)
            await self._tell_all()

    async def mend(self) -> None:
        """Do what is written down and not done: apply, undo, tell."""
        await self.finish([e.action.key for e in self._journal.unfinished(self._clock.now())])

    async def finish(self, keys: Sequence[str]) -> None:
        """Do what is written down of these actions, due or not, and of no other; then tell."""
        for key in keys:
            await self._finish(key)
        await self._tell_all()

    async def watch(self) -> None:
        """Ask again about the scans of actions in force that are due."""
        if abs(self._clock.now() - self._forgot_at) > DAY_SECONDS:
            self._forget()
        for entry in self._journal.due(self._clock.now()):
            await self._reconsider(entry)

    async def handle(self, event: Event) -> bool:
        """Take back what an event of the server shows not to hold; False if it is not ours.

        Call it with every scan.verdict_changed and appeal.decided; the same one twice does no harm.
        """
        about = _scans_of(event)
        entries = {
            entry.action.key: entry for scan in about for entry in self._journal.of_scan(scan)
        }
        for entry in entries.values():
            await self._reconsider(entry)
        return bool(entries)

    def _forget(self) -> None:
        self._forgot_at = self._clock.now()
        self._journal.forget(self._forgot_at - KEPT_DAYS * DAY_SECONDS)

    # Following items.

    async def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                await self._take_all()
            except PlatformError as error:
                await self._after_fault(error)
            else:
                return

    async def _take_all(self) -> None:
        feed = self._platform.items(self._journal.cursor)
        try:
            while (item := await self._next(feed)) is not None:
                await self.take(item)
        finally:
            close = getattr(feed, "aclose", None)  # an iterator that is no generator has none
            if close is not None:
                await close()

    async def _next(self, feed: AsyncIterator[Item]) -> Item | None:
        """Return the next item; None when there are no more, or the bot is to stop."""
        try:
            return await self._unless_stopped(_after(feed))
        except PlatformError:
            raise
        except Exception as error:  # a fault of the adapter, which may do better when begun again
            log.exception("the adapter failed to list items")
            raise PlatformError(f"Items cannot be read: {reason(error)}") from error

    async def _after_fault(self, error: PlatformError) -> None:
        seconds = REOPEN_SECONDS
        if isinstance(error, RateLimited):
            seconds = wait_for(error.retry_after)
        if isinstance(error, PermissionLost):
            self._fall_back(f"permission lost: {error}")
            seconds = RETRY_SECONDS
        _say("platform_away", logging.WARNING, seconds=seconds, error=error)
        await self._sleep(seconds)

    async def _seen(self, item: Item) -> Seen:
        """Return what there is to see of an item. Whatever the adapter does, the run goes on."""
        try:
            outcome, looked = await self._look(item)
            decision = self._decide(item, looked)
        except (_Stopped, JournalError, *KEY_REFUSED):
            raise
        except ItemGone as error:
            return self._unseen(item, Outcome.GONE, error)
        except PlatformError as error:
            if isinstance(error, PermissionLost):
                self._fall_back(f"permission lost: {error}")
            return self._unseen(item, Outcome.FAILED, error)
        except Exception as error:
            log.exception("the adapter or the policy failed item=%s", _shown(item.id))
            return self._unseen(item, Outcome.FAILED, error)
        return Seen(
            item=item,
            outcome=outcome,
            why="",
            at=self._clock.now(),
            decision=decision,
            looked=tuple(looked),
        )

    async def _look(self, item: Item) -> tuple[Outcome, list[Looked]]:
        is_spared = item.author is not None and item.author in self._terms.exempt_authors
        if is_spared or await self._asked(lambda: self._platform.exempt(item)):
            return Outcome.EXEMPT, []
        media = sound_media(await self._asked(lambda: self._platform.media(item)))
        if not media:
            return Outcome.NO_IMAGE, []
        context = {"platform": self._journal.platform or "", "item_id": item.id}
        looked = await self._unless_stopped(self._looker.look(media, context=context))
        if looked is None:
            raise _Stopped
        return Outcome.LOOKED, looked

    def _unseen(self, item: Item, outcome: Outcome, error: Exception) -> Seen:
        return Seen(
            item=item,
            outcome=outcome,
            why=reason(error),
            at=self._clock.now(),
            decision=Decision(),
        )

    def _decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
        grounds = unsettled(looked, self._journal.of_item(item.id))
        decision = self._policy.decide(item, grounds) if grounds else Decision()
        return within_law(sound_decision(decision), grounds, self._platform.capabilities)

    def _plan(self, seen: Seen) -> tuple[Action | None, State]:
        """Return the action that the decision asks for, and how far to go with it."""
        scan = find(seen.looked, seen.decision.scan_id)
        if seen.decision.action is None or scan is None:
            return None, State.WOULD
        action = _action(seen.item, scan, seen.decision.action)
        if not may_plan(action, self._journal.of_item(seen.item.id)):
            return None, State.WOULD
        state = planned(seen.decision, self._mode())
        if state is State.INTENDED and (why := self._braked()):
            self._fall_back(why)
            state = State.WOULD
        return action, state

    def _mode(self) -> Mode:
        """Return how far to go. `enforce` is meant of the policy that was reported of, no other."""
        stance = self._journal.stance()
        if stance.mode is not Mode.ENFORCE or stance.policy_id == self._terms.policy_id:
            return stance.mode
        if not self._is_other_told:
            self._is_other_told = True
            what = "what may be enforced is not what this bot runs with: start it anew"
            _say("other_policy", logging.ERROR, why=what)
        return Mode.OBSERVE

    def _braked(self) -> str:
        """Return why the bot must not act by itself now, or nothing."""
        # A person who says `enforce` again starts the count anew.
        now, since = self._clock.now(), self._journal.stance().since
        if since > now:  # the clock was put back: everything counts
            since = 0.0
        return braked(
            self._terms.brake,
            in_10_minutes=self._journal.acted_since(max(now - BRAKE_SECONDS, since)),
            in_a_day=self._journal.acted_since(max(now - DAY_SECONDS, since)),
        )

    def _fall_back(self, why: str) -> None:
        """Leave off acting until a person says otherwise."""
        stance = self._journal.stance()
        if stance.fell_back:
            return
        now, why = self._clock.now(), line(why)
        fallen = msgspec.structs.replace(stance, mode=Mode.OBSERVE, since=now, fell_back=why)
        self._journal.take_stance(fallen, event="fell_back")
        _say("fell_back", logging.CRITICAL, why=why)
        log.critical(
            "The bot acts no more, and only observes. Look at what it did (`pinclip bot report`), "
            "then say `pinclip bot mode %s` to let it go on.",
            stance.mode,
        )

    # Doing, and undoing, what is written down.

    async def _finish(self, key: str) -> None:
        """Do what the journal says of an action, as it is when its turn has come."""
        async with self._acting:
            entry = self._journal.entry(key)
            if entry is None:
                return
            if entry.state is State.INTENDED:
                await self._guarded(entry, self._apply)
            elif entry.state is State.UNDOING:
                await self._guarded(entry, self._undo)

    async def _guarded(self, entry: Entry, act: Callable[[Entry], Awaitable[None]]) -> None:
        """Act, and write down what kept the platform from it."""
        try:
            await act(entry)
        except (_Stopped, JournalError):
            raise
        except ItemGone as error:
            now = self._clock.now()
            self._journal.end(entry.action.key, State.GONE, at=now, why=reason(error))
        except Exception as error:
            if isinstance(error, PermissionLost):
                self._fall_back(f"permission lost: {error}")
            elif not isinstance(error, PlatformError):
                log.exception("the adapter failed item=%s", _shown(entry.item.id))
            self._not_done(entry, error)

    def _not_done(self, entry: Entry, error: Exception) -> None:
        """Leave off an action that was refused; go on with one that was perhaps taken, always."""
        key, now, why = entry.action.key, self._clock.now(), reason(error)
        is_refusal = isinstance(error, PlatformError) and not isinstance(error, Unsure)
        if entry.state is State.UNDOING:
            self._journal.later(key, at=now + RETRY_SECONDS, why=why)
        elif entry.is_tried or key in self._unsure or not is_refusal:
            self._journal.later(key, at=now + patience(now - entry.decided_at), why=why)
        elif isinstance(error, PermissionLost):
            self._journal.hold_back(key, why=why)
        else:
            self._journal.end(key, State.FAILED, at=now, why=why)
        _say("failed", logging.ERROR, item=entry.item.id, action=entry.action.kind, why=why)

    async def _apply(self, entry: Entry) -> None:
        key, is_told = entry.action.key, self._may_tell(entry)
        if not entry.is_tried and (why := await self._lapsed(entry)):
            raise PlatformError(f"Not {entry.action.kind}: {why}.")
        self._journal.begin(key)
        given = await self._asked(lambda: self._platform.apply(entry.item, entry.action), key=key)
        token, now = sound_token(given), self._clock.now()
        self._journal.applied(key, token, at=now, look_at=now + pace(0.0), is_told=is_told)
        self._unsure.discard(key)
        _say("applied", item=entry.item.id, action=entry.action.kind, key=entry.action.key)

    async def _lapsed(self, entry: Entry) -> str:
        """Return why an action that was planned must not be taken any more, or nothing.

        One that waited, for a person or for a bot, may rest on what has been overturned since.
        """
        kind = entry.action.kind
        if why := impossible(kind, self._platform.capabilities):
            return why
        if self._clock.now() - entry.decided_at < FRESH_SECONDS:
            return ""
        scan = await self._fresh(entry.scan)
        most = ceiling(scan)
        is_enough = most is not None and most.severity >= kind.severity
        return "" if is_enough else f"scan {scan.id} is {scan.verdict} now"

    async def _undo(self, entry: Entry) -> None:
        token = entry.token
        if token is None:
            raise PlatformError("There is no token to undo this action by.")
        result = await self._asked(lambda: self._platform.undo(token))
        is_told = result is UndoResult.UNDONE and self._may_tell(entry)
        now = self._clock.now()
        self._journal.end(entry.action.key, _ENDS[result], at=now, is_told=is_told)
        _say("undone", item=entry.item.id, action=entry.action.kind, result=result, why=entry.why)

    def _may_tell(self, entry: Entry) -> bool:
        """Tell if the author is to hear of it: not of a report, which changes nothing to see."""
        is_seen = entry.action.kind is not ActionKind.REPORT
        return is_seen and Capability.NOTIFY in self._platform.capabilities

    async def _tell_all(self) -> None:
        """Tell those who are to be told, each once; who cannot be told does not hold up the rest.

        A bot that is killed while it tells somebody tells them again.
        """
        async with self._acting:
            for entry in self._journal.unread():
                await self._notify(entry)

    async def _notify(self, entry: Entry) -> None:
        is_undo = entry.state is State.UNDONE
        write = notices.undone if is_undo else notices.acted
        try:
            notice = write(entry.action.kind, entry.scan, self._terms.wording)
            # A notice has no key: where no answer came, a second one might be one too many.
            await self._asked(lambda: self._platform.notify(entry.item, notice), is_keyed=False)
        except (_Stopped, JournalError):
            raise
        except Exception as error:
            _say("not_told", logging.WARNING, item=entry.item.id, error=error)
        self._journal.told(entry.action.key)

    async def _asked(
        self, ask: Callable[[], Awaitable[T]], *, key: str = "", is_keyed: bool = True
    ) -> T:
        """Ask the platform, as long as it wants to be waited for, and a few times in trouble.

        Raises what it raised last. The same key makes it safe to ask again; what is done under none
        is asked for again only where the platform did refuse it.
        """
        tries, pause = 0, FIRST_PAUSE_SECONDS
        while True:
            try:
                return await _answered(ask)
            except RateLimited as error:
                _say("rate_limited", seconds=error.retry_after)
                await self._sleep(wait_for(error.retry_after))
            except (ItemGone, PermissionLost):
                raise
            except PlatformError as error:
                tries += 1
                if isinstance(error, Unsure):
                    self._unsure.add(key)
                if tries >= TRIES or (isinstance(error, Unsure) and not is_keyed):
                    raise
                await self._sleep(pause)
                pause *= 2

    # Looking again at what was done.

    async def _reconsider(self, entry: Entry) -> None:
        """Have an action undone if what is known now supports it no longer."""
        now = self._clock.now()
        age = now - (entry.acted_at or entry.decided_at)
        seen = self._journal.newest(entry.item.id, is_looked_at=True)
        if seen is None:
            self._journal.look_again(entry.action.key, at=float("inf"))
            return
        try:
            fresh = [await self._fresh(each.result) for each in seen.looked]
            looked = [Looked(old.media, new) for old, new in zip(seen.looked, fresh, strict=True)]
            ground = await self._ground(entry, seen)
            decision = self._decide(entry.item, looked)
        except Exception as error:  # the server is away, or the policy broke: next time, then
            self._journal.look_again(entry.action.key, at=now + min(pace(age), HOUR_SECONDS))
            _say("not_looked_again", logging.WARNING, item=entry.item.id, error=error)
            return
        why = fallen(entry, seen, looked, decision, ground=ground)
        if why:
            self._journal.fall(entry.action.key, why=why, fresh=looked, at=now)
            await self._finish(entry.action.key)
            await self._tell_all()
        else:
            self._journal.look_again(entry.action.key, at=now + pace(age))

    async def _ground(self, entry: Entry, seen: Seen) -> Scan:
        """Return what an action rests on as it is now, where the item as it was seen lacks it."""
        is_among = find(seen.looked, entry.scan.id) is not None
        return entry.scan if is_among else await self._fresh(entry.scan)

    async def _fresh(self, result: R) -> R | Scan:
        """Return a scan as it is now; one that was erased, or is none, is as it was."""
        if isinstance(result, Scan):
            with suppress(NotFoundError):
                return await self._looker.again(result)
        return result

    async def _hear(self, relay: Relay) -> None:
        """Handle the server's events. What is not heard of is found by asking, only later."""
        with suppress(_Stopped):
            while True:
                try:
                    async for event in relay.events():
                        await self.handle(event)
                except (_Stopped, JournalError):
                    raise
                except Exception:
                    log.exception("events of the server are not heard")
                await self._sleep(REOPEN_SECONDS)

    # Time.

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        with suppress(_Stopped):
            while True:
                await self._sleep(seconds)
                await work()

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the bot is to stop; raises _Stopped."""
        await self._unless_stopped(self._clock.sleep(seconds))
        if self._stop.is_set():
            raise _Stopped

    async def _unless_stopped(self, work: Awaitable[T]) -> T | None:
        """Return what the work returns, or None once the bot is to stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await _end(task, stopped)

    def _tell_of_pause(self, error: PinclipError, seconds: float) -> None:
        _say("server_away", logging.WARNING, seconds=seconds, error=error)


def enter(journal: Journal, mode: Mode, *, policy_id: str, now: float, by: str = "") -> Stance:
    """Put a mode in force if that is allowed, and return what is in force now.

    Without `by`, the name of a person, a bot that fell back stays where it is. Raises
    EnforceRefused.
    """
    current = journal.stance()
    if current.fell_back and not by:
        _say("fell_back", logging.CRITICAL, why=current.fell_back)
        return current
    is_same = (mode, policy_id) == (current.mode, current.policy_id)
    if mode is Mode.ENFORCE and not is_same:
        fault = may_enforce(journal.report_made(policy_id), now=now)
        if fault is not None:
            raise EnforceRefused("The bot may not enforce", hint=fault)
    if not is_same or current.fell_back:
        current = Stance(mode=mode, policy_id=policy_id, since=now)
        journal.take_stance(current)
    return current


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await ask()
    except TimeoutError:
        raise Unsure(f"The platform gave no answer within {ANSWER_SECONDS:g} s.") from None


def _action(item: Item, scan: Scan, kind: ActionKind) -> Action:
    digest = scan.input.sha256 or ""
    return Action(
        kind=kind,
        key=key_of(item.id, digest, kind),
        sha256=digest,
        scan_id=scan.id,
        text=notices.action_text(scan),
    )


def _scans_of(event: Event) -> set[str]:
    data = event.data
    found = set() if data.appeal is None else {data.appeal.scan_id}
    if data.scan is not None:
        found |= {data.scan.id, data.scan.rescore_of or data.scan.id}
    return found


def _what(seen: Seen, action: Action | None, state: State) -> dict[str, object]:
    told: dict[str, object] = {"why": seen.why} if seen.why else {}
    if action is not None:
        told |= {"action": action.kind, "state": state, "scan": action.scan_id}
    failed = sum(not isinstance(each.result, Scan) for each in seen.looked)
    return told | ({"failed_images": failed} if failed else {})


def _say(event: str, level: int = logging.INFO, /, **what: object) -> None:
    """Log one line: what happened, and what of it matters. Strangers wrote some of it."""
    told = " ".join(f"{name}={_shown(value)}" for name, value in what.items())
    log.log(level, "%s %s", event, told)


def _shown(value: object) -> str:
    text = printable(str(value)[:SHOWN_LETTERS])
    return f'"{text}"' if " " in text or not text else text


async def _after(feed: AsyncIterator[Item]) -> Item | None:
    try:
        return await anext(feed)
    except StopAsyncIteration:
        return None


async def _first(main: Awaitable[None], beside: Sequence[Awaitable[None]]) -> None:
    """Return when the main work is done; what runs beside it is ended. Raises what any raises."""
    tasks = [asyncio.ensure_future(main), *(asyncio.ensure_future(each) for each in beside)]
    try:
        waiting = set(tasks)
        while not tasks[0].done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        await _end(*tasks)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
