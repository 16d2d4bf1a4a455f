"""sdk.errors: the tree is as drawn, and an error keeps what it knows when it travels."""

from __future__ import annotations

import copy
import re

import pytest

import sdk
from sdk import errors

from .conftest import failed, scan
from .test_client_parts import batch


def test_drawing_shows_the_tree_as_it_is() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for indent, name in re.findall(r"^( +)(?:[*+] )?([A-Z]\w+)\b  ", errors.__doc__ or "", re.M):
        parent = above.get(len(indent) - 2, "Exception")
        drawn[name], above[len(indent)] = parent, name

    assert drawn == {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.PinclipError)
    }


@pytest.mark.parametrize(
    "error",
    [
        sdk.InputError("No.", hint="Yes."),
        sdk.APITimeoutError("Slow."),
        sdk.NotFoundError("Gone.", status_code=404, request_id="req_1", retry_after=3.0),
        sdk.ScanFailed(failed()),
        sdk.ScanTimeout(scan("queued"), timeout=2),
        sdk.BatchTimeout(batch("running"), timeout=2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_survives_being_copied_between_processes(error: sdk.PinclipError) -> None:
    again = copy.copy(error)  # by __reduce__, as process pools do

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.code == error.code


@pytest.mark.parametrize(
    ("message", "shown"), [("No.", "No. Yes."), ("No", "No. Yes."), ("No (req)", "No (req) Yes.")]
)
def test_error_shows_what_happened_and_then_what_to_do(message: str, shown: str) -> None:
    error = sdk.PinclipError(message, hint="Yes.")

    assert str(error) == shown
    assert (error.message, error.hint) == (message, "Yes.")


def test_input_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="No"):
        raise sdk.InputError("No.")


def test_scan_timeout_says_how_long_and_how_to_go_on() -> None:
    text = str(sdk.ScanTimeout(scan("queued"), timeout=2.5))

    assert "queued after 2.5 s" in text
    assert "wait for scan_" in text
