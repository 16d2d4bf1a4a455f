"""Receipts: signed here, checked by others, by our own function and by openssl; and their key."""

from __future__ import annotations

import base64
import json
import multiprocessing
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from sdk.wire import (
    Input,
    InputKind,
    Model,
    OperatingPoint,
    PointName,
    Reason,
    Receipt,
    Scan,
    Scope,
    Status,
    Verdict,
)
from server import ids
from server.receipts import KEY_FILE, Forged, Signer, check
from server.refused import StartRefused
from server.routes import receipts as routes
from server.rules.caller import Caller
from server.rules.receipts import ReceiptDesk
from tests.server.small_app import small_app

AT = 1_790_000_000.0
SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before 32 raw bytes to make them a public key as openssl reads it (RFC 8410)."""


def scan(status: Status = Status.COMPLETED) -> Scan:
    return Scan(
        id=ids.new("scan", AT),
        status=status,
        verdict=Verdict.LIKELY_AI,
        score=0.93,
        operating_point=OperatingPoint(
            name=PointName.BALANCED,
            slice="photo",
            threshold=0.87,
            clear_below=0.2,
            expected_false_alarm_rate=0.01,
            ci95=(0.006, 0.016),
            n=2400,
            calibration_id="cal-1",
        ),
        reasons=(Reason("model_above_threshold", "It is above."),),
        input=Input(kind=InputKind.URL, url="http://example.com/private", sha256="ab" * 32),
        model=Model("pinclip-b16", "cd" * 32),
        sequence=2,
        created_at=ids.rfc3339(AT),
        completed_at=ids.rfc3339(AT + 1),
    )


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.of(tmp_path)


def test_receipt_says_what_was_said_of_which_bytes_and_no_address(signer: Signer) -> None:
    one = scan()

    said = check(signer.sign(one), public_key=signer.public_key)

    assert said == {
        "kind": "pinclip.receipt.v1",
        "scan_id": one.id,
        "sequence": 2,
        "sha256": "ab" * 32,
        "verdict": "likely_ai",
        "reasons": ["model_above_threshold"],
        "operating_point": "balanced",
        "threshold": 0.87,
        "slice": "photo",
        "expected_false_alarm_rate": 0.01,
        "calibration_id": "cal-1",
        "model_id": "pinclip-b16",
        "weights_sha256": "cd" * 32,
        "completed_at": "2026-09-21T14:13:21.000Z",
    }


def test_same_scan_has_the_same_receipt_each_time(signer: Signer) -> None:
    one = scan()

    assert signer.sign(one) == signer.sign(one)


def test_no_bit_of_payload_or_signature_can_be_flipped(signer: Signer) -> None:
    receipt = signer.sign(scan())
    payload, signature = receipt.payload.encode(), base64.b64decode(receipt.signature)
    accepted = []

    for changed in _flipped(signature):
        accepted += _checked(
            msgspec.structs.replace(receipt, signature=base64.b64encode(changed).decode()), signer
        )
    for changed in _flipped(payload):
        text = changed.decode("latin-1")
        accepted += _checked(msgspec.structs.replace(receipt, payload=text), signer)

    assert accepted == []


def _flipped(whole: bytes) -> list[bytes]:
    number = int.from_bytes(whole)
    return [(number ^ 1 << bit).to_bytes(len(whole)) for bit in range(8 * len(whole))]


def _checked(receipt: Receipt, signer: Signer) -> list[Receipt]:
    try:
        check(receipt, public_key=signer.public_key)
    except Forged:
        return []
    return [receipt]


def test_receipt_of_another_key_is_forged_whatever_key_it_names(tmp_path: Path) -> None:
    ours, theirs = Signer.of(tmp_path / "ours"), Signer.of(tmp_path / "theirs")

    with pytest.raises(Forged, match="signature"):
        check(theirs.sign(scan()), public_key=ours.public_key)


@pytest.mark.parametrize("signature", ["", "no base64!", "AAAA", "ä" * 88])
def test_signature_that_is_none_is_forged(signer: Signer, signature: str) -> None:
    receipt = msgspec.structs.replace(signer.sign(scan()), signature=signature)

    with pytest.raises(Forged):
        check(receipt, public_key=signer.public_key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_alone_can_check_a_receipt(signer: Signer, tmp_path: Path) -> None:
    receipt = signer.sign(scan())
    (tmp_path / "key.der").write_bytes(SPKI + base64.b64decode(receipt.public_key))
    (tmp_path / "payload").write_text(receipt.payload)
    (tmp_path / "signature").write_bytes(base64.b64decode(receipt.signature))
    words = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in payload -sigfile"

    done = subprocess.run([*words.split(), "signature"], cwd=tmp_path, capture_output=True)
    (tmp_path / "payload").write_text(receipt.payload.replace("likely_ai", "no_sign_of_ai"))
    forged = subprocess.run([*words.split(), "signature"], cwd=tmp_path, capture_output=True)

    assert (done.returncode, forged.returncode) == (0, 1)


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = Signer.of(tmp_path / "state")
    again = Signer.of(tmp_path / "state")

    assert again.public_key == first.public_key
    assert stat.S_IMODE((tmp_path / "state" / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "state").iterdir()] == [KEY_FILE]


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(_public_key, [str(tmp_path / "state")] * 8, chunksize=1)

    assert len(set(keys)) == 1


def _public_key(state_dir: str) -> str:
    return Signer.of(Path(state_dir)).public_key


def test_key_that_is_given_is_that_of_the_file_on_another_host(tmp_path: Path) -> None:
    here = Signer.of(tmp_path / "here")

    there = Signer.of(tmp_path / "there", given=(tmp_path / "here" / KEY_FILE).read_text())

    assert there.public_key == here.public_key
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("text", ["short", "!" * 44, "QUJD", ""])
def test_key_that_is_none_is_refused_by_its_place_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_FILE).write_text(text)

    with pytest.raises(StartRefused, match=KEY_FILE):
        Signer.of(tmp_path)


class Scans:
    """One scan of one owner."""

    def __init__(self, one: Scan, owner: str) -> None:
        self.one = one
        self.owner = owner

    async def get(self, scan_id: str, *, owner: str) -> Scan | None:
        return self.one if (scan_id, owner) == (self.one.id, self.owner) else None


@pytest.fixture
def scans() -> Scans:
    return Scans(scan(), "acme")


@pytest.fixture
async def client(scans: Scans, signer: Signer) -> AsyncIterator[httpx.AsyncClient]:
    desk = ReceiptDesk(scans=scans, signer=signer)
    callers = {
        "acme": Caller(owner="acme", key_id="key_1", scopes=frozenset({Scope.SCAN})),
        "other": Caller(owner="other", key_id="key_2", scopes=frozenset({Scope.ADMIN})),
        "moderator": Caller(owner="acme", key_id="key_3", scopes=frozenset({Scope.MODERATE})),
    }
    async with small_app(routes.router, callers=callers, receipt_desk=desk) as client:
        yield client


@pytest.mark.anyio
async def test_route_gives_the_receipt_to_the_owner(
    client: httpx.AsyncClient, scans: Scans, signer: Signer
) -> None:
    answer = await client.get(f"/v1/scans/{scans.one.id}/receipt", headers={"who": "acme"})

    assert answer.status_code == 200
    receipt = msgspec.json.decode(answer.content, type=Receipt)
    assert check(receipt, public_key=signer.public_key)["scan_id"] == scans.one.id
    assert json.loads(answer.content)["algorithm"] == "ed25519"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("who", "status", "code"),
    [("other", 404, "not_found"), ("moderator", 403, "scope_missing")],
)
async def test_route_refuses(
    client: httpx.AsyncClient, scans: Scans, who: str, status: int, code: str
) -> None:
    answer = await client.get(f"/v1/scans/{scans.one.id}/receipt", headers={"who": who})

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.anyio
async def test_scan_that_is_not_completed_has_no_receipt(
    client: httpx.AsyncClient, scans: Scans
) -> None:
    scans.one = scan(Status.SCORING)

    answer = await client.get(f"/v1/scans/{scans.one.id}/receipt", headers={"who": "acme"})

    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
