"""Every struct and enum that crosses HTTP, once, for the client, the server and the worker.

    ScanRequest  --POST /v1/scans-->  Scan            one request to judge one image
    bytes        --POST /v1/uploads-> Upload          bytes to be named by a later ScanRequest
                                      Problem         what went wrong with a request (RFC 9457)

A Scan is `queued -> fetching -> scoring -> completed | failed | canceled`. A verdict exists
only on a completed scan; no other state and no error reads as one (docs/decisions/0005).
Knows nothing of transport, storage or models.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from .codes import ProblemCode, ScanErrorCode


class Verdict(StrEnum):
    """What is known of an image. There is no word for "real": a detector cannot know that."""

    LIKELY_AI = "likely_ai"
    INCONCLUSIVE = "inconclusive"
    NO_SIGN_OF_AI = "no_sign_of_ai"
    DECLARED_AI = "declared_ai"

    @classmethod
    def _missing_(cls, _value: object) -> Verdict:
        """Read a word of a newer server as `inconclusive`, never as an all-clear."""
        return cls.INCONCLUSIVE


class Status(StrEnum):
    """Where a scan is. The last three are final."""

    QUEUED = "queued"
    FETCHING = "fetching"
    SCORING = "scoring"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """True once nothing about the scan will change by itself."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELED)


class PointName(StrEnum):
    """The three operating points, by how many real images they are allowed to flag."""

    STRICT = "strict"
    BALANCED = "balanced"
    SENSITIVE = "sensitive"


class Priority(StrEnum):
    """Who waits for a scan: a person (interactive), or a platform that works off many (bulk).

    Interactive scans are done first, but bulk ones have one batch in eight all the same. Bulk is
    refused with queue_full when half as many scans wait as may.
    """

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Slice(StrEnum):
    """The kind of picture that error rates are measured on, as the model sees it."""

    PHOTO = "photo"
    ILLUSTRATION = "illustration"
    CGI = "cgi"
    SCREENSHOT = "screenshot"

    @classmethod
    def _missing_(cls, _value: object) -> Slice | None:
        return None


class InputKind(StrEnum):
    """How the image reached us."""

    URL = "url"
    UPLOAD = "upload"


class ScanWarning(StrEnum):
    """What a reader of the verdict should know about this image."""

    SMALL_IMAGE = "small_image"
    HEAVY_RECOMPRESSION = "heavy_recompression"
    SCREENSHOT_LIKE = "screenshot_like"
    ILLUSTRATION = "illustration"
    VERDICT_UNSTABLE = "verdict_unstable"
    UNCALIBRATED_SLICE = "uncalibrated_slice"
    DECLARATION_UNSIGNED = "declaration_unsigned"
    ANIMATION_SAMPLED = "animation_sampled"
    CLIENT_SUPPLIED_BYTES = "client_supplied_bytes"


class OperatingPoint(Struct, frozen=True, kw_only=True):
    """A named threshold and the error rate measured at it, on images like this one.

    `threshold` and `clear_below` are scores in [0, 1]: at or above the first, re-encoded too, the
    verdict is `likely_ai`, below the second `no_sign_of_ai`, between them `inconclusive`. All
    numbers but `n` are null where fewer than 300 real images of the slice were measured; such a
    slice is always `inconclusive`. `clear_below` alone is null where fewer than 300 AI images were;
    such a slice is never `no_sign_of_ai`.
    """

    name: PointName
    slice: str
    threshold: float | None
    clear_below: float | None
    expected_false_alarm_rate: float | None
    ci95: tuple[float, float] | None
    n: int
    calibration_id: str


class Reason(Struct, frozen=True):
    """One reason for the verdict: a stable code and a sentence for people."""

    code: str
    text: str


class Declaration(Struct, frozen=True, kw_only=True):
    """What the file says of its own making, and how far that can be trusted."""

    kind: str
    trust: str
    source_type: str | None = None
    signer: str | None = None


class Input(Struct, frozen=True, kw_only=True):
    """The bytes that were judged, and where they came from."""

    kind: InputKind
    url: str | None = None
    final_url: str | None = None
    fetched_by: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    variant: str = "as_served"


class Model(Struct, frozen=True):
    """The weights that gave the score."""

    id: str
    weights_sha256: str


class ScanError(Struct, frozen=True, kw_only=True):
    """Why a scan failed, what to do about it, and whether asking again can help."""

    code: ScanErrorCode
    detail: str
    hint: str
    retryable: bool


class Appeal(Struct, frozen=True):
    """Whether a person has disputed the verdict."""

    state: str = "none"


class Scan(Struct, frozen=True, kw_only=True):
    """One request to judge one image, and what came of it."""

    id: str
    status: Status
    verdict: Verdict | None = None
    score: float | None = None
    probability: float | None = None
    operating_point: OperatingPoint | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
    declaration: Declaration | None = None
    input: Input
    model: Model | None = None
    error: ScanError | None = None
    appeal: Appeal = Appeal()
    superseded_by: str | None = None
    sequence: int = 0
    created_at: str
    completed_at: str | None = None

    def __bool__(self) -> bool:
        """Refuse: `if client.check(url): remove()` must not ship."""
        raise TypeError(
            "A Scan has no truth value: compare scan.verdict with sdk.Verdict.LIKELY_AI instead, "
            "and decide what to do when it is INCONCLUSIVE."
        )


class ScanRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/scans: exactly one of `url` and `upload_id`.

    What is as by default is not sent, so that a server which does not know a field yet takes it.
    `priority` is `bulk` where nobody waits for this one scan: those of people go first.
    `context` (platform, item_id) and `metadata` come back unread with the scan's events.
    """

    url: str | UnsetType = UNSET
    upload_id: str | UnsetType = UNSET
    operating_point: PointName = PointName.BALANCED
    priority: Priority = Priority.INTERACTIVE
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


class Upload(Struct, frozen=True, kw_only=True):
    """Bytes held for 15 minutes, to be named in a ScanRequest."""

    id: str
    sha256: str
    bytes: int
    expires_at: str


class Fault(Struct, frozen=True):
    """One thing wrong with a request: a JSON pointer, a code and a sentence."""

    pointer: str
    code: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True):
    """What went wrong with a request: application/problem+json (RFC 9457), with a hint."""

    type: str
    title: str
    status: int
    detail: str
    code: ProblemCode
    hint: str
    request_id: str
    retryable: bool
    errors: tuple[Fault, ...] = ()
    instance: str | None = None


class ErrorFacts(Struct, frozen=True, kw_only=True):
    """What a code means; `status` is null for the code of a failed scan, which is no HTTP error."""

    code: str
    title: str
    status: int | None
    retryable: bool
    hint: str


class Health(Struct, frozen=True, kw_only=True):
    """Whether the system can take a scan now; `checks` names each part and what is wrong."""

    status: str
    checks: dict[str, Any] = field(default_factory=dict)
