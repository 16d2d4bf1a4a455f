"""What a type checker tells the users of both clients: the exact type of each kind of verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import assert_type
import sdk

client, waiting = sdk.Client(), sdk.AsyncClient()

assert_type(client.check("https://example.org/a.jpg", wait=3), sdk.Scan)
assert_type(client.scans.get("scan_1"), sdk.Scan)
assert_type(client.scans.delete("scan_1"), None)
assert_type(client.lookup_many([b"a"]), tuple[sdk.Lookup, ...])
assert_type(client.scans.list(), sdk.Pages[sdk.Scan])
assert_type(client.scans.events("scan_1"), Iterator[sdk.Scan])
assert_type(client.check_many(["a"]), Generator[sdk.Checked[str], None, None])
assert_type(client.with_raw_response.scans.get("scan_1"), sdk.Raw[sdk.Scan])
assert_type(client.with_options(timeout=3), sdk.Client)

async def main() -> None:
    assert_type(await waiting.check("https://example.org/a.jpg", wait=3), sdk.Scan)
    assert_type(await waiting.scans.get("scan_1"), sdk.Scan)
    assert_type(await waiting.webhooks.list(), tuple[sdk.Endpoint, ...])
    assert_type(waiting.scans.list(), sdk.AsyncPages[sdk.Scan])
    assert_type(waiting.scans.events("scan_1"), AsyncIterator[sdk.Scan])
    assert_type(waiting.check_many([b"a"]), AsyncGenerator[sdk.Checked[bytes], None])
    assert_type(await waiting.with_raw_response.key(), sdk.Raw[sdk.KeyFacts])
    assert_type(waiting.with_options(timeout=3), sdk.AsyncClient)

def handle(event: sdk.AnyEvent) -> None:
    match event:
        case sdk.ScanCompletedEvent():
            assert_type(event.data.scan, sdk.Scan)
        case sdk.ScanVerdictChangedEvent():
            assert_type(event.data.previous, sdk.Verdict)

client.check(3)
client.check("https://example.org/a.jpg", wate=3)
client.with_raw_response.scans.list()
client.scans.get("scan_1").verdikt
waiting.get("scan_1").verdict
"""
WRONG = 5
"""How many of the last lines a checker has to refuse."""


def test_checker_knows_the_type_of_each_kind_of_verb(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    options = ["--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]

    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports=silent", str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    first_wrong = len(PROGRAM.splitlines()) - WRONG + 1
    refused = [int(line.split(":")[1]) for line in lines]
    assert sorted(set(refused)) == list(range(first_wrong, first_wrong + WRONG)), done.stdout
