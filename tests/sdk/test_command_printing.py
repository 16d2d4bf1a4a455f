"""What a person at a terminal sees of several images, and that a pipe gets plain lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import sdk
from sdk.environment import inherited

from .conftest import Origin, failed, ok, scan

URLS = ("https://example.org/1.jpg", "https://example.org/2.jpg", "https://example.org/3.jpg")
WITHOUT_RICH = "sys.modules['rich'] = sys.modules['rich.console'] = None;"
STEERING = re.compile(r"\x1b\[[0-9;]*m")


def seen(origin: Origin, *names: str, before: str = "") -> str:
    """Return what `pinclip check` writes to a terminal 100 columns wide."""
    code = f"import sys; {before} from sdk.commands.check import main; main(sys.argv[1:])"
    environ = inherited(
        PINCLIP_BASE_URL=origin.url, PINCLIP_API_KEY="", COLUMNS="100", TERM="xterm", NO_COLOR=""
    )
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, *names], stdout=slave, stderr=slave, env=environ
    ) as process:
        os.close(slave)
        text = b""
        while part := _read(master):
            text += part
        os.close(master)
        assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""


def test_terminal_shows_a_row_an_image_in_columns(origin: Origin) -> None:
    reason = sdk.Reason("x", "The score lies between.")
    unsure = scan(verdict="inconclusive", reasons=(reason,))
    origin.will(ok(scan()), ok(unsure), ok(failed()))

    rows = STEERING.sub("", seen(origin, *URLS)).splitlines()

    columns = [rows[0].index(part) for part in ("https", "Likely AI", "0.91", "about 3 in 100")]
    second = next(row for row in rows if "2.jpg" in row)
    third = next(row for row in rows if "3.jpg" in row)
    assert [second.index(part) for part in ("https", "Can't", "0.91", "The score")] == columns
    assert [third.index(part) for part in ("https", "No verdict")] == columns[:2]
    assert third.index("Scan scan_") == columns[3]
    assert all(len(row) <= 100 for row in rows)


@pytest.mark.parametrize(("before", "names"), [("", URLS[:1]), (WITHOUT_RICH, URLS[:2])])
def test_terminal_shows_plain_lines_for_one_image_or_without_rich(
    origin: Origin, before: str, names: tuple[str, ...]
) -> None:
    origin.will(*[ok(scan())] * len(names))

    lines = seen(origin, *names, before=before).splitlines()

    assert lines == [
        f"{name}: Likely AI, probability 0.91; about 3 in 100 real photos like this get this "
        "label (n=2488)"
        for name in names
    ]


def test_terminal_is_not_steered_by_the_name_of_a_file(origin: Origin) -> None:
    shown = STEERING.sub("", seen(origin, "a\x1b[2J.png", "[bold]b[/bold].png"))

    assert "\x1b" not in shown
    assert r"a\x1b[2J.png" in shown
    assert "[bold]b[/bold].png" in shown
