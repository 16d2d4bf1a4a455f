"""What a host must say for its answer to be used again: RFC 9111 as a table; all else is a no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.freshness import LIMIT_SECONDS, Freshness, read

NOW = 1_785_000_000.0
DATE = "Sat, 25 Jul 2026 17:20:00 GMT"  # NOW
BEFORE = "Sat, 25 Jul 2026 17:19:30 GMT"  # 30 s before
AFTER = "Sat, 25 Jul 2026 17:21:00 GMT"  # 60 s after

CC, D, E, A, V = "cache-control", "date", "expires", "age", "vary"


def seconds(*headers: tuple[str, str]) -> float:
    found = read(lambda name: [value for key, value in headers if key == name])
    return found.seconds(NOW) if isinstance(found, Freshness) else 0.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([(CC, "max-age=60")], 60, id="max-age"),
        pytest.param([(CC, 'public, MAX-AGE="60" ,, immutable')], 60, id="as recipients must read"),
        pytest.param([(CC, "public"), (CC, "max-age=60")], 60, id="two headers"),
        pytest.param([(CC, "max-age=60, s-maxage=20")], 20, id="s-maxage is for us"),
        pytest.param([(CC, "max-age=20, s-maxage=60")], 60, id="also where it is more"),
        pytest.param([(CC, "max-age=60"), (A, "25")], 35, id="less Age"),
        pytest.param([(CC, "max-age=60"), (D, BEFORE)], 30, id="less what Date shows"),
        pytest.param([(CC, "max-age=60"), (D, BEFORE), (A, "45")], 15, id="whichever is more"),
        pytest.param([(CC, "max-age=60"), (D, AFTER)], 60, id="a clock that is ahead"),
        pytest.param([(E, AFTER), (D, DATE)], 60, id="Expires"),
        pytest.param([(E, AFTER), (D, BEFORE)], 60, id="Expires less Date less the time since"),
        pytest.param([(CC, "max-age=10"), (E, AFTER), (D, DATE)], 10, id="max-age over Expires"),
        pytest.param([(CC, "max-age=31536000")], LIMIT_SECONDS, id="a year"),
        pytest.param([(CC, "max-age=4000"), (A, "3990")], 10, id="the limit is on what is left"),
        pytest.param([(CC, "max-age=60"), (V, "Accept-Encoding, Origin")], 60, id="a Vary we keep"),
        pytest.param([(CC, 'max-age=60, x="no-store, private"')], 60, id="quoted is no directive"),
    ],
)
def test_fresh_is_what_a_host_vouches_for(headers: list[tuple[str, str]], expected: float) -> None:
    assert seconds(*headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="nothing said"),
        pytest.param([(CC, "public")], id="no lifetime"),
        pytest.param([("last-modified", BEFORE), (D, DATE)], id="no heuristic"),
        pytest.param([(CC, "max-age=0")], id="zero"),
        pytest.param([(CC, "no-store, max-age=60")], id="no-store"),
        pytest.param([(CC, "no-cache, max-age=60")], id="no-cache"),
        pytest.param([(CC, "max-age=60"), (CC, "No-Cache")], id="no-cache in a second header"),
        pytest.param([(CC, 'no-cache="Set-Cookie", max-age=60')], id="no-cache of a field"),
        pytest.param([(CC, "private, max-age=60")], id="private"),
        pytest.param([(CC, 'private="X-Id", max-age=60')], id="private field"),
        pytest.param([(CC, "max-age=60"), (V, "*")], id="Vary: *"),
        pytest.param([(CC, "max-age=60"), (V, "Accept, *")], id="Vary: * among others"),
        pytest.param([(CC, "s-maxage=0, max-age=60")], id="s-maxage forbids it"),
        pytest.param([(CC, "max-age=60, max-age=600")], id="said twice"),
        pytest.param([(CC, "max-age=60"), (CC, "max-age=60")], id="said twice in two headers"),
        pytest.param([(CC, "max-age=-5")], id="negative"),
        pytest.param([(CC, "max-age=+60")], id="signed"),
        pytest.param([(CC, "max-age=60.5")], id="fraction"),
        pytest.param([(CC, "max-age=\uff16\uff10")], id="digits of another script"),
        pytest.param([(CC, "max-age=" + "9" * 5000)], id="more digits than a number has"),
        pytest.param([(CC, "max-age=")], id="no value"),
        pytest.param([(CC, "max-age")], id="no argument"),
        pytest.param([(CC, "max-age = 60")], id="spaces that the grammar has not"),
        pytest.param([(CC, "max-age=60; no-store")], id="another separator"),
        pytest.param([(CC, 'max-age=60, x="never closed, no-store')], id="open quote"),
        pytest.param([(CC, "max-age=60\n")], id="a line's end"),
        pytest.param([(CC, "max-age=60"), (A, "60")], id="as old as it may be"),
        pytest.param([(CC, "max-age=60"), (A, "soon")], id="Age that is no number"),
        pytest.param([(CC, "max-age=60"), (A, "1"), (A, "2")], id="Age twice"),
        pytest.param([(CC, "max-age=60"), (D, "yesterday")], id="Date that is none"),
        pytest.param([(CC, "max-age=60"), (D, "Sat, 99 Jul 2026 17:20:00 GMT")], id="no such day"),
        pytest.param([(E, AFTER)], id="Expires without a Date"),
        pytest.param([(E, "0"), (D, DATE)], id="Expires: 0"),
        pytest.param([(E, AFTER), (E, AFTER), (D, DATE)], id="Expires twice"),
        pytest.param([(E, DATE), (D, DATE)], id="expired"),
        pytest.param([(CC, "max-age=soon"), (E, AFTER), (D, DATE)], id="odd max-age hides Expires"),
    ],
)
def test_nothing_else_is_fresh(headers: list[tuple[str, str]]) -> None:
    assert seconds(*headers) == 0.0


@given(
    before=st.lists(st.sampled_from(["public", "max-age=60", 'x="a, b"', "", " immutable "])),
    forbidden=st.sampled_from(["no-store", "NO-CACHE", 'private="a, b"', "private", "max-age=1"]),
    after=st.lists(st.sampled_from(["s-maxage=60", "must-revalidate", "\t", "x=y"])),
)
def test_one_word_forbids_wherever_it_stands(
    before: list[str], forbidden: str, after: list[str]
) -> None:
    said = "max-age=60" if forbidden == "max-age=1" else "proxy-revalidate"

    assert seconds((CC, ",".join([*before, said, forbidden, *after]))) == 0.0


@given(st.text())
def test_any_text_is_read_and_never_fresh_for_longer_than_the_limit(text: str) -> None:
    assert 0.0 <= seconds((CC, text), (D, text), (E, text), (A, text)) <= LIMIT_SECONDS
