"""Ids sort by time, tell when they were made, and are matched strictly."""

from __future__ import annotations

import pytest

from server import ids


def test_ids_sort_by_time() -> None:
    made = [ids.scan_id(at) for at in (0.0, 0.001, 1.0, 1_790_000_000.0, 1_790_000_000.5)]

    assert made == sorted(made)


def test_ids_differ_at_the_same_time() -> None:
    assert len({ids.scan_id(5.0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("at", [0.0, 0.001, 1_790_000_000.123])
def test_id_tells_when_it_was_made(at: float) -> None:
    assert ids.made_at(ids.upload_id(at)) == at


def test_ids_are_recognised_by_kind() -> None:
    assert ids.is_scan_id(ids.scan_id(1.0))
    assert ids.is_upload_id(ids.upload_id(1.0))
    assert not ids.is_scan_id(ids.upload_id(1.0))
    assert not ids.is_upload_id(ids.scan_id(1.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "upl_",
        "upl_" + "0" * 25,
        "upl_" + "0" * 27,
        "upl_" + "8" + "0" * 25,
        "upl_" + "0" * 25 + "I",
        "upl_" + "0" * 25 + "a",
        "upl_" + "0" * 26 + "\n",
        "../" + "0" * 26,
        "upl_" + "0" * 22 + "/../",
    ],
)
def test_what_is_not_written_like_an_id_is_none(text: str) -> None:
    assert not ids.is_upload_id(text)


def test_rfc3339_is_utc_with_milliseconds() -> None:
    assert ids.rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert ids.rfc3339(1_790_000_000.25) == "2026-09-21T14:13:20.250Z"
