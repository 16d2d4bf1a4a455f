"""docs/operations.md names tests, metrics and files that exist; what it says to run works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from sdk.environment import inherited
from server.receipts import Signer
from tests.deploy.helm_process import ROOT
from tests.deploy.test_dashboards import known
from tests.server.test_receipts import scan

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
THREATS = [
    line.strip("|").split("|")
    for line in PAGE[PAGE.index("## Threats") :].splitlines()
    if line.startswith("| ") and "| who | tries |" not in line
]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part.rpartition("/")[2])
def test_a_test_that_covers_a_threat_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")

    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0].strip() + " " + row[1].strip()[:20])
def test_every_threat_has_a_test(row: list[str]) -> None:
    assert len(row) == 4
    assert "::" in row[3]


def test_receipt_is_checked_by_what_the_page_says_and_not_with_another_key(tmp_path: Path) -> None:
    if not all(map(shutil.which, ("jq", "openssl"))):
        pytest.skip("needs jq and openssl")
    (block,) = re.findall(
        r"(?:^ {4}.*\n)*^ {4}openssl pkeyutl.*\n(?:^ {4}.*\n)*", PAGE, re.MULTILINE
    )
    signer, other = Signer(bytes(32)), Signer(bytes(31) + b"1")
    receipt = signer.sign(scan())
    (tmp_path / "receipt.json").write_bytes(msgspec.json.encode(receipt))

    def status(public_key: str) -> int:
        environ = inherited(PUBLIC_KEY=public_key)
        command = ["sh", "-ec", block]
        return subprocess.run(command, cwd=tmp_path, env=environ, check=False).returncode

    assert status(signer.public_key) == 0
    assert status(other.public_key) != 0


def test_every_metric_is_told_and_no_other() -> None:
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known()}

    told = set(re.findall(r"`(pinclip_[a-z_]+)(?:\{[a-z_,]+\})?`", PAGE))
    assert told - {"pinclip_outside"} == names


def test_every_link_of_the_page_leads_somewhere() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}

    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / "docs" / target).exists(), target
