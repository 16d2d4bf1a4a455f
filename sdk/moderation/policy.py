"""Policy: what to do about an item, given what is known of its images. Pure.

    (item, looked) --Policy.decide--> Decision --within_law--> Decision
                    rules.py, or yours            |
                                                  what is not sure stops at `report`;
                                                  what cannot be undone is not done

The law holds for every policy, whoever wrote it: an inconclusive verdict, an uncalibrated one and
a declaration that no trusted signature backs may be reported to moderators, and never more; an
all-clear, a failed scan and an overturned verdict are no ground for anything.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple, Protocol

from msgspec import Struct, structs

from sdk.errors import PinclipError
from sdk.wire import AppealState, PointName, Scan, ScanWarning, Status, Verdict

from .platform import ActionKind, Capability, Item, Media

TRUSTED = "trusted"
"""The one `trust` of a declaration on which more than a report may rest."""


class Looked(NamedTuple):
    """One image of an item, and its finished scan or why there is none."""

    media: Media
    result: Scan | PinclipError


class Decision(Struct, frozen=True, kw_only=True):
    """What to do about an item; `action` None is nothing. `scan_id` names the scan it rests on.

    `needs_human` holds the action until a person has agreed.
    """

    action: ActionKind | None = None
    scan_id: str | None = None
    reasons: tuple[str, ...] = ()
    needs_human: bool = False


class Policy(Protocol):
    """Decides; does nothing. The same input gives the same decision."""

    def decide(self, item: Item, looked: Sequence[Looked]) -> Decision:
        """Return what to do about an item, from all of its images."""


class Brake(Struct, frozen=True, kw_only=True):
    """How many actions a bot may take by itself before a person has to say that it may go on."""

    per_10_minutes: int = 5
    per_day: int = 20


class Wording(Struct, frozen=True, kw_only=True):
    """What people are told. {action}, {why}, {rate} and {scan_id} stand for what was found."""

    acted: str = (
        "Your post was {action}: {why} {rate} This can be wrong; if it is, please object and a "
        "person will look."
    )
    undone: str = (
        "Your post was {action} because of a verdict that does not stand any more. That has been "
        "undone; we are sorry."
    )
    appeal_url: str | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """What goes with a policy besides its decisions.

    `policy_id` changes with the policy's text: a report speaks for one policy alone.
    `operating_point` is what the bot's scans are made at. `exempt_authors` are never looked at.
    """

    policy_id: str = ""
    operating_point: PointName = PointName.BALANCED
    exempt_authors: frozenset[str] = frozenset()
    brake: Brake = Brake()
    wording: Wording = Wording()


def ceiling(scan: Scan) -> ActionKind | None:
    """Return the most that may ever be done because of a scan; None: nothing at all."""
    is_overturned = scan.appeal.state is AppealState.OVERTURNED
    if scan.status is not Status.COMPLETED or is_overturned or not scan.input.sha256:
        return None
    if scan.verdict is Verdict.LIKELY_AI:
        return ActionKind.REMOVE if _is_calibrated(scan) else ActionKind.REPORT
    if scan.verdict is Verdict.DECLARED_AI:
        return ActionKind.REMOVE if _is_trusted(scan) else ActionKind.REPORT
    return None if scan.verdict is Verdict.NO_SIGN_OF_AI else ActionKind.REPORT


def within_law(
    decision: Decision, looked: Sequence[Looked], capabilities: Set[Capability]
) -> Decision:
    """Return the decision, or the most of it that the law and the platform allow, and why."""
    if decision.action is None:
        return decision
    scan = find(looked, decision.scan_id)
    most = None if scan is None else ceiling(scan)
    if most is None:
        why = "The scan is no ground for an action: it is missing, failed, clear or overturned."
        return _instead(decision, None, why)
    if decision.action.severity > most.severity:
        why = f"Not {decision.action}: the verdict is not sure enough for more than {most}."
        return within_law(_instead(decision, most, why), looked, capabilities)
    possible = _possible(decision.action, capabilities)
    if possible is decision.action:
        return decision
    return _instead(decision, possible, f"Not {decision.action}: {_lacking(decision.action)}.")


def impossible(kind: ActionKind, capabilities: Set[Capability]) -> str:
    """Return why the platform cannot take an action that it can take back, or nothing."""
    return "" if _possible(kind, capabilities) is kind else _lacking(kind)


def find(looked: Sequence[Looked], scan_id: str | None) -> Scan | None:
    """Return the scan of that id, if it is among these."""
    scans = (each.result for each in looked if isinstance(each.result, Scan))
    return next((scan for scan in scans if scan.id == scan_id), None)


def _is_calibrated(scan: Scan) -> bool:
    point = scan.operating_point
    is_measured = point is not None and point.expected_false_alarm_rate is not None
    return is_measured and ScanWarning.UNCALIBRATED_SLICE not in scan.warnings


def _is_trusted(scan: Scan) -> bool:
    return scan.declaration is not None and scan.declaration.trust == TRUSTED


def _possible(wanted: ActionKind, capabilities: Set[Capability]) -> ActionKind | None:
    """Return the gravest action, up to the one wanted, that the platform can take."""
    for kind in reversed(list(ActionKind)[: wanted.severity + 1]):
        may_restore = kind is not ActionKind.REMOVE or Capability.RESTORE in capabilities
        if Capability(kind.value) in capabilities and may_restore:
            return kind
    return None


def _lacking(kind: ActionKind) -> str:
    if kind is ActionKind.REMOVE:
        return "the platform cannot remove and restore"
    return f"the platform has no {kind}"


def _instead(decision: Decision, action: ActionKind | None, why: str) -> Decision:
    return structs.replace(decision, action=action, reasons=(*decision.reasons, why))
