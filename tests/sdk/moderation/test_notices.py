"""sdk.moderation.notices: what the author of a post is told."""

from __future__ import annotations

import pytest

from sdk import Scan
from sdk.moderation import ActionKind, Wording
from sdk.moderation.notices import acted, action_text, undone
from sdk.wire import Declaration
from tests.sdk.conftest import SCAN_ID, scan

URL = "https://example.org/appeals?scan={scan_id}"


def test_author_hears_what_was_done_why_how_often_it_is_wrong_and_where_to_object() -> None:
    notice = acted(ActionKind.LABEL, scan(), Wording(appeal_url=URL))

    assert notice.subject == "Your post was labelled as likely made by AI"
    assert "an image in it is likely made by AI" in notice.text
    assert "about 3 in 100" in notice.text
    assert notice.appeal_url == f"https://example.org/appeals?scan={SCAN_ID}"
    assert not notice.is_undo


def test_author_hears_that_it_was_undone() -> None:
    notice = undone(ActionKind.REMOVE, scan(), Wording(undone="It was {action}. Sorry."))

    assert notice.text == "It was removed. Sorry."
    assert notice.is_undo


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (scan(), "about 3 in 100"),
        (scan(operating_point=None), "was not measured"),
        (scan(verdict="inconclusive"), "could not be told"),
        (
            scan(verdict="declared_ai", declaration=Declaration(kind="c2pa", trust="trusted")),
            "says of itself",
        ),
    ],
)
def test_reason_of_an_action_says_how_sure_it_is(found: Scan, says: str) -> None:
    text = action_text(found)

    assert says in text
    assert found.id in text
