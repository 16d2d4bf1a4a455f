"""Ask a pinclip server about images: the public names, nothing else.

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
from .codes import ProblemCode, ScanErrorCode
from .environment import SettingsError
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
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
from .settings import ClientSettings
from .wire import (
    Appeal,
    AppealState,
    Batch,
    Declaration,
    Event,
    EventData,
    EventType,
    Fault,
    Input,
    InputKind,
    Model,
    OperatingPoint,
    PointName,
    Priority,
    Problem,
    Reason,
    Scan,
    ScanAppeal,
    ScanError,
    ScanWarning,
    Slice,
    Status,
    Verdict,
)

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "Appeal",
    "AppealState",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "Client",
    "ClientSettings",
    "ConflictError",
    "Declaration",
    "Event",
    "EventData",
    "EventType",
    "Fault",
    "Input",
    "InputError",
    "InputKind",
    "InternalServerError",
    "Model",
    "NotFoundError",
    "OperatingPoint",
    "PermissionDeniedError",
    "PinclipError",
    "PointName",
    "Priority",
    "Problem",
    "ProblemCode",
    "RateLimitError",
    "Reason",
    "Scan",
    "ScanAppeal",
    "ScanError",
    "ScanErrorCode",
    "ScanFailed",
    "ScanTimeout",
    "ScanWarning",
    "SettingsError",
    "Slice",
    "Status",
    "UnprocessableEntityError",
    "Verdict",
    "WebhookSignatureError",
    "webhooks",
]
