"""sdk.moderation.report: what a person reads before a bot may act."""

from __future__ import annotations

import pytest

from sdk.moderation import Decision, Item, Looked, Media, PlatformError, make_report
from sdk.moderation.journal import Made, Outcome, Seen
from sdk.moderation.report import DAY_SECONDS, Report, lines, may_enforce
from sdk.moderation.rules import read_policy
from sdk.wire import Input, InputKind
from tests.sdk.conftest import scan

RULES = read_policy(
    '[[rule]]\nverdict = "likely_ai"\naction = "label"\nneeds_human = true', name="rules"
)


def seen(number: int, *verdicts: str, outcome: Outcome = Outcome.LOOKED) -> Seen:
    """Return an item with an image of each verdict; "" stands for one that was not looked at."""
    results = [
        scan(
            id=f"scan_{number}_{place}",
            verdict=verdict,
            input=Input(kind=InputKind.UPLOAD, sha256="0" * 64),
        )
        if verdict
        else PlatformError("No.")
        for place, verdict in enumerate(verdicts)
    ]
    return Seen(
        item=Item(id=f"post-{number}", url=f"https://example.org/{number}"),
        outcome=outcome,
        why="",
        at=1.0,
        decision=Decision(),
        looked=tuple(Looked(Media(str(n)), result) for n, result in enumerate(results)),
    )


def reported(*items: Seen) -> Report:
    return make_report(items, RULES, policy_id="p", since=0.0, until=9.0)


def test_report_counts_items_images_and_what_would_be_done() -> None:
    report = reported(
        seen(1, "likely_ai", "no_sign_of_ai"),
        seen(2, "inconclusive", ""),
        seen(3, outcome=Outcome.EXEMPT),
    )

    assert (report.items, report.images, report.failed_images) == (2, 4, 1)
    assert report.outcomes == {"looked": 2, "exempt": 1}
    assert report.verdicts == {"likely_ai": 1, "no_sign_of_ai": 1, "inconclusive": 1}
    assert report.actions == {"label": 1, "nothing": 1}
    assert report.needs_human == 1
    assert [(case.item_id, case.scan_id) for case in report.cases] == [("post-1", "scan_1_0")]


def test_expected_mistakes_are_the_measured_rates_added_up() -> None:
    report = reported(*(seen(number, "no_sign_of_ai") for number in range(100)))

    assert report.rated_images == 100
    assert report.expected_false_accusations == pytest.approx(100 * 0.03)
    assert report.at_most_false_accusations == pytest.approx(100 * 0.038)


def test_item_of_which_no_image_has_a_scan_shows_nothing_to_enforce_by() -> None:
    report = reported(seen(1, ""), seen(2), seen(3, "", "inconclusive"))

    assert (report.items, report.failed_images) == (1, 2)


@pytest.mark.parametrize(
    ("days", "says"),
    [(0, None), (-30, None), (0.5, None), (-31, "31 days old"), (300, "300 days ahead")],
)
def test_report_counts_for_a_month_and_not_if_a_wrong_clock_dated_it(
    days: float, says: str | None
) -> None:
    why = may_enforce(Made(at=1e9 + days * DAY_SECONDS, items=200, policy_id="p"), now=1e9)

    assert why is None if says is None else says in str(why)


def test_lines_say_it_to_people_and_what_is_missing_to_enforce() -> None:
    text = "\n".join(lines(reported(seen(1, "likely_ai"))))

    assert "would have done: label 1" in text
    assert "label: https://example.org/1 (likely_ai, scan_1_0)" in text
    assert "199 more items" in text


def test_strangers_text_cannot_steer_the_terminal() -> None:
    item = Item(id="\x1b[2Jpost")
    odd = Seen(
        item=item,
        outcome=Outcome.LOOKED,
        why="",
        at=1.0,
        decision=Decision(),
        looked=seen(1, "likely_ai").looked,
    )

    assert "\x1b" not in "\n".join(lines(reported(odd)))
