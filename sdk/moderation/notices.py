"""What people are told of an action, and of its end: what, why, how often that is wrong. Pure.

action_text(scan)            one sentence for Action.text: what the platform's log shows
acted(kind, scan, wording)   the Notice to the author of a post
undone(kind, scan, wording)  the Notice that it was taken back
"""

from __future__ import annotations

from collections.abc import Mapping

from sdk.commands.words import rate_in_words
from sdk.wire import Scan, Verdict

from .platform import ActionKind, Notice
from .policy import Wording

DONE = {
    ActionKind.REPORT: "reported to the moderators",
    ActionKind.LABEL: "labelled as likely made by AI",
    ActionKind.QUARANTINE: "put aside until a moderator has looked at it",
    ActionKind.REMOVE: "removed",
}
"""What was done to a post, as its author reads it."""

_WHY: Mapping[Verdict, str] = {
    Verdict.LIKELY_AI: "an image in it is likely made by AI.",
    Verdict.DECLARED_AI: "an image in it says of itself that AI made it.",
}
_UNSURE = "it could not be told whether an image in it is made by AI."


def action_text(scan: Scan) -> str:
    """Return in a sentence or two why something is done because of a scan."""
    said = _WHY.get(scan.verdict or Verdict.INCONCLUSIVE, _UNSURE)
    return f"pinclip: {said} {rate(scan)} Scan {scan.id}.".replace("  ", " ")


def acted(kind: ActionKind, scan: Scan, wording: Wording) -> Notice:
    """Return what the author of a post is told when something was done to it."""
    return Notice(
        subject=f"Your post was {DONE[kind]}",
        text=_filled(wording.acted, kind, scan),
        appeal_url=_appeal_url(kind, scan, wording),
    )


def undone(kind: ActionKind, scan: Scan, wording: Wording) -> Notice:
    """Return what the author of a post is told when an action was taken back."""
    return Notice(
        subject="What was done to your post has been undone",
        text=_filled(wording.undone, kind, scan),
        is_undo=True,
    )


def rate(scan: Scan) -> str:
    """Say how often such a verdict is wrong, as far as that was measured."""
    if scan.verdict is Verdict.DECLARED_AI:
        return "That is what the file declares, and not a guess."
    point = scan.operating_point
    if point is None or point.expected_false_alarm_rate is None or point.n < 1:
        return "How often that is wrong was not measured."
    words = rate_in_words(point.expected_false_alarm_rate, point.n)
    return f"Of such images that people made, {words} get this verdict all the same."


def _filled(text: str, kind: ActionKind, scan: Scan) -> str:
    return text.format(**_facts(kind, scan))


def _facts(kind: ActionKind, scan: Scan) -> dict[str, str]:
    return {
        "action": DONE[kind],
        "why": _WHY.get(scan.verdict or Verdict.INCONCLUSIVE, _UNSURE),
        "rate": rate(scan),
        "scan_id": scan.id,
    }


def _appeal_url(kind: ActionKind, scan: Scan, wording: Wording) -> str | None:
    return None if wording.appeal_url is None else _filled(wording.appeal_url, kind, scan)
