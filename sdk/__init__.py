"""Ask a pinclip server about images: the public names, nothing else.

Examples:
    >>> import sdk
    >>> with sdk.Client() as client:
    ...     scan = client.check("https://example.org/picture.jpg")
    >>> scan.verdict
    <Verdict.LIKELY_AI: 'likely_ai'>
    >>> scan.operating_point.expected_false_alarm_rate
    0.03

    A scan has no truth value, so that no code can remove an image by mistake:

    >>> if scan:
    ...     print("remove it")
    Traceback (most recent call last):
    TypeError: A Scan has no truth value: ...

`__all__` is the promise; every other name in this package may change. httpx is imported by the
first client, not by `import sdk`.
"""

from __future__ import annotations

from . import webhooks
from ._client import AsyncClient, Client
from ._flows import AsyncPages, Page, Pages, Raw
from ._many import Checked
from .codes import ProblemCode, ScanErrorCode
from .environment import SettingsError
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    APITLSError,
    AuthenticationError,
    BadRequestError,
    BatchTimeout,
    ConflictError,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    PinclipError,
    RateLimitError,
    ScanFailed,
    ScanTimeout,
    UnprocessableEntityError,
    WebhookSignatureError,
)
from .events import (
    AnyEvent,
    AppealCreatedEvent,
    AppealDecidedEvent,
    BatchCompletedEvent,
    PingEvent,
    ScanCompletedEvent,
    ScanFailedEvent,
    ScanVerdictChangedEvent,
    UnknownEvent,
    WebhookDisabledEvent,
)
from .settings import ClientSettings
from .wire import (
    Appeal,
    AppealDecision,
    AppealState,
    Batch,
    BatchCounts,
    BatchResult,
    BatchStatus,
    CallbackSecret,
    Declaration,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
    Event,
    EventData,
    EventType,
    Fault,
    Feedback,
    FeedbackLabel,
    Input,
    InputKind,
    KeyFacts,
    Lookup,
    Model,
    ModelInfo,
    OperatingPoint,
    PointName,
    Priority,
    Problem,
    Reason,
    Receipt,
    Scan,
    ScanAppeal,
    ScanError,
    ScanRequest,
    ScanWarning,
    Scope,
    Slice,
    Status,
    Verdict,
)

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITLSError",
    "APITimeoutError",
    "AnyEvent",
    "Appeal",
    "AppealCreatedEvent",
    "AppealDecidedEvent",
    "AppealDecision",
    "AppealState",
    "AsyncClient",
    "AsyncPages",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchCompletedEvent",
    "BatchCounts",
    "BatchResult",
    "BatchStatus",
    "BatchTimeout",
    "CallbackSecret",
    "Checked",
    "Client",
    "ClientSettings",
    "ConflictError",
    "Declaration",
    "Delivery",
    "DeliveryState",
    "Endpoint",
    "EndpointState",
    "Event",
    "EventData",
    "EventType",
    "Fault",
    "Feedback",
    "FeedbackLabel",
    "Input",
    "InputError",
    "InputKind",
    "InternalServerError",
    "KeyFacts",
    "Lookup",
    "Model",
    "ModelInfo",
    "NotFoundError",
    "OperatingPoint",
    "Page",
    "Pages",
    "PermissionDeniedError",
    "PinclipError",
    "PingEvent",
    "PointName",
    "Priority",
    "Problem",
    "ProblemCode",
    "RateLimitError",
    "Raw",
    "Reason",
    "Receipt",
    "Scan",
    "ScanAppeal",
    "ScanCompletedEvent",
    "ScanError",
    "ScanErrorCode",
    "ScanFailed",
    "ScanFailedEvent",
    "ScanRequest",
    "ScanTimeout",
    "ScanVerdictChangedEvent",
    "ScanWarning",
    "Scope",
    "SettingsError",
    "Slice",
    "Status",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Verdict",
    "WebhookDisabledEvent",
    "WebhookSignatureError",
    "webhooks",
]
