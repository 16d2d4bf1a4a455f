"""Report: what a bot saw, what a policy would do about it, and how often that would be wrong. Pure.

    seen items --Policy.decide, within_law--> Case, Case...  --> Report --> lines for people
                                                              `--> may_enforce

Everything is decided again from the scans on record, so a report speaks of the policy it is given,
and not of the one that was in force when the items came. A bot may enforce a policy only once a
person has had a report of that very policy, over enough items, not long ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Set

from msgspec import Struct

from sdk.commands.words import printable
from sdk.wire import Scan, Verdict

from .journal import Made, Outcome, Seen
from .platform import Capability
from .policy import Decision, Policy, find, within_law

DAY_SECONDS = 86_400.0
REPORT_DAYS = 30
"""How old items may be that a report is about, and how old a report on which enforcing rests."""
REPORT_ITEMS = 200
"""Items with a finished scan below which a report shows too little to enforce by."""
SHOWN_CASES = 20


class Case(Struct, frozen=True, kw_only=True):
    """One item about which something would be done."""

    item_id: str
    url: str | None
    author: str | None
    action: str
    needs_human: bool
    verdict: str
    scan_id: str
    reasons: tuple[str, ...]


class Report(Struct, frozen=True, kw_only=True):
    """What was seen since a time (Unix seconds), and what the policy would do about it.

    `items` counts those of which at least one image has a scan. `expected_false_accusations` is how
    many of these images would be called AI by mistake if people had made every one of them: the
    measured rates, added up. It bounds the mistakes from above.
    """

    policy_id: str
    since: float
    until: float
    items: int
    outcomes: dict[str, int]
    images: int
    verdicts: dict[str, int]
    failed_images: int
    actions: dict[str, int]
    needs_human: int
    rated_images: int
    expected_false_accusations: float
    at_most_false_accusations: float
    cases: tuple[Case, ...]


class _Tally:
    """What is counted while items go by."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()
        self.items = self.failed = self.rated = 0
        self.expected = self.at_most = 0.0
        self.cases: list[Case] = []

    def scan(self, scan: Scan) -> None:
        self.verdicts[(scan.verdict or Verdict.INCONCLUSIVE).value] += 1
        point = scan.operating_point
        if point is not None and point.expected_false_alarm_rate is not None:
            self.rated += 1
            self.expected += point.expected_false_alarm_rate
            self.at_most += (point.ci95 or (0.0, point.expected_false_alarm_rate))[1]

    def decided(self, seen: Seen, decision: Decision) -> None:
        scan = find(seen.looked, decision.scan_id)
        if decision.action is None or scan is None:
            self.actions["nothing"] += 1
            return
        self.actions[decision.action.value] += 1
        self.cases.append(
            Case(
                item_id=seen.item.id,
                url=seen.item.url,
                author=seen.item.author,
                action=decision.action.value,
                needs_human=decision.needs_human,
                verdict=(scan.verdict or Verdict.INCONCLUSIVE).value,
                scan_id=scan.id,
                reasons=decision.reasons,
            )
        )


def make_report(
    items: Iterable[Seen],
    policy: Policy,
    *,
    policy_id: str,
    capabilities: Set[Capability] = frozenset(Capability),
    since: float,
    until: float,
) -> Report:
    """Return what `policy` would do about these items, each of which comes once."""
    tally = _Tally()
    for seen in items:
        tally.outcomes[seen.outcome.value] += 1
        if seen.outcome is not Outcome.LOOKED:
            continue
        tally.items += any(isinstance(each.result, Scan) for each in seen.looked)
        for each in seen.looked:
            if isinstance(each.result, Scan):
                tally.scan(each.result)
            else:
                tally.failed += 1
        decision = within_law(policy.decide(seen.item, seen.looked), seen.looked, capabilities)
        tally.decided(seen, decision)
    return Report(
        policy_id=policy_id,
        since=since,
        until=until,
        items=tally.items,
        outcomes=dict(tally.outcomes),
        images=tally.verdicts.total() + tally.failed,
        verdicts=dict(tally.verdicts),
        failed_images=tally.failed,
        actions=dict(tally.actions),
        needs_human=sum(case.needs_human for case in tally.cases),
        rated_images=tally.rated,
        expected_false_accusations=round(tally.expected, 2),
        at_most_false_accusations=round(tally.at_most, 2),
        cases=tuple(tally.cases),
    )


def may_enforce(made: Made | None, *, now: float) -> str | None:
    """Return None if a bot may enforce the policy of this report, else why not, and what to do."""
    wait = (
        f"Let it observe until it has looked at {REPORT_ITEMS} items, read what "
        "`pinclip bot report` says of this policy, then try again."
    )
    if made is None:
        return f"Nobody has had a report of this policy yet. {wait}"
    if made.items < REPORT_ITEMS:
        return (
            f"The report of this policy is about {made.items} items; {REPORT_ITEMS} are needed. "
            f"{wait}"
        )
    days = (now - made.at) / DAY_SECONDS
    if days < -1:
        return (
            f"The report of this policy is dated {-days:.0f} days ahead: the clock was wrong then, "
            "or is now. Set it right, and have a report again."
        )
    if days > REPORT_DAYS:
        return f"The report of this policy is {days:.0f} days old. {wait}"
    return None


def lines(report: Report) -> Iterator[str]:
    """Yield the lines that tell a person what a report found."""
    skipped = {name: n for name, n in report.outcomes.items() if name != Outcome.LOOKED}
    yield f"items looked at: {report.items}{_brackets(skipped)}"
    yield f"images: {report.images}{_brackets(report.verdicts, failed=report.failed_images)}"
    yield f"would have done: {_counts(report.actions) or 'nothing'}"
    if report.needs_human:
        yield f"of these a person would be asked about: {report.needs_human}"
    yield (
        "if people had made every one of these images, about "
        f"{report.expected_false_accusations:g} (at most {report.at_most_false_accusations:g}) of "
        f"{report.rated_images} would be called AI by mistake"
    )
    for case in report.cases[:SHOWN_CASES]:
        where = case.url or case.item_id
        why = " ".join(case.reasons)
        yield printable(f"  {case.action}: {where} ({case.verdict}, {case.scan_id}) {why}")
    if len(report.cases) > SHOWN_CASES:
        yield f"  and {len(report.cases) - SHOWN_CASES} more: --json has all"
    if report.items < REPORT_ITEMS:
        yield f"to enforce, {REPORT_ITEMS - report.items} more items have to be looked at first"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()) if n)


def _brackets(counts: dict[str, int], **more: int) -> str:
    told = _counts({**counts, **more})
    return f" ({told})" if told else ""
