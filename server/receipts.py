"""CRYPTOGRAPHY DOOR: signs what was said of which bytes, so that anybody can check it offline.

    Scan, completed --payload_of--> one line of JSON --Ed25519--> Receipt
                                                                     |
    whoever holds the receipt and this server's public key --check---'--> what was said, or Forged

The key is PINCLIP_RECEIPT_KEY, or else the file receipt.key in the state folder, made at first
use. It is 32 bytes in base64, in either place: hosts that serve together are given the same one.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sdk.wire import Receipt, Scan

from .refused import StartRefused

KEY_FILE = "receipt.key"
"""Name of the file in the state folder; its loss makes receipts of before unlike those of after."""
KIND = "pinclip.receipt.v1"
"""First word of a payload, so that no other text this key might sign reads as a receipt."""
KEY_BYTES = 32


class Forged(Exception):
    """A receipt that this key did not sign, or not in these words; says how that shows."""


class Signer:
    """The Ed25519 key of this server. Its processes and hosts have the same one."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
        """The half that everybody may know: 32 bytes in base64."""

    @classmethod
    def of(cls, state_dir: Path, *, given: str = "") -> Signer:
        """Return the signer of the key that was given, or else of the file, made if need be.

        Reads and writes files. Raises StartRefused if there is a key and it is none.
        """
        if given:
            return cls(_seed(given, "PINCLIP_RECEIPT_KEY"))
        file = state_dir / KEY_FILE
        try:
            if not file.exists():
                _make(file)
            return cls(_seed(file.read_text("ascii", "replace"), str(file)))
        except OSError as error:
            raise StartRefused(
                f"The key of receipts {file} cannot be used ({error.strerror}): make the folder "
                "ours to read and write, or set PINCLIP_RECEIPT_KEY."
            ) from error

    def sign(self, scan: Scan) -> Receipt:
        """Return the receipt of a completed scan, as it is now."""
        payload = payload_of(scan)
        signature = base64.b64encode(self._key.sign(payload.encode())).decode()
        return Receipt(payload=payload, signature=signature, public_key=self.public_key)


def payload_of(scan: Scan) -> str:
    """Return the text to sign: JSON on one line, its names sorted. The scan must be completed.

    `sequence` tells which of two receipts of one scan is the newer: a verdict may be overturned.
    """
    point, model = scan.operating_point, scan.model
    said: dict[str, Any] = {
        "kind": KIND,
        "scan_id": scan.id,
        "sequence": scan.sequence,
        "sha256": scan.input.sha256,
        "verdict": scan.verdict,
        "reasons": [reason.code for reason in scan.reasons],
        "operating_point": point and point.name,
        "threshold": point and point.threshold,
        "slice": point and point.slice,
        "expected_false_alarm_rate": point and point.expected_false_alarm_rate,
        "calibration_id": point and point.calibration_id,
        "model_id": model and model.id,
        "weights_sha256": model and model.weights_sha256,
        "completed_at": scan.completed_at,
    }
    return msgspec.json.encode(said, order="sorted").decode()


def check(receipt: Receipt, *, public_key: str) -> dict[str, Any]:
    """Return what the receipt says, if the server with this public key signed it. Raises Forged.

    The key is one that you were told before: the one in a receipt proves nothing, since whoever
    forges a receipt puts their own there.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(receipt.signature, validate=True), receipt.payload.encode())
        said = msgspec.json.decode(receipt.payload, type=dict[str, Any])
    except InvalidSignature:
        raise Forged("The signature is not of this payload by this key.") from None
    except ValueError as error:  # binascii.Error and msgspec's are such
        raise Forged(f"The receipt cannot be read: {error}.") from error
    if receipt.algorithm != "ed25519" or said.get("kind") != KIND:
        raise Forged(f"It is not a receipt of the kind {KIND} signed by ed25519.")
    return said


def _seed(text: str, where: str) -> bytes:
    try:
        seed = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != KEY_BYTES:
        raise StartRefused(
            f"{where} is not a key of receipts, {KEY_BYTES} bytes in base64: put back the one that "
            f"was there, or have a new one made by taking it away."
        )
    return seed


def _make(file: Path) -> None:
    """The file is there with a whole key in it, ours or that of a process that was faster."""
    file.parent.mkdir(0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)
