"""What the runner does next: how far to go, whether at all, and when to look again. Pure.

    Decision + Mode      --planned-->  would | waiting | intended
    what was decided     --may_plan--> is there anything new to do?
    what was done lately --braked-->   why one more would be too many
    age of an action     --pace-->     seconds until its scans are asked about again
                         --patience--> seconds until it is tried again
    scans then and now   --fallen-->   why the action has no ground any more

Decides about what it is given; asks nobody and writes nothing down.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdk.errors import PinclipError
from sdk.wire import AppealState, Scan

from .journal import IN_FORCE, Entry, Mode, Seen, State
from .platform import Action, ActionKind
from .policy import Brake, Decision, Looked
from .report import DAY_SECONDS

SETTLED = (State.REJECTED, State.UNDONE, State.KEPT)
"""States in which somebody has said that an image is no ground for an action."""
YOUNG_SECONDS = 3600.0
WATCHED_DAYS = 30
RETRY_SECONDS = 300.0
"""When what the platform gave no answer to is tried again."""


def planned(decision: Decision, mode: Mode) -> State:
    """Return how far a decision goes in this mode, the brake apart."""
    if mode is Mode.OBSERVE:
        return State.WOULD
    if mode is Mode.REVIEW or decision.needs_human:
        return State.WAITING
    return State.INTENDED


def unsettled(looked: Sequence[Looked], entries: Sequence[Entry]) -> list[Looked]:
    """Return the images of an item that nobody has said to be no ground for an action."""
    settled = {entry.action.sha256 for entry in entries if entry.state in SETTLED}
    return [
        each
        for each in looked
        if not isinstance(each.result, Scan) or each.result.input.sha256 not in settled
    ]


def may_plan(action: Action, entries: Sequence[Entry]) -> bool:
    """Tell if something new is to be done to an item, given what was decided before.

    Not where the same was decided because of the same image, nor where as much is done already.
    """
    for entry in entries:
        if entry.action.key == action.key and entry.state is not State.WOULD:
            return False
        if entry.state in IN_FORCE and entry.action.kind.severity >= action.kind.severity:
            return False
    return True


def braked(brake: Brake, *, in_10_minutes: int, in_a_day: int) -> str:
    """Return why one more action would be too many, or nothing."""
    if in_10_minutes >= brake.per_10_minutes:
        return f"{in_10_minutes} actions in 10 minutes; the brake allows {brake.per_10_minutes}"
    if in_a_day >= brake.per_day:
        return f"{in_a_day} actions in a day; the brake allows {brake.per_day}"
    return ""


def pace(age_seconds: float) -> float:
    """Return how long to wait before a scan is looked at again: most appeals come early.

    Infinite in the end: from then on only the server's events tell.
    """
    if age_seconds < YOUNG_SECONDS:
        return 30.0
    if age_seconds < DAY_SECONDS:
        return 600.0
    return DAY_SECONDS / 4 if age_seconds < WATCHED_DAYS * DAY_SECONDS else float("inf")


def patience(age_seconds: float) -> float:
    """Return how long to wait before an action is tried again that was perhaps taken."""
    return min(max(age_seconds, RETRY_SECONDS), DAY_SECONDS)


def fallen(
    entry: Entry, seen: Seen, fresh: Sequence[Looked], decision: Decision, *, ground: Scan
) -> str:
    """Return why an action has no ground any more, or nothing.

    `seen` and `fresh` are the item as it was looked at last, then and now; `ground` is the scan now
    that the action rests on. A policy that was changed since is no reason, nor is an image that
    could not be looked at.
    """
    action = entry.action
    if _supports(decision, action.kind):
        return ""
    pairs = [(old.result, new.result) for old, new in zip(seen.looked, fresh, strict=True)]
    pairs.append((entry.scan, ground))
    if change := next(filter(None, (_changed(old, new) for old, new in pairs)), ""):
        return change
    if seen.item.revision == entry.item.revision or _supports(seen.decision, action.kind):
        return ""
    scans = [each.result for each in fresh if isinstance(each.result, Scan)]
    is_there = any(scan.input.sha256 == action.sha256 for scan in scans)
    is_known = len(scans) == len(fresh)
    return "the image is not in the post any more" if is_known and not is_there else ""


def _supports(decision: Decision, kind: ActionKind) -> bool:
    return decision.action is not None and decision.action.severity >= kind.severity


def _is_overturned(scan: Scan) -> bool:
    return scan.appeal.state is AppealState.OVERTURNED


def _changed(old: Scan | PinclipError, new: Scan | PinclipError) -> str:
    if not isinstance(old, Scan) or not isinstance(new, Scan):
        return ""
    if (old.verdict, _is_overturned(old)) == (new.verdict, _is_overturned(new)):
        return ""  # an appeal that is open, or was turned down, has changed nothing
    before, after = old.verdict, new.verdict
    return f"scan {old.id} was {before}, now {new.id} is {after} (appeal: {new.appeal.state})"
