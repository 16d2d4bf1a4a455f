"""Every struct and enum that crosses HTTP, once, for the client, the server and the worker.

    ScanRequest  --POST /v1/scans---->  Scan          one request to judge one image
    bytes        --POST /v1/uploads-->  Upload        bytes to be named by a later ScanRequest
    BatchRequest --POST /v1/batches-->  Batch         up to 1,000 scans; results, a line each
    sha256       --POST /v1/lookups-->  LookupList    what is known of bytes, without sending them
    AppealRequest --.../appeals------>  Appeal        a person says that a verdict is wrong
    FeedbackRequest --.../feedback--->  Feedback      a person's word on an image; decides nothing
    EndpointRequest /v1/webhooks----->  Endpoint      where Events are delivered, signed
                                        Problem       what went wrong with a request (RFC 9457)

A Scan is `queued -> fetching -> scoring -> completed | failed | canceled`. A verdict exists
only on a completed scan; no other state and no error reads as one (docs/decisions/0005).
Knows nothing of transport, storage or models.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from .codes import ProblemCode, ScanErrorCode


class OpenWords(StrEnum):
    """Words that a newer server may add to: one that is not known here is kept as it came.

    It equals its text and none of the members, so that a test for one of them fails.
    """

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = "UNKNOWN"
        word._value_ = value
        return word


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


class Status(OpenWords):
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


class PointName(OpenWords):
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


class InputKind(OpenWords):
    """How the image reached us."""

    URL = "url"
    UPLOAD = "upload"
    SHA256 = "sha256"


class AppealState(OpenWords):
    """Where a dispute about a verdict stands."""

    NONE = "none"
    OPEN = "open"
    UPHELD = "upheld"
    OVERTURNED = "overturned"


class AppealDecision(StrEnum):
    """What a person decides: the verdict stands (uphold), or it does not (overturn)."""

    UPHOLD = "uphold"
    OVERTURN = "overturn"


class FeedbackLabel(OpenWords):
    """What a person says that an image is."""

    AI = "ai"
    NOT_AI = "not_ai"


class BatchStatus(OpenWords):
    """Where a batch is; `completed` once every scan of it is final."""

    RUNNING = "running"
    COMPLETED = "completed"


class EventType(OpenWords):
    """What an event says has happened."""

    SCAN_COMPLETED = "scan.completed"
    SCAN_FAILED = "scan.failed"
    SCAN_VERDICT_CHANGED = "scan.verdict_changed"
    APPEAL_CREATED = "appeal.created"
    APPEAL_DECIDED = "appeal.decided"
    BATCH_COMPLETED = "batch.completed"
    WEBHOOK_DISABLED = "webhook.disabled"
    PING = "ping"


class EndpointState(OpenWords):
    """Whether deliveries are made to an endpoint. Events are kept either way."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(OpenWords):
    """Where one delivery is: it waits for its next attempt, arrived, or was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Scope(OpenWords):
    """What a key may do: submit scans, read its owner's records, decide appeals, or all of it."""

    SCAN = "scan"
    READ = "read"
    MODERATE = "moderate"
    ADMIN = "admin"


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


class ScanAppeal(Struct, frozen=True):
    """Whether a person has disputed the verdict, and the appeal to read about it."""

    state: AppealState = AppealState.NONE
    id: str | None = None


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
    appeal: ScanAppeal = ScanAppeal()
    superseded_by: str | None = None
    rescore_of: str | None = None
    batch_id: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
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
    """The body of POST /v1/scans: exactly one of `url`, `upload_id` and `sha256`.

    What is as by default is not sent, so that a server which does not know a field yet takes it.
    `priority` is `bulk` where nobody waits for this one scan: those of people go first.
    `sha256` (64 hex digits) asks for what is known of bytes that are not sent.
    `callback_url` is told, signed with the owner's callback secret, when the scan is final.
    `context` (platform, item_id) and `metadata` come back unread with the scan and its events.
    """

    url: str | UnsetType = UNSET
    upload_id: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET
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


class ScanList(Struct, frozen=True, kw_only=True):
    """One page of the owner's scans, newest first. `next_cursor` asks for the next page."""

    data: tuple[Scan, ...]
    has_more: bool
    next_cursor: str | None = None


class BatchRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/batches: 1 to 1,000 scans, done as bulk unless they say otherwise.

    A scan that cannot be accepted is refused by itself, in `results`; the others go on.
    `callback_url` is told when the batch is complete.
    """

    scans: tuple[ScanRequest, ...]
    callback_url: str | UnsetType = UNSET
    metadata: dict[str, str] = field(default_factory=dict)


class BatchCounts(Struct, frozen=True, kw_only=True):
    """How many of a batch's items are where; they add up to `total`."""

    total: int
    waiting: int
    completed: int
    failed: int
    canceled: int
    refused: int


class Batch(Struct, frozen=True, kw_only=True):
    """Many scans that were asked for at once, and how far they are."""

    id: str
    status: BatchStatus
    counts: BatchCounts
    metadata: dict[str, str] = field(default_factory=dict)
    created_at: str
    completed_at: str | None = None


class LookupRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/lookups: 1 to 100 sha256 (64 hex digits) of images' bytes."""

    sha256: tuple[str, ...]
    operating_point: PointName = PointName.BALANCED


class Lookup(Struct, frozen=True, kw_only=True):
    """What is known of some bytes at one operating point; `verdict` is null where nothing is."""

    sha256: str
    verdict: Verdict | None = None
    probability: float | None = None
    operating_point: OperatingPoint | None = None
    model: Model | None = None
    judged_at: str | None = None


class LookupList(Struct, frozen=True, kw_only=True):
    """An answer for each sha256 asked for, in the same order."""

    data: tuple[Lookup, ...]


class HashRange(Struct, frozen=True, kw_only=True):
    """All known sha256 that begin with `prefix`: who asks tells five digits and no more.

    The `sha256` of each entry is whole; look for yours among them.
    """

    prefix: str
    data: tuple[Lookup, ...]


class AppealRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/scans/{id}/appeals: why the verdict is wrong, in words."""

    reason: str
    evidence_url: str | UnsetType = UNSET


class AppealDecisionRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/appeals/{id}/decision. Overturned bytes are never accused again."""

    decision: AppealDecision
    note: str = ""


class Appeal(Struct, frozen=True, kw_only=True):
    """A dispute about one scan's verdict, and what was decided."""

    id: str
    scan_id: str
    state: AppealState
    reason: str
    evidence_url: str | None = None
    note: str | None = None
    created_at: str
    decided_at: str | None = None


class AppealList(Struct, frozen=True, kw_only=True):
    """One page of the owner's appeals, newest first."""

    data: tuple[Appeal, ...]
    has_more: bool
    next_cursor: str | None = None


class FeedbackRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/scans/{id}/feedback: what the image is, says who has seen it."""

    label: FeedbackLabel
    comment: str = ""


class Feedback(Struct, frozen=True, kw_only=True):
    """A person's word on a scan's image. It changes no verdict: an appeal asks for a decision.

    `verdict` and `sha256` are the scan's as they were then, null where it had none.
    """

    id: str
    scan_id: str
    label: FeedbackLabel
    comment: str
    sha256: str | None = None
    verdict: Verdict | None = None
    created_at: str


class FeedbackList(Struct, frozen=True, kw_only=True):
    """One page of feedback, newest first."""

    data: tuple[Feedback, ...]
    has_more: bool
    next_cursor: str | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """What was said of which bytes, signed: it can be checked without asking us.

    `payload` is the exact text that `signature` (Ed25519, base64) signs; `public_key` is the
    server's, raw, in base64.
    """

    payload: str
    signature: str
    public_key: str
    algorithm: str = "ed25519"


class EndpointRequest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of POST /v1/webhooks: where to deliver which events; no `events` means all."""

    url: str
    events: tuple[EventType, ...] = ()
    description: str = ""


class EndpointPatch(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The body of PATCH /v1/webhooks/{id}: what is not named stays."""

    url: str | UnsetType = UNSET
    events: tuple[EventType, ...] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    state: EndpointState | UnsetType = UNSET


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where events are delivered. `secret` is shown when it is made or rotated, and never again."""

    id: str
    url: str
    events: tuple[EventType, ...]
    description: str
    state: EndpointState
    disabled_reason: str | None = None
    secret: str | None = None
    created_at: str


class EndpointList(Struct, frozen=True, kw_only=True):
    """All endpoints of the owner, newest first."""

    data: tuple[Endpoint, ...]


class CallbackSecret(Struct, frozen=True, kw_only=True):
    """What the events to a scan's or batch's `callback_url` are signed with."""

    secret: str


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint: attempts made, and what the last one met."""

    id: str
    event_id: str
    event_type: EventType
    endpoint_id: str
    state: DeliveryState
    attempts: int
    last_status: int | None = None
    last_error: str | None = None
    next_attempt_at: str | None = None
    created_at: str
    delivered_at: str | None = None


class DeliveryList(Struct, frozen=True, kw_only=True):
    """One page of an endpoint's deliveries, newest first."""

    data: tuple[Delivery, ...]
    has_more: bool
    next_cursor: str | None = None


class EventData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event is about: the scan as it is then, or the batch, the appeal, the endpoint.

    `previous` is the verdict before, and `cause` what changed it (rescore, appeal).
    """

    scan: Scan | None = None
    batch: Batch | None = None
    appeal: Appeal | None = None
    endpoint: Endpoint | None = None
    previous: Verdict | None = None
    cause: str | None = None


class Event(Struct, frozen=True, kw_only=True):
    """The body of a delivery. One fact has one `id`, however often it is sent.

    The highest `sequence` of a scan is its newest state; events may arrive in any order.
    `replay_of` names the event that was sent again on request.
    """

    id: str
    type: EventType
    timestamp: str
    sequence: int
    data: EventData
    replay_of: str | None = None


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A model that scores now: weights, calibration, how it runs, and its model card (Markdown)."""

    id: str
    weights_sha256: str
    calibration_id: str
    engine: str
    precision: str
    workers: int
    card: str | None = None


class ModelList(Struct, frozen=True, kw_only=True):
    """The models that live workers score with."""

    data: tuple[ModelInfo, ...]


class KeyFacts(Struct, frozen=True, kw_only=True):
    """What the key that asks may do. `id` is null for a caller without one on this machine."""

    id: str | None
    owner: str
    scopes: tuple[Scope, ...]
    expires_at: str | None = None
    rate_per_minute: int | None = None
    parallel: int | None = None
    quota_per_day: int | None = None


class Fault(Struct, frozen=True):
    """One thing wrong with a request: a JSON pointer, a code and a sentence."""

    pointer: str
    code: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True, rename={"violated_policies": "violated-policies"}):
    """What went wrong with a request: application/problem+json (RFC 9457), with a hint.

    `violated-policies` names those of the RateLimit-Policy header that a 429 is about.
    """

    type: str
    title: str
    status: int
    detail: str
    code: ProblemCode
    hint: str
    request_id: str
    retryable: bool
    errors: tuple[Fault, ...] = ()
    violated_policies: tuple[str, ...] = ()
    instance: str | None = None


class BatchResult(Struct, frozen=True, kw_only=True):
    """One line of a batch's results: the scan, or why there is none. `index` counts from 0."""

    index: int
    scan: Scan | None = None
    problem: Problem | None = None


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
