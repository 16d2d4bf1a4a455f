"""sdk.moderation.rules: policies that moderators write, and what is refused of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdk import Scan, Verdict
from sdk.moderation import (
    ActionKind,
    Brake,
    Item,
    Looked,
    Media,
    PlatformError,
    PolicyError,
    default_policy,
    load_policy,
)
from sdk.moderation.rules import MOST_PER_DAY, read_policy
from sdk.wire import Declaration, Input, InputKind, OperatingPoint, PointName
from tests.sdk.conftest import scan

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "policy.md"
BYTES = Input(kind=InputKind.UPLOAD, sha256="0" * 64)
ITEM = Item(id="1")


def looked(verdict: str = "likely_ai", **changes: Any) -> Looked:
    return Looked(Media("1/0"), scan(verdict=verdict, **{"input": BYTES, **changes}))


def point(rate: float | None = 0.01, **changes: Any) -> OperatingPoint:
    facts: dict[str, Any] = {
        "name": PointName.BALANCED,
        "slice": "photo",
        "threshold": 0.9,
        "clear_below": 0.1,
        "expected_false_alarm_rate": rate,
        "ci95": None,
        "n": 2400,
        "calibration_id": "cal_1",
    }
    return OperatingPoint(**{**facts, **changes})


def decided(rules: str, *images: Looked) -> ActionKind | None:
    return read_policy(rules, name="rules").decide(ITEM, images).action


def test_first_rule_that_fits_decides_an_image() -> None:
    rules = """
        [[rule]]
        verdict = "likely_ai"
        slice = "screenshot"
        action = "nothing"
        [[rule]]
        verdict = "likely_ai"
        action = "label"
    """

    assert decided(rules, looked()) is ActionKind.LABEL
    assert decided(rules, looked(operating_point=point(slice="screenshot"))) is None
    assert decided(rules, looked("no_sign_of_ai")) is None


def test_gravest_action_of_a_gallery_counts_and_names_its_scan() -> None:
    rules = """
        [[rule]]
        verdict = "likely_ai"
        max_false_alarm_rate = 0.005
        action = "quarantine"
        needs_human = true
        [[rule]]
        verdict = ["likely_ai", "inconclusive"]
        action = "report"
    """
    images = [
        looked("inconclusive", id="scan_1"),
        looked(id="scan_2", operating_point=point(0.004)),
        looked(id="scan_3"),
        Looked(Media("1/3"), PlatformError("It could not be loaded.")),
    ]

    decision = read_policy(rules, name="rules").decide(ITEM, images)

    assert (decision.action, decision.scan_id) == (ActionKind.QUARANTINE, "scan_2")
    assert decision.needs_human


@pytest.mark.parametrize(
    ("condition", "fits", "fits_not"),
    [
        ('operating_point = "strict"', {"name": PointName.STRICT}, {}),
        ('slice = ["cgi", "illustration"]', {"slice": "cgi"}, {"slice": "photo"}),
        ("max_false_alarm_rate = 0.01", {"rate": 0.01}, {"rate": 0.011}),
    ],
)
def test_condition_on_what_was_measured(
    condition: str, fits: dict[str, Any], fits_not: dict[str, Any]
) -> None:
    rules = f'[[rule]]\nverdict = "likely_ai"\naction = "report"\n{condition}'

    assert decided(rules, looked(operating_point=point(**fits))) is ActionKind.REPORT
    assert decided(rules, looked(operating_point=point(**fits_not))) is None


def test_warnings_make_a_rule_fit_or_keep_it_from_fitting() -> None:
    wanted = '[[rule]]\nverdict = "likely_ai"\naction = "report"\nwarning = "illustration"'
    spared = '[[rule]]\nverdict = "likely_ai"\naction = "report"\nunless_warning = ["illustration"]'
    drawn, plain = looked(warnings=("illustration",)), looked()

    assert [decided(wanted, drawn), decided(wanted, plain)] == [ActionKind.REPORT, None]
    assert [decided(spared, drawn), decided(spared, plain)] == [None, ActionKind.REPORT]


def test_rule_without_a_rate_does_not_fit_where_one_is_wanted() -> None:
    rules = '[[rule]]\nverdict = "likely_ai"\naction = "label"\nmax_false_alarm_rate = 1.0'

    assert decided(rules, looked(operating_point=point(None))) is None


@pytest.mark.parametrize(
    "unsure",
    [
        looked(operating_point=None),
        looked(operating_point=point(None)),
        looked(warnings=("uncalibrated_slice",)),
    ],
    ids=["no point", "no rate", "warned of"],
)
def test_uncalibrated_verdict_stops_at_a_report(unsure: Looked) -> None:
    assert (
        decided('[[rule]]\nverdict = "likely_ai"\naction = "remove"', unsure) is ActionKind.REPORT
    )


def test_word_of_a_newer_server_is_inconclusive() -> None:
    raw = msgspec.json.encode(looked().result).replace(b'"likely_ai"', b'"certainly_ai"')
    newer = Looked(Media("1/0"), msgspec.json.decode(raw, type=Scan))
    rules = '[[rule]]\nverdict = "likely_ai"\naction = "label"\n'

    assert decided(rules, newer) is None
    assert decided('[[rule]]\nverdict = "inconclusive"\naction = "report"', newer) is (
        ActionKind.REPORT
    )


def test_built_in_policy_tells_moderators_and_labels_only_what_is_declared_and_trusted() -> None:
    def does(image: Looked) -> ActionKind | None:
        return default_policy().decide(ITEM, [image]).action

    trusted, unsigned = (
        looked("declared_ai", declaration=Declaration(kind="c2pa", trust=trust))
        for trust in ("trusted", "unsigned")
    )
    assert does(looked()) is ActionKind.REPORT
    assert does(trusted) is ActionKind.LABEL
    assert does(unsigned) is ActionKind.REPORT
    assert [does(looked(word)) for word in ("inconclusive", "no_sign_of_ai")] == [None, None]


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        ('"inconclusive"', "an inconclusive verdict must not label"),
        ('["likely_ai", "inconclusive"]', "an inconclusive verdict must not label"),
        ('"declared_ai"', "a declaration must not label unless it is trusted"),
        ('"declared_ai"\ntrust = ["trusted", "unsigned"]', "unless it is trusted"),
        ('"no_sign_of_ai"', "use likely_ai, declared_ai, inconclusive"),
        ('"failed"', "use likely_ai, declared_ai, inconclusive"),
        ('"likly_ai"', "use likely_ai, declared_ai, inconclusive"),
        ("[]", "name at least one"),
    ],
)
def test_rule_against_the_law_is_refused_with_the_reason(verdict: str, says: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(says)):
        read_policy(f'[[rule]]\naction = "label"\nverdict = {verdict}', name="rules")


def test_every_fault_is_told_at_once_with_its_rule_and_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        """\
exempt_authors = "ada"
operating_point = "severe"
[[rule]]
verdict = "likely_ai"
acton = "label"

[[rule]]
verdict = "likely_ai"
action = "delete"
max_false_alarm_rate = "few"
[brake]
per_day = 1000000
[notices]
acted = "Dear {author}"
appeal_url = "our forum"
"""
    )

    with pytest.raises(PolicyError) as caught:
        load_policy(path)

    assert list(caught.value.faults) == [
        "rule 1, line 3: `acton` is not a word of a policy: did you mean `action`?",
        "rule 1, line 3: `action` is missing.",
        "rule 2, line 7: `action` is 'delete': use nothing, report, label, quarantine, remove.",
        "rule 2, line 7: `max_false_alarm_rate` is 'few': Expected `float | null`, got `str`.",
        "`operating_point` is 'severe': use strict, balanced, sensitive.",
        "`exempt_authors` is 'ada': write a list, such as [\"name\"].",
        f"[brake]: `per_day` is 1000000: from 1 to {MOST_PER_DAY}.",
        "[notices]: `acted` has {author}: use {action}, {rate}, {scan_id}, {why}.",
        "[notices]: `appeal_url` is 'our forum': write an http or https address.",
    ]
    assert str(caught.value).startswith("policy.toml: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rule = \n[[rule]]", "not TOML: .*line 1"),
        ("", "there is no rule"),
        ("rule = 3", r"begin each rule with \[\[rule\]\]"),
        ("brake = 3", "write it as a table"),
        ("[notices]\nundone = 'so {'", "cannot be read"),
        ("[notices]\nacted = '{why!z}'", "more than a word in {why}"),
        ("[notices]\nundone = '{rate:>9999999999}'", "more than a word in {rate}"),
        ("[notices]\nappeal_url = 'https://example.org/{}'", "has {}"),
    ],
)
def test_file_that_is_no_policy_is_refused(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        read_policy(text, name="rules")


def test_file_of_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes("# hell\n# größer".encode("latin-1"))

    with pytest.raises(PolicyError, match=r"policy\.toml: line 2 is not UTF-8"):
        load_policy(path)


def test_terms_of_a_file_are_read_and_its_id_changes_with_its_text() -> None:
    text = """
        operating_point = "strict"
        exempt_authors = ["press"]
        [[rule]]
        verdict = "likely_ai"
        action = "report"
        [brake]
        per_10_minutes = 2
    """
    one, two = (read_policy(each, name="rules").terms for each in (text, text + "\n"))

    assert one.brake == Brake(per_10_minutes=2, per_day=20)
    assert one.exempt_authors == {"press"}
    assert one.operating_point is PointName.STRICT
    assert one.policy_id != two.policy_id


def test_every_policy_of_the_guide_can_be_used() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)

    policies = [read_policy(block, name="policy.md") for block in blocks]

    assert len(policies) >= 2
    assert all(policy.rules for policy in policies)
    assert Verdict.LIKELY_AI in policies[0].rules[-1].verdict
