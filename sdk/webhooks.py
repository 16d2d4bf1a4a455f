"""Signs and verifies deliveries, as Standard Webhooks 1.0.0 has it.

    raw body + headers + whsec_...  --unwrap-->  Event, or WebhookSignatureError
                                      |
        webhook-id, -timestamp, -signature there and well formed?
        timestamp within the tolerance of now?       a replayed delivery ends here
        HMAC-SHA256 of "id.timestamp.body" equal to one of the v1 signatures?
        body an Event?                               nothing is parsed before this line

The standard's own package is not used here: the client library depends on httpx and msgspec
alone, and that package lets `v1` without a comma out as ValueError and bad UTF-8 as
UnicodeDecodeError. The server signs with it, and tests hold the two together.

A delivery may come twice, and out of order: remember the ids of events that you have handled, and
of a scan's events believe the one with the highest `sequence`. See `unwrap`.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import sha256

from . import events
from ._calls import UNREADABLE
from .errors import APIResponseValidationError, InputError, WebhookSignatureError
from .events import AnyEvent

TOLERANCE_SECONDS = 300.0
"""How far a delivery's timestamp may be from now, either way."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with, not one

# No dot in an id: it would let part of a signed body pass as another id and timestamp.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def unwrap(
    raw_body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> AnyEvent:
    """Return the event of a delivery that was signed with `secret` within the last 5 minutes.

    `raw_body` is the body as it came, before any parser; `headers` those of the request, in any
    case. `tolerance` in seconds; `now` is Unix time, that of this machine if None. Raises
    WebhookSignatureError for what is not to be trusted, InputError for a `secret` that is none,
    APIResponseValidationError for a signed body that is no event; one of a type that only newer
    servers know is an UnknownEvent.

    Examples:
        >>> body, headers = delivery.body, delivery.headers
        >>> event = sdk.webhooks.unwrap(body, headers, endpoint.secret)
        >>> if event.id not in handled:  # the same one may be delivered again
        ...     match event:
        ...         case sdk.ScanCompletedEvent():
        ...             print(event.data.scan.verdict)
        ...         case sdk.PingEvent():
        ...             print("it works")
        ...     handled.add(event.id)
        it works
    """
    body = raw_body.encode("utf-8", "surrogatepass") if isinstance(raw_body, str) else raw_body
    event_id, timestamp, signatures = _read(headers)
    at = time.time() if now is None else now  # noqa: TID251 - the sender's clock is not ours to give
    _check_time(int(timestamp), at, tolerance)
    expected = _signature(_key(secret), event_id, timestamp, body).encode()
    given = [signature.encode("utf-8", "replace") for signature in signatures.split(" ")]
    # Texts are compared, not what they decode to: base64 has several spellings of some bytes.
    if not any(hmac.compare_digest(expected, signature) for signature in given):
        raise WebhookSignatureError(
            f"None of the {len(given)} signatures of the delivery {event_id} fits its body.",
            hint="Pass the body as it came and the secret of this endpoint; else it is forged.",
        )
    return _event(body)


def sign(raw_body: bytes | str, secret: str, *, event_id: str, timestamp: int) -> dict[str, str]:
    """Return the headers of a delivery, as the server sends them: for testing a receiver.

    `timestamp` in Unix seconds. Raises InputError for a `secret` that is none.
    """
    body = raw_body.encode() if isinstance(raw_body, str) else raw_body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _signature(_key(secret), event_id, str(timestamp), body),
    }


def _read(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """Return id, timestamp and signatures as they are written."""
    known = {name.lower(): value for name, value in headers.items()}
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    missing = [name for name in names if not known.get(name)]
    if missing:
        raise WebhookSignatureError(
            f"The delivery has no {' and no '.join(missing)} header.",
            hint="Pass the request's headers whole; what lacks them is not from pinclip.",
        )
    event_id, timestamp, signatures = (known[name] for name in names)
    if not _ID.fullmatch(event_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookSignatureError(
            "The delivery's webhook-id or webhook-timestamp is not written as pinclip writes them.",
            hint="Refuse it.",
        )
    return event_id, timestamp, signatures


def _check_time(timestamp: int, now: float, tolerance: float) -> None:
    if abs(now - timestamp) > tolerance:
        raise WebhookSignatureError(
            f"The delivery was signed {abs(now - timestamp):.0f} s "
            f"{'before' if timestamp < now else 'after'} now; at most {tolerance:g} s are taken.",
            hint="Check this machine's clock; else an old delivery is being replayed.",
        )


def _key(secret: str) -> bytes:
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if not key:
        raise InputError(
            "The webhook secret is empty or not base64.",
            hint=f"Pass it as the server showed it: {SECRET_PREFIX} and 32 bytes in base64.",
        )
    return key


def _signature(key: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join((event_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, content, sha256)).decode()


def _event(body: bytes) -> AnyEvent:
    try:
        return events.read(body)
    except UNREADABLE as error:
        raise APIResponseValidationError(
            f"The delivery is signed, but its body is no event of this version: {error}",
            hint="Update the SDK to the server's version.",
        ) from error
